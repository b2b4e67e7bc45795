import { decode } from "@msgpack/msgpack";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UnpackerPool } from "../../src/unpacker/unpacker.ts";
import {
  type Case,
  check,
  keyBytes,
  makeCases,
  pythonOf,
  RELEASES,
  type Unpacked,
  unpack,
} from "./support/cases.ts";

const FAULTY = ["raises", "dies", "killed", "hangs", "prints", "exits"];

function keyText(bytes: Uint8Array): string {
  return JSON.stringify(decode(bytes));
}

/** key -> sorted dependencies, as text. */
function shapeOf({ structure }: Unpacked): Map<string, string[]> {
  const shape = new Map<string, string[]>();
  for (let i = 0; i < structure.task_count; i++) {
    const row = structure.dependencies.subarray(
      structure.dependency_offsets[i],
      structure.dependency_offsets[i + 1],
    );
    shape.set(
      keyText(keyBytes(structure, i)),
      [...row].map((dependency) => keyText(keyBytes(structure, dependency))).sort(),
    );
  }
  return shape;
}

function expectedShape(given: Case): Map<string, string[]> {
  const tasks = decode(given.tasks) as [unknown, unknown[]][];
  return new Map(
    tasks.map(([key, dependencies]) => [
      JSON.stringify(key),
      dependencies.map((one) => JSON.stringify(one)).sort(),
    ]),
  );
}

