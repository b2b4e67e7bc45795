import { afterEach, describe, expect, test } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import { DaskPolicy } from "../../src/schedulers/dask/policy.ts";
import { DEFAULT_DASK_SETTINGS } from "../../src/schedulers/dask/settings.ts";
import { createPolicy } from "../../src/schedulers/index.ts";
import type { Policy } from "../../src/schedulers/policy.ts";
import { RandomPolicy } from "../../src/schedulers/random.ts";
import { WorkStealingPolicy } from "../../src/schedulers/work-stealing.ts";
import { type Graph, World } from "../core/world.ts";
import { BlockingPolicy } from "./blocking-policy.ts";
import { QueuingPolicy } from "./queuing-policy.ts";

const blockings: BlockingPolicy[] = [];
afterEach(() => {
  for (const blocking of blockings.splice(0)) blocking.close();
});

const POLICIES: Readonly<Record<string, (seed: number) => Policy>> = {
  random: (seed) => new RandomPolicy(seed),
  workstealing: (seed) => new WorkStealingPolicy(seed),
  dask: () => new DaskPolicy(),
  "dask, worker-saturation: inf": () =>
    new DaskPolicy({ ...DEFAULT_DASK_SETTINGS, worker_saturation: Infinity }),
  queuing: () => new QueuingPolicy(),
  "external, the example in Python": (seed) => {
    const blocking = new BlockingPolicy(seed);
    blockings.push(blocking);
    return blocking.policy;
  },
  ...Object.fromEntries(
    ["blevel", "tlevel", "blevel-gt", "etf", "dls", "mcp", "single"].map((name) => [
      name,
      (seed: number) => createPolicy(name, seed),
    ]),
  ),
};

/** Layers of tasks, each on some tasks of the layer above. */
function layered(seed: number, layers = 4, width = 8): Graph {
  const prng = new Prng(seed);
  const graph: Record<string, string[]> = {};
  for (let layer = 0; layer < layers; layer++)
    for (let i = 0; i < width; i++) {
      const inputs = new Set<string>();
      for (let k = layer === 0 ? 0 : prng.below(4); k > 0; k--)
        inputs.add(`t${layer - 1}-${prng.below(width)}`);
      graph[`t${layer}-${i}`] = [...inputs];
    }
  return graph;
}

/** Everything that workers were told in one run of a graph. */
function run(policy: Policy, seed: number): string[] {
  const world = new World({ policy });
  for (let number = 0; number < 5; number++) world.join(number, { threads: 1 + (number % 2) });
  const graph = layered(seed);
  world.submit(graph, { wanted: Object.keys(graph) });
  world.finishAll();
  for (const key of Object.keys(graph)) expect(world.stateOf(key)).toBe("memory");
  return [...world.workers.values()].flatMap((worker) => [`${worker.number}:`, ...worker.log]);
}

/** Each policy has to pass this; the world checks placements and books after every step. */
describe.each(Object.entries(POLICIES))("%s", (name, make) => {
  test("has its name", () => {
    expect(make(1).name).toBe(name.split(",")[0]);
  });

  test("brings graphs to their end on workers of one and of more threads", () => {
    for (let seed = 0; seed < 10; seed++) run(make(seed), seed);
  });

  test("decides the same for the same seed and calls", () => {
    expect(run(make(5), 1)).toEqual(run(make(5), 1));
  });

  test("works with one worker, and with one of many threads", () => {
    for (const threads of [1, 16]) {
      const world = new World({ policy: make(1) });
      world.join(0, { threads });
      world.submit(layered(2));
      world.finishAll();
      expect(world.outbox.compute_tasks).toBeGreaterThan(8);
    }
  });

  test("is not asked while there is no worker, and places all when one comes", () => {
    const world = new World({ policy: make(1) });
    world.submit({ a: [], b: [], c: ["a", "b"] });
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["no-worker", "no-worker"]);
    world.join(0);
    world.finishAll();
    expect(world.stateOf("c")).toBe("memory");
  });

  test("gives nothing to workers that do not run", () => {
    const world = new World({ policy: make(1) });
    world.join(0, {}, "paused");
    world.join(1);
    world.join(2, {}, "closing_gracefully");
    world.join(3, {}, "init");
    world.submit(layered(3));
    world.finishAll();
    for (const number of [0, 2, 3]) expect(world.toWorker(number)).toEqual([]);
  });

  test("keeps to restrictions, and refuses what nobody may take", () => {
    const world = new World({ policy: make(1) });
    for (let number = 0; number < 12; number++)
      world.join(number, { resources: number > 1 ? { GPU: 1 } : {} });
    const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);
    const named = { workers: new Set(["w3", "w4"]) };
    const gpu = { resources: new Map([["GPU", 1]]) };
    const nobody = { resources: new Map([["GPU", 2]]) };
    world.submit(Object.fromEntries(keys.map((key) => [key, []])), {
      restrictions: Object.fromEntries(keys.map((key, i) => [key, [named, gpu, nobody][i % 3]!])),
    });
    for (const [i, key] of keys.entries())
      if (i % 3 === 2) expect(world.stateOf(key)).toBe("no-worker");
      else expect(world.workerOf(key), key).toBeGreaterThanOrEqual(i % 3 === 0 ? 3 : 2);
    for (const [i, key] of keys.entries())
      if (i % 3 === 0) expect(world.workerOf(key)).toBeLessThanOrEqual(4);
  });

  test(`uses ${name === "single" ? "one worker" : "all workers"} for many source tasks`, () => {
    const world = new World({ policy: make(1) });
    for (let number = 0; number < 8; number++) world.join(number);
    world.submit(Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`s${i}`, []])));
    const used = [...world.workers.values()].filter((worker) => worker.book.processing > 0);
    expect(used).toHaveLength(name === "single" ? 1 : 8);
  });
});
