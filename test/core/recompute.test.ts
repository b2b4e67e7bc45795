import { describe, expect, test } from "vitest";
import { World } from "./world.ts";

/** A shuffle's shape: two inputs, a barrier, two outputs that the client wants; the inputs are in memory. */
function shuffle(): World {
  const world = new World();
  world.join(0, { threads: 2 });
  world.join(1, { threads: 2 });
  world.submit({ in0: [], in1: [], barrier: ["in0", "in1"], out0: ["barrier"], out1: ["barrier"] });
  world.finish("in0");
  world.finish("in1");
  return world;
}

const ALL = ["out0", "out1", "barrier", "in0", "in1"] as const;
const statesOf = (world: World): string[] => ALL.map((key) => world.stateOf(key));

describe("recompute", () => {
  test("begins anew while the barrier runs", () => {
    const world = shuffle();
    expect(world.stateOf("barrier")).toBe("processing");
    const run_id = world.runOf("in0");
    world.recompute(...ALL);
    expect(statesOf(world)).toEqual(["waiting", "waiting", "waiting", "processing", "processing"]);
    expect(world.runOf("in0")).toBeGreaterThan(run_id);
    world.finishAll();
    expect(statesOf(world)).toEqual(["memory", "memory", "released", "released", "released"]);
  });

  test("begins anew after one output is done, which its client is told is lost", () => {
    const world = shuffle();
    world.finish("barrier");
    world.finish("out0");
    world.toClient();
    world.recompute(...ALL);
    expect(statesOf(world)).toEqual(["waiting", "waiting", "waiting", "processing", "processing"]);
    expect(world.toClient()).toEqual(["lost-data out0"]);
    world.finishAll();
    expect(world.toClient().sort()).toEqual(["key-in-memory out0", "key-in-memory out1"]);
  });

  test("leaves alone what nothing needs any more", () => {
    const world = shuffle();
    world.finishAll();
    world.release("out0");
    world.recompute("barrier", "in0", "in1");
    expect(statesOf(world)).toEqual(["forgotten", "memory", "released", "released", "released"]);
  });

  test("leaves failed tasks as they are", () => {
    const world = shuffle();
    world.err("barrier");
    world.recompute(...ALL);
    expect(statesOf(world)).toEqual(["erred", "erred", "erred", "released", "released"]);
  });
});

describe("a watch", () => {
  test("is told when its task is released, not when it is finished", () => {
    const world = shuffle();
    const told: string[] = [];
    world.scheduler.moves.watches.set(world.task("barrier"), () => told.push(world.stateOf("barrier")));
    world.finish("barrier");
    expect(told).toEqual([]);
    world.finish("out0");
    world.finish("out1");
    expect(told).toEqual(["released"]);
    world.leave();
    expect(told).toEqual(["released", "released"]);
    expect(world.stateOf("barrier")).toBe("forgotten");
  });

  test("is told of an error", () => {
    const world = shuffle();
    const told: string[] = [];
    world.scheduler.moves.watches.set(world.task("barrier"), () => told.push(world.stateOf("barrier")));
    world.err("barrier");
    expect(told).toEqual(["erred"]);
  });
});

describe("restrict", () => {
  test("holds from the next placement on, until it is taken back", () => {
    const world = new World();
    world.join(0, { threads: 4 });
    world.join(1, { threads: 4 });
    world.submit({ a: [] });
    const other = 1 - world.workerOf("a");
    world.restrict("a", { workers: new Set([`w${other}`]), loose: false, resources: null });
    world.say(1 - other, { op: "reschedule", key: "a" });
    expect(world.workerOf("a")).toBe(other);
    world.lose(other);
    expect(world.stateOf("a")).toBe("no-worker");
    world.restrict("a", null);
    world.recompute("a");
    expect(world.workerOf("a")).toBe(1 - other);
  });
});
