import { expect, test } from "vitest";
import { World } from "./world.ts";

/** A world with one worker of many threads, and tasks that are ready in an order other than their priority's. */
function worldOf(slice: number): World {
  const world = new World({ slice });
  world.join(0, { threads: 100 });
  return world;
}

const KEYS = Array.from({ length: 20 }, (_, i) => `k${String(i).padStart(2, "0")}`);
const GRAPH = Object.fromEntries(KEYS.map((key) => [key, []]));

test("more tasks than are placed at once are all placed, best priority first", () => {
  const orders = [Number.POSITIVE_INFINITY, 7, 1].map((slice) => {
    const world = worldOf(slice);
    world.submit(GRAPH);
    return world.toWorker(0);
  });
  expect(orders[0]).toHaveLength(KEYS.length);
  expect(orders[1]).toEqual(orders[0]);
  expect(orders[2]).toEqual(orders[0]);
});

test("one batch takes no more than it is asked for, and what left meanwhile is not placed", () => {
  const world = worldOf(Number.POSITIVE_INFINITY);
  const { scheduler } = world;
  world.batch(() => {
    world.submit(GRAPH);
    scheduler.schedule(5);
    expect([scheduler.placing, world.processing]).toEqual([true, 5]);
    world.release("k19");
    world.release("k18");
    scheduler.schedule(10);
    expect([scheduler.placing, world.processing]).toEqual([true, 15]);
  });
  expect([scheduler.placing, world.processing]).toEqual([false, 18]);
});

test("what becomes ready meanwhile goes first", () => {
  const world = worldOf(Number.POSITIVE_INFINITY);
  world.batch(() => {
    world.submit(GRAPH);
    world.scheduler.schedule(5);
    world.submit({ late: [] });
    world.scheduler.schedule(1);
    expect(world.stateOf("late")).toBe("processing");
  });
});

test("a task that many inputs hang on lets go of them in many batches", () => {
  const world = worldOf(4);
  const { scheduler } = world;
  world.submit({ ...GRAPH, sum: KEYS }, { wanted: ["sum"] });
  for (const key of KEYS) world.finish(key, 0);
  scheduler.schedule(4);
  world.batch(() => {
    world.finish("sum", 0);
    expect([scheduler.moves.unsettled > 0, scheduler.unfinished]).toEqual([true, true]);
    // A graph that names one of them anew finds it gone, not on its way out.
    world.submit({ k00: [] });
    expect(scheduler.moves.unsettled).toBe(0);
  });
  expect(world.stateOf("k00")).toBe("processing");
  expect(world.stateOf("k01")).toBe("released");
});