describe.each(RELEASES)("graphs of real %s clients", (release) => {
  let cases: Map<string, Case>;
  let pool: UnpackerPool;
  const unpacked = new Map<string, Unpacked>();

  beforeAll(async () => {
    cases = makeCases(release);
    pool = new UnpackerPool({ python: pythonOf(release), size_max: 1 });
    // Backwards: nothing may rest on the order in which specs are asked for.
    for (const [name, given] of cases)
      if (!FAULTY.includes(name))
        unpacked.set(name, await unpack(pool, given, (s) => reversed(s.task_count)));
  });
  afterAll(() => pool.close());

  const graphOf = (name: string): Unpacked => {
    const graph = unpacked.get(name);
    if (graph === undefined) throw new Error(`no case ${name}`);
    return graph;
  };

  test("say what they are and end the quadratic cull", async () => {
    const hello = await pool.warmUp();
    expect(hello.dask).toBe(release);
    expect(hello.distributed).toBe(release);
    expect(hello.cull).toBe("installed");
  });

  test("have the tasks and dependencies that Dask's scheduler sees", () => {
    for (const [name, graph] of unpacked)
      if (name !== "empty")
        expect([name, shapeOf(graph)]).toEqual([name, expectedShape(cases.get(name) as Case)]);
  });

  test("have specs that a worker computes the same results from", () => {
    const results = [...unpacked].map(([name, graph]) => ({
      given: cases.get(name) as Case,
      unpacked: graph,
    }));
    const checked = results.filter(({ given }) => given.name !== "empty");
    expect(check(release, checked)).toBe(`checked ${checked.length}\n`);
  });

  test("name futures of earlier graphs as external keys", () => {
    const { structure } = graphOf("futures-as-arguments");
    expect(structure.task_count).toBe(1);
    expect(structure.external_count).toBe(2);
    expect([...structure.dependencies]).toEqual([1, 2]);
  });

  test("without any task are empty, not an error", () => {
    const empty = unpacked.get("empty");
    if (release === "2026.8.0") expect(empty?.structure.task_count).toBe(0);
    else expect(empty).toBeUndefined();
  });

  test("are cut to what the wanted keys need, with aliases and plain values as tasks", () => {
    const graph = graphOf("low-level");
    expect([...shapeOf(graph).keys()].sort()).toEqual(['"a"', '"b"', '"c"', '["t",1]']);
    expect([...graph.structure.data_nodes].map((i) => keyText(keyBytes(graph.structure, i)))).toEqual([
      '"a"',
    ]);
  });

  test("stream specs in chunks of at most 2000, the first ones small", () => {
    const sizes = graphOf("map-main").chunks.map((chunk) => chunk.count);
    expect(sizes).toEqual([250, 500, 1000, 1250]);
  });

  test("keep large arrays out of band", () => {
    const { chunks } = graphOf("buffers");
    expect(chunks.reduce((sum, chunk) => sum + chunk.frame_ends.length, 0)).toBeGreaterThan(1);
    expect(Math.max(...chunks.map((chunk) => chunk.payload.byteLength))).toBeGreaterThan(800_000);
  });

  test("pickle a function that travels by value once, in a form of equal size", () => {
    const { chunks, structure } = graphOf("map-main");
    const payload_bytes = chunks.reduce((sum, chunk) => sum + chunk.payload.byteLength, 0);
    expect(payload_bytes / structure.task_count).toBeLessThan(1000);
  });

  test("carry client.submit's options", () => {
    const { structure } = graphOf("submit-options");
    expect([...structure.annotation_set_of_task]).toEqual([1]);
    expect(structure.annotation_sets).toHaveLength(1);
    expect(structure.annotation_sets[0]).toMatchObject({
      priority: 7,
      workers: ["alice", "tcp://127.0.0.1:9"],
      allow_other_workers: true,
      resources: { GPU: 1 },
      retries: 3,
      pickled: [],
    });
    const names = structure.annotation_sets[0]?.annotations.map(([name]) => name).sort();
    expect(names).toEqual(["allow_other_workers", "priority", "resources", "retries", "workers"]);
  });

  test("carry annotations of layers, called for each key, and values that only pickle can hold", () => {
    const { structure } = graphOf("layer-annotations");
    expect(structure.annotation_sets.length).toBeGreaterThan(0);
    const set = structure.annotation_sets[0];
    const key = decode(keyBytes(structure, structure.annotation_set_of_task.indexOf(1))) as string;
    expect(set?.retries).toBe(2);
    expect(set?.priority).toBe(key.length % 3);
    expect(set?.pickled.map(([name]) => name)).toEqual(["odd"]);
    const note = set?.annotations.find(([name]) => name === "note")?.[1];
    expect(decode(note as Uint8Array)).toEqual({ __Set__: true, "as-list": [1, 2] });
  });

  test("carry global annotations that are called for each key", () => {
    const { structure } = graphOf("global-annotations");
    expect([...structure.annotation_set_of_task]).toEqual([1, 1, 1, 1, 1, 1]);
    expect(structure.annotation_sets[0]).toMatchObject({ workers: ["bob"], priority: 5 });
  });

  test("annotate the tasks that Dask annotates with the same names, and no other", () => {
    for (const [name, { structure }] of unpacked) {
      if (name === "empty") continue;
      const names: Record<string, string[]> = {};
      for (const [i, number] of structure.annotation_set_of_task.entries()) {
        const set = structure.annotation_sets[number - 1];
        if (set !== undefined)
          names[Buffer.from(keyBytes(structure, i)).toString("hex")] = [...set.annotations, ...set.pickled]
            .map(([annotation]) => annotation)
            .sort();
      }
      expect([name, names]).toEqual([name, cases.get(name)?.task_annotations]);
    }
  });

  test("name P2P barriers, of which a shuffle's run is made", async () => {
    const graph = graphOf("shuffle");
    expect(graph.structure.barriers).toHaveLength(1);
    const barrier = graph.structure.barriers[0] as number;
    const [header, ...frames] = specOf(graph, barrier);
    const request = {
      barrier: { header: header as Uint8Array, frames },
      workers: ["tcp://a:1", "tcp://b:1"],
      existing: null,
      run_id: 41,
      span_id: null,
    };
    const run = await pool.shuffleRun(request);
    const pairs = decode(run.worker_for) as [number, string][];
    expect(new Set(pairs.map(([, worker]) => worker))).toEqual(new Set(["tcp://a:1", "tcp://b:1"]));
    expect(run.run_spec.header.byteLength).toBeGreaterThan(100);
    const again = await pool.shuffleRun({ ...request, workers: ["tcp://c:1"], existing: run.worker_for });
    expect(decode(again.worker_for)).toEqual(pairs);
  });
});

function reversed(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => count - 1 - i);
}

function specOf(graph: Unpacked, task: number): Uint8Array[] {
  const place = graph.structure.task_count - 1 - task;
  const chunk = graph.chunks.find(({ first, count }) => first <= place && place < first + count);
  if (chunk === undefined) throw new Error("no spec");
  const i = place - chunk.first;
  const frames: Uint8Array[] = [];
  for (let f = chunk.frame_starts[i] as number; f < (chunk.frame_starts[i + 1] as number); f++)
    frames.push(chunk.payload.subarray(f === 0 ? 0 : chunk.frame_ends[f - 1], chunk.frame_ends[f]));
  return frames;
}
