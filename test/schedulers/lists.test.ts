import { describe, expect, test } from "vitest";
import { createPolicy } from "../../src/schedulers/index.ts";
import { World } from "../core/world.ts";

/** A world with workers of these threads. */
function listWorld(name: string, threads: readonly number[], prompt = true): World {
  const world = new World({ policy: createPolicy(name, 1), prompt });
  for (const [number, count] of threads.entries()) world.join(number, { threads: count });
  return world;
}

/** What worker `number` was told to compute, in order. */
function begun(world: World, number: number): string[] {
  return world
    .worker(number)
    .log.filter((text) => text.startsWith("compute-task "))
    .map((text) => text.slice("compute-task ".length));
}

/**
 * `short` ends at once; behind `long` two tasks follow; `wide` has two consumers, one after the other's level. In the
 * order of submission `short` is first.
 */
const GRAPH = {
  short: [],
  wide: [],
  long: [],
  middle: ["long"],
  end: ["middle"],
  "wide-end": ["wide"],
};

describe.each(["blevel", "tlevel", "blevel-gt"])("%s", (name) => {
  test("gives no worker more tasks than it has threads", () => {
    const world = listWorld(name, [1, 3]);
    world.submit(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`s${i}`, []])));
    const loads = (): number[] => [0, 1].map((number) => world.worker(number).book.load);
    expect(loads()).toEqual([1, 3]);
    const first = [...world.worker(1).tasks.keys()][0]!;
    world.finish(first);
    expect(loads()).toEqual([1, 3]);
    expect(world.scheduler.moves.queue.length).toBe(15);
  });

  test("sends a task to the free worker that has its input", () => {
    const world = listWorld(name, [1, 1, 1]);
    world.scatter("x", 2, "alice", 1000);
    world.submit({ t: ["x"] });
    expect(world.workerOf("t")).toBe(2);
    // The holder is busy: the input has to travel.
    world.submit({ u: ["x"] });
    expect(world.workerOf("u")).not.toBe(2);
  });
});

test("blevel takes the task first behind which the most tasks are on one path", () => {
  const world = listWorld("blevel", [1]);
  world.submit(GRAPH, { wanted: Object.keys(GRAPH) });
  world.finishAll();
  expect(begun(world, 0)).toEqual(["long", "wide", "middle", "short", "end", "wide-end"]);
});

test("tlevel takes the task first that has the fewest tasks before it", () => {
  const world = listWorld("tlevel", [1]);
  world.submit(GRAPH, { wanted: Object.keys(GRAPH) });
  world.finishAll();
  expect(begun(world, 0)).toEqual(["short", "wide", "long", "middle", "wide-end", "end"]);
});

test("levels in seconds go by what tasks of a name took before", () => {
  for (const [name, first] of [
    ["blevel", "steps-1"],
    ["blevel-gt", "slow-1"],
  ] as const) {
    const world = listWorld(name, [1]);
    world.run_s = 100;
    world.submit({ "slow-0": [] });
    world.finishAll();
    world.run_s = 1;
    world.submit({ "steps-0": [] });
    world.finishAll();
    world.submit({ "slow-1": [], "steps-1": [], "steps-2": ["steps-1"], "steps-3": ["steps-2"] });
    expect(begun(world, 0)[2], name).toBe(first);
  }
});

test("a graph that comes later is levelled by itself, and runs later", () => {
  const world = listWorld("blevel", [1]);
  world.submit({ a: [], b: [], c: ["b"] }, { wanted: ["a", "c"] });
  world.submit({ d: ["c"], e: ["d"], f: [], g: ["f"], h: ["g"], i: ["h"] }, { wanted: ["e", "i"] });
  world.finishAll();
  expect(begun(world, 0)).toEqual(["b", "a", "c", "f", "g", "d", "h", "e", "i"]);
});

test("a deep graph is levelled without recursion", () => {
  const world = listWorld("mcp", [1]);
  const graph = Object.fromEntries(
    Array.from({ length: 3000 }, (_, i) => [`k${i}`, i === 0 ? [] : [`k${i - 1}`]]),
  );
  world.batch(() => world.submit(graph));
  expect(world.workerOf("k0")).toBe(0);
});

describe.each(["etf", "dls", "mcp"])("%s", (name) => {
  test("places all that is ready, evenly", () => {
    const world = listWorld(name, [1, 1, 2]);
    world.submit(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`s-${i}`, []])));
    expect([0, 1, 2].map((number) => world.worker(number).book.load)).toEqual([10, 10, 20]);
  });

  test("waits for the holder of an input as long as the transfer would take longer", () => {
    const world = listWorld(name, [1, 1]);
    // 120 MB at 100 MB a second; a task of no known name is expected to take half a second.
    world.scatter("x", 0, "alice", 120e6);
    world.submit({ a: ["x"], b: ["x"], c: ["x"], d: ["x"] });
    const places = ["a", "b", "c", "d"].map((key) => world.workerOf(key));
    expect(places.filter((place) => place === 0)).toHaveLength(3);
  });

  test("reckons with the largest of the inputs that are not there", () => {
    const world = listWorld(name, [1, 1]);
    for (const key of ["a", "b", "c"]) world.scatter(key, 0, "alice", 30e6);
    world.scatter("d", 1, "alice", 50e6);
    world.submit({ t: ["a", "b", "c", "d"] });
    // Together the three are more, but they come side by side.
    expect(world.workerOf("t")).toBe(1);
  });
});

test("etf and dls differ where a task of a higher level cannot start at once", () => {
  const where = (name: string): number => {
    const world = listWorld(name, [1, 1]);
    world.scatter("big", 0, "alice", 150e6);
    const only = { workers: new Set(["w1"]) };
    // `chain` must be fetched to worker 1 (1.5 s), but much is behind it; `leaf` could start there at once.
    world.submit(
      { leaf: [], chain: ["big"], c1: ["chain"], c2: ["c1"], c3: ["c2"], c4: ["c3"], c5: ["c4"] },
      { wanted: ["leaf", "c5"], restrictions: { leaf: only, chain: only } },
    );
    return begun(world, 1).indexOf("chain");
  };
  expect([where("etf"), where("dls")]).toEqual([1, 0]);
});

test("mcp takes the task first that could be delayed least", () => {
  const world = listWorld("mcp", [1]);
  world.submit({ lazy: [], k1: [], k2: ["k1"], k3: ["k2"], join: ["lazy", "k3"] });
  expect(begun(world, 0)).toEqual(["k1", "lazy"]);
});

describe("single", () => {
  test("gives everything to the worker with the most threads, and all to the next when that one leaves", () => {
    const world = listWorld("single", [1, 4, 2]);
    const keys = Array.from({ length: 20 }, (_, i) => `s${i}`);
    world.submit(Object.fromEntries(keys.map((key) => [key, []])));
    expect([0, 1, 2].map((number) => world.worker(number).book.load)).toEqual([0, 20, 0]);
    world.lose(1);
    expect([0, 2].map((number) => world.worker(number).book.load)).toEqual([0, 20]);
  });

  test("tells it to run them in the order of levels", () => {
    const world = listWorld("single", [1]);
    world.submit(GRAPH, { wanted: Object.keys(GRAPH) });
    expect(begun(world, 0)).toEqual(["long", "wide", "short"]);
  });
});
