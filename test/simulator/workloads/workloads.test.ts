import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { parseWorkload, type Workload, WorkloadError } from "../../../simulator/workloads/index.ts";

const GRAPHS = fileURLToPath(new URL("../../../profiles/graphs/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "rsds-workloads-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Length of the longest path, in edges. Throws if the ids are not in topological order. */
function longestPath({ tasks, dependency_offsets, dependency_ids }: Workload): number {
  const depth = new Uint32Array(tasks);
  for (let id = 0; id < tasks; id++) {
    for (let e = dependency_offsets[id]!; e < dependency_offsets[id + 1]!; e++) {
      const dep = dependency_ids[e]!;
      if (dep >= id) throw new Error(`${id} depends on ${dep}`);
      depth[id] = Math.max(depth[id]!, depth[dep]! + 1);
    }
  }
  return depth.reduce((a, b) => Math.max(a, b), 0);
}

function roots({ tasks, dependency_offsets }: Workload): number {
  let count = 0;
  for (let id = 0; id < tasks; id++) if (dependency_offsets[id] === dependency_offsets[id + 1]) count++;
  return count;
}

/** What holds for every workload. */
function expectSound(workload: Workload): void {
  const { tasks, dependencies, dependency_offsets, dependency_ids, wanted, durations_us, nbytes } = workload;
  expect(dependency_offsets).toHaveLength(tasks + 1);
  expect(dependency_offsets[0]).toBe(0);
  expect(dependency_offsets[tasks]).toBe(dependencies);
  expect(dependency_ids).toHaveLength(dependencies);
  const needed = new Set(dependency_ids);
  expect(wanted).toEqual(Array.from({ length: tasks }, (_, id) => id).filter((id) => !needed.has(id)));
  expect(wanted.length).toBeGreaterThan(0);
  const keys = new Set<string>();
  for (let id = 0; id < tasks; id++) {
    keys.add(workload.key(id));
    const row = dependency_ids.subarray(dependency_offsets[id], dependency_offsets[id + 1]);
    expect(new Set(row).size).toBe(row.length);
  }
  expect(keys.size).toBe(tasks);
  for (const column of [durations_us, nbytes]) {
    expect(column).toHaveLength(tasks);
    expect(column!.every((value) => value >= 0 && value < Number.POSITIVE_INFINITY)).toBe(true);
  }
}

async function fault(spec: string): Promise<string> {
  try {
    await parseWorkload(spec);
  } catch (error) {
    expect(error).toBeInstanceOf(WorkloadError);
    const { message } = error as WorkloadError;
    expect(message).not.toContain("\n");
    return message;
  }
  throw new Error(`${spec} was accepted`);
}

describe("generated workloads", () => {
  test.each([
    ["merge:10000", 10_001, 10_000, 1, 10_000],
    ["merge:1", 2, 1, 1, 1],
    ["merge-slow:5000:0.1", 5001, 5000, 1, 5000],
    ["tree:15", 32_767, 32_766, 14, 16_384],
    ["tree:12", 4095, 4094, 11, 2048],
    ["tree:8", 255, 254, 7, 128],
    ["tree:1", 1, 0, 0, 1],
  ])(
    "%s has %i tasks, %i dependencies, a longest path of %i",
    async (spec, tasks, dependencies, longest, root_count) => {
      const workload = await parseWorkload(spec);
      expectSound(workload);
      expect(workload).toMatchObject({ name: spec, tasks, dependencies });
      expect(longestPath(workload)).toBe(longest);
      expect(roots(workload)).toBe(root_count);
      expect(workload.wanted).toEqual([tasks - 1]);
    },
  );

  test("merge-slow gives its leaves the time asked for", async () => {
    const { durations_us } = await parseWorkload("merge-slow:3:0.25");
    expect([...durations_us!]).toEqual([250_000, 250_000, 250_000, 6]);
  });

  test("a tree's tasks come depth first, as in the recording of a real one", async () => {
    const made = await parseWorkload("tree:12");
    const recorded = await parseWorkload(join(GRAPHS, "tree-12.jsonl.gz"));
    expect(made.dependency_offsets).toEqual(recorded.dependency_offsets);
    for (let id = 0; id < made.tasks; id++) {
      const ends = [made.dependency_offsets[id], made.dependency_offsets[id + 1]] as const;
      // Which of the two is named first says nothing.
      expect(made.dependency_ids.slice(...ends).sort()).toEqual(
        recorded.dependency_ids.slice(...ends).sort(),
      );
    }
  });

  test("a random graph is a function of its seed, of exactly the size asked for", async () => {
    const a = await parseWorkload("random:20000:1");
    expectSound(a);
    expect(a.tasks).toBe(20_000);
    expect(a.dependencies).toBeGreaterThan(20_000);
    const b = await parseWorkload("random:20000:1");
    expect(b.dependency_ids).toEqual(a.dependency_ids);
    expect(b.durations_us).toEqual(a.durations_us);
    const c = await parseWorkload("random:20000:2");
    expect(c.dependency_ids).not.toEqual(a.dependency_ids);
  });

  test("any size and seed gives a sound graph", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 0, max: 2 ** 53 - 1 }),
        async (n, seed) => {
          const workload = await parseWorkload(`random:${n}:${seed}`);
          expectSound(workload);
          expect(workload.tasks).toBe(n);
          longestPath(workload);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("keys tell kind and id", async () => {
    const { key } = await parseWorkload("merge:2");
    expect([0, 1, 2].map(key)).toEqual(["do_something-0", "do_something-1", "merge-2"]);
    expect((await parseWorkload("tree:3")).key(6)).toBe("add-6");
  });
});

describe("recorded workloads", () => {
  const TABLE: Record<string, [number, number, number]> = {
    "bag-10000-10": [237, 416, 7],
    "bag-25000-50": [5459, 10_358, 8],
    "groupby-90-1s-8H": [4222, 5063, 15],
    "join-1-1s-1H": [194, 240, 8],
    "merge-1000": [1001, 1000, 1],
    "numpy-10000-10": [205, 224, 8],
    "numpy-10000-50": [4868, 5467, 10],
    "tree-12": [4095, 4094, 11],
    "tree-15": [32_767, 32_766, 14],
    "tree-8": [255, 254, 7],
    "xarray_orig-25": [604, 1016, 10],
  };

  test("are all in the table", () => {
    expect(readdirSync(GRAPHS).sort()).toEqual(Object.keys(TABLE).map((name) => `${name}.jsonl.gz`));
  });

  test.each(Object.entries(TABLE))(
    "%s has the recorded shape",
    async (name, [tasks, dependencies, longest]) => {
      const workload = await parseWorkload(join(GRAPHS, `${name}.jsonl.gz`));
      expectSound(workload);
      expect(workload).toMatchObject({ name, tasks, dependencies });
      expect(longestPath(workload)).toBe(longest);
      expect(workload.wanted).toHaveLength(1);
    },
  );

  test("keep prefix, time and size; unknown columns and fields are ignored", async () => {
    const path = write(
      '{"tasks": 2, "colour": "red"}',
      '[0, "load", [], 12.5, 100, "x"]',
      '[1, "sum", [0], null]',
    );
    const workload = await parseWorkload(path);
    expect(workload).toMatchObject({ name: "file", tasks: 2, dependencies: 1, wanted: [1] });
    expect([workload.key(0), workload.key(1)]).toEqual(["load-0", "sum-1"]);
    expect([...workload.durations_us!, ...workload.nbytes!]).toEqual([12.5, 0, 100, 0]);
  });

  test("a name that is no file name is replaced by the file's", async () => {
    const path = write('{"name": "../../etc/passwd"}', '[0, "a", []]');
    expect((await parseWorkload(path)).name).toBe("file");
  });
});

function write(...lines: string[]): string {
  const path = join(folder, "file.jsonl.gz");
  writeFileSync(path, gzipSync(`${lines.join("\n")}\n`));
  return path;
}

describe("a workload that cannot be used says what to change", () => {
  test.each([
    [
      "merg:10",
      'unknown workload "merg:10": give merge:N, merge-slow:N:SECONDS, tree:E, random:N:SEED, estee:NAME:SEED[:SIZE] or the path',
    ],
    ["", "unknown workload"],
    ["constructor:1", "unknown workload"],
    ["merge", "write it as merge:N"],
    ["merge:", "N must be a whole number from 1 to 9999999"],
    ["merge:0", "N must be a whole number"],
    ["merge:-5", "N must be a whole number"],
    ["merge:1e3", "N must be a whole number"],
    ["merge:1.5", "N must be a whole number"],
    ["merge:10000000", "N must be a whole number from 1 to 9999999"],
    ["merge:5:5", "write it as merge:N"],
    ["merge-slow:5", "write it as merge-slow:N:SECONDS"],
    ["merge-slow:5:fast", "SECONDS must be a number of seconds from 0 to 86400"],
    ["merge-slow:5:1e9", "SECONDS must be"],
    ["tree:0", "E must be a whole number from 1 to 23"],
    ["tree:24", "E must be a whole number from 1 to 23"],
    ["random:5", "write it as random:N:SEED"],
    ["random:5:x", "SEED must be a whole number"],
    ["random:2000001:1", "N must be a whole number from 1 to 2000000"],
    ["./nowhere.jsonl.gz", "no file ./nowhere.jsonl.gz: give the path of a recorded graph"],
    [`${tmpdir()}/`, "cannot read"],
  ])("%s", async (spec, message) => {
    expect(await fault(spec)).toContain(message);
  });

  const HEADER = '{"name": "x"}';
  test.each([
    ["no header", ['[0, "a", []]'], "line 1: the first line must be the header object"],
    ["no task", [HEADER], "line 1: no task follows the header"],
    ["no JSON", [HEADER, '[0, "a", []'], "line 2: not JSON"],
    ["an empty line", [HEADER, "", '[0, "a", []]'], "line 2: not JSON"],
    [
      "no array",
      [HEADER, '{"id": 0}'],
      "line 2: a task must be [id, prefix, [dependency ids], duration_us, nbytes]",
    ],
    ["a gap in the ids", [HEADER, '[0, "a", []]', '[2, "a", []]'], "line 3: the id must be 1"],
    ["no prefix", [HEADER, "[0, 7, []]"], "line 2: the prefix must be a text"],
    ["no dependencies", [HEADER, '[0, "a"]'], "line 2: the dependencies must be an array of ids"],
    [
      "a fraction as id",
      [HEADER, '[0, "a", []]', '[1, "a", [0.5]]'],
      "line 3: the dependencies must be an array of ids",
    ],
    ["a negative id", [HEADER, '[0, "a", [-1]]'], "line 2: the dependencies must be an array of ids"],
    [
      "a dependency twice",
      [HEADER, '[0, "a", []]', '[1, "a", [0, 0]]'],
      "line 3: task 1 names its dependency 0 twice",
    ],
    [
      "a forward dependency",
      [HEADER, '[0, "a", [1]]', '[1, "a", []]'],
      "line 2: task 0 depends on 1, which comes later",
    ],
    ["a cycle", [HEADER, '[0, "a", [1]]', '[1, "a", [0]]'], "line 2: task 0 depends on 1, which comes later"],
    ["a task on itself", [HEADER, '[0, "a", [0]]'], "line 2: task 0 depends on itself"],
    [
      "a dangling id",
      [HEADER, '[0, "a", []]', '[1, "a", [9]]'],
      "line 3: task 1 depends on 9, but the last id is 1",
    ],
    ["a negative time", [HEADER, '[0, "a", [], -1, 5]'], "line 2: duration_us must be a number, 0 or more"],
    ["a size in text", [HEADER, '[0, "a", [], 1, "5"]'], "line 2: nbytes must be a number, 0 or more"],
    [
      "fewer tasks than it says",
      ['{"tasks": 2}', '[0, "a", []]'],
      "the header counts 2 tasks, the file has 1",
    ],
  ])("a file with %s", async (_what, lines, message) => {
    expect(await fault(write(...lines))).toContain(
      `file.jsonl.gz, ${message}`.replace(", the header", ", line 2: the header"),
    );
  });

  test("a file that is empty, no gzip, cut off, or a bomb", async () => {
    const path = join(folder, "other.gz");
    writeFileSync(path, gzipSync(""));
    expect(await fault(path)).toContain("other.gz is empty");
    writeFileSync(path, '{"tasks": 1}\n[0, "a", []]\n');
    expect(await fault(path)).toContain("is not a whole gzip file");
    writeFileSync(path, gzipSync('{"tasks": 1}\n[0, "a", []]\n').subarray(0, 20));
    expect(await fault(path)).toContain("is not a whole gzip file");
    const zeros = gzipSync(Buffer.alloc(1 << 26));
    writeFileSync(path, Buffer.concat(Array.from({ length: 9 }, () => zeros)));
    expect(await fault(path)).toContain("holds more than 536870912 bytes");
  });
});
