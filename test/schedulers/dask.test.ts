import { describe, expect, test } from "vitest";
import { DaskPolicy } from "../../src/schedulers/dask/policy.ts";
import { type DaskPolicySettings, DEFAULT_DASK_SETTINGS } from "../../src/schedulers/dask/settings.ts";
import { World } from "../core/world.ts";

function daskWorld(settings: Partial<DaskPolicySettings> = {}, prompt = true): World {
  return new World({ policy: new DaskPolicy({ ...DEFAULT_DASK_SETTINGS, ...settings }), prompt });
}

const NOTHING_WITHHELD = { worker_saturation: Number.POSITIVE_INFINITY };

/** `root-000`, `root-001`, … */
function roots(count: number, name = "root"): string[] {
  return Array.from({ length: count }, (_, i) => `${name}-${String(i).padStart(3, "0")}`);
}

function independent(keys: readonly string[]): Record<string, string[]> {
  return Object.fromEntries(keys.map((key) => [key, []]));
}

function states(world: World, keys: readonly string[], state: string): string[] {
  return keys.filter((key) => world.stateOf(key) === state);
}

describe("root tasks", () => {
  test.each([
    [1.1, 1, 2],
    [1, 1, 1],
    [1.5, 4, 6],
    [0.1, 4, 1],
    [2, 3, 6],
  ])("with worker-saturation %f fill a worker of %i threads with %i", (worker_saturation, threads, slots) => {
    const world = daskWorld({ worker_saturation });
    for (let number = 0; number < 3; number++) world.join(number, { threads });
    const keys = roots(100);
    world.submit(independent(keys));
    for (const worker of world.workers.values()) expect(worker.book.processing).toBe(slots);
    expect(states(world, keys, "queued")).toHaveLength(100 - 3 * slots);
    expect(states(world, keys, "processing")).toEqual(keys.slice(0, 3 * slots));
  });

  test("follow one another in the order of priorities, as slots open", () => {
    const world = daskWorld();
    world.join(0);
    world.submit(independent(roots(10, "late")));
    world.submit(independent(roots(10, "urgent")), { user_priority: 1 });
    world.finish("late-000");
    world.finish("late-001");
    expect(states(world, roots(10, "urgent"), "processing")).toEqual(["urgent-000", "urgent-001"]);
    world.finishAll();
    const begun = world.worker(0).log.filter((text) => text.startsWith("compute-task"));
    const [late, urgent] = [roots(10, "late"), roots(10, "urgent")];
    const order = [...late.slice(0, 2), ...urgent, ...late.slice(2)];
    expect(begun).toEqual(order.map((key) => `compute-task ${key}`));
  });

  test("wait while a worker has what comes after them to do", () => {
    const world = daskWorld({ worker_saturation: 1 });
    world.join(0);
    world.join(1);
    const keys = roots(20);
    world.submit({
      ...independent(keys),
      ...Object.fromEntries(keys.map((key, i) => [`next-${i}`, [key]])),
    });
    const place = world.workerOf(keys[0]!);
    world.finish(keys[0]!);
    expect(world.workerOf("next-0")).toBe(place);
    expect(states(world, keys, "processing")).toEqual([keys[1]]);
    world.finish("next-0");
    expect(states(world, keys, "processing")).toEqual([keys[1], keys[2]]);
  });

  test("may depend on a few tasks, and not on many", () => {
    const world = daskWorld();
    world.join(0);
    const data = roots(5, "data");
    for (const key of data) world.scatter(key, 0);
    const few = roots(10, "few");
    const many = roots(10, "many");
    world.submit(Object.fromEntries(few.map((key) => [key, ["data-000"]])));
    // The group of the data has five tasks, whichever of them are depended on.
    expect(states(world, few, "queued")).toHaveLength(0);
    world.finishAll();
    world.scatter("alone", 0);
    world.submit(Object.fromEntries(many.map((key) => [key, ["alone"]])));
    expect(states(world, many, "queued")).toHaveLength(8);
  });

  test("are those of a group that has more than two tasks a thread", () => {
    const world = daskWorld();
    for (let number = 0; number < 5; number++) world.join(number);
    const keys = roots(10);
    world.submit(independent(keys));
    expect(states(world, keys, "processing")).toHaveLength(10);
    world.submit(independent(["root-010"]));
    expect(world.stateOf("root-010")).toBe("queued");
  });

  test("are not withheld if they are tied to workers", () => {
    const world = daskWorld();
    world.join(0);
    const keys = roots(10);
    const only = { workers: new Set(["w0"]) };
    world.submit(independent(keys), {
      restrictions: Object.fromEntries(keys.map((key) => [key, only])),
    });
    expect(states(world, keys, "processing")).toHaveLength(10);
  });

  test("get the slots of a worker that joins or goes on, and lose those of one that pauses or leaves", () => {
    const world = daskWorld();
    world.join(0);
    const keys = roots(20);
    world.submit(independent(keys));
    world.join(1);
    expect(world.worker(1).book.processing).toBe(2);
    world.status(1, "paused");
    world.finish(keys[0]!);
    expect([world.worker(0).book.processing, world.worker(1).book.processing]).toEqual([2, 2]);
    for (const key of [...world.worker(1).tasks.keys()]) world.finish(key, 1);
    expect([world.worker(0).book.processing, world.worker(1).book.processing]).toEqual([2, 0]);
    world.status(1, "running");
    expect(world.worker(1).book.processing).toBe(2);
    world.lose(1);
    world.finishAll();
    expect(states(world, keys, "memory")).toHaveLength(20);
  });

  test("go in runs of neighbours where none is withheld", () => {
    const world = daskWorld(NOTHING_WITHHELD);
    for (let number = 0; number < 4; number++) world.join(number);
    const keys = roots(40);
    world.submit(independent(keys));
    const places = keys.map((key) => world.workerOf(key));
    expect(places.filter((place, i) => i > 0 && place !== places[i - 1])).toHaveLength(3);
    for (const worker of world.workers.values()) expect(worker.book.processing).toBe(10);
  });

  test("go in shares by threads where none is withheld", () => {
    const world = daskWorld(NOTHING_WITHHELD);
    world.join(0, { threads: 1 });
    world.join(1, { threads: 3 });
    world.submit(independent(roots(40)));
    expect([world.worker(0).book.processing, world.worker(1).book.processing]).toEqual([10, 30]);
  });
});

describe("other tasks", () => {
  test("go where the transfer of their inputs takes least", () => {
    const world = daskWorld();
    world.join(0);
    world.join(1);
    world.join(2);
    world.scatter("small", 0, "alice", 1e6);
    world.scatter("large", 1, "alice", 1e9);
    world.submit({ t: ["small", "large"] });
    expect(world.workerOf("t")).toBe(1);
  });

  test("go to another holder of inputs if that can start them sooner", () => {
    const world = daskWorld();
    world.join(0);
    world.join(1);
    world.scatter("small", 0, "alice", 1e6);
    world.scatter("large", 1, "alice", 300e6);
    const only = { workers: new Set(["w1"]) };
    // 300 MB are three seconds away, six unknown tasks half a second each.
    world.submit(independent(roots(5, "busy")), {
      restrictions: Object.fromEntries(roots(5, "busy").map((key) => [key, only])),
    });
    world.submit({ t: ["small", "large"] });
    expect(world.workerOf("t")).toBe(1);
    world.submit(
      { "busy-more": [], "busy-most": [] },
      {
        restrictions: { "busy-more": only, "busy-most": only },
      },
    );
    world.submit({ u: ["small", "large"] });
    expect(world.workerOf("u")).toBe(0);
  });

  test("are expected to take as long as others of their name did", () => {
    const world = daskWorld();
    world.join(0);
    world.join(1);
    world.scatter("a", 0);
    world.scatter("b", 1);
    world.run_s = 10;
    world.submit({ "slow-1": ["a"] });
    world.finishAll();
    world.run_s = 0.001;
    world.submit({ "quick-1": ["b"] });
    world.finishAll();
    world.submit({ "slow-2": ["a"], "quick-2": ["b"], "quick-3": ["b"], "quick-4": ["b"] });
    expect(world.workerOf("quick-4")).toBe(1);
    world.submit({ t: ["a", "b"] });
    expect(world.workerOf("t")).toBe(1);
  });

  test("without inputs go to workers with nothing to do, in turn", () => {
    const world = daskWorld();
    for (let number = 0; number < 4; number++) world.join(number);
    world.submit(independent(["a", "b", "c", "d"]));
    expect(["a", "b", "c", "d"].map((key) => world.workerOf(key)).sort()).toEqual([0, 1, 2, 3]);
  });

  test("whose input is everywhere are spread over more workers than the first few holders", () => {
    const world = daskWorld();
    for (let number = 0; number < 60; number++) world.join(number);
    world.scatter("wide", 0);
    for (let number = 1; number < 60; number++) world.addKey("wide", number);
    world.scatter("other-1", 0);
    const keys = roots(60, "user");
    // Two groups of dependencies with five tasks: no root tasks.
    for (const key of roots(5, "other")) world.scatter(key, 0);
    world.submit(Object.fromEntries(keys.map((key) => [key, ["wide", "other-1"]])));
    expect(new Set(keys.map((key) => world.workerOf(key))).size).toBeGreaterThan(40);
  });
});

describe("stealing", () => {
  /** Worker 0 holds `x` and has `count` tasks on it; worker 1 is idle. */
  function unequal(count: number, x_nbytes: number, settings: Partial<DaskPolicySettings> = {}): World {
    const world = daskWorld({ unknown_duration_s: 1, ...settings }, false);
    world.join(0);
    world.scatter("x", 0, "alice", x_nbytes);
    world.submit(Object.fromEntries(roots(count, "y").map((key) => [key, ["x"]])));
    // Withheld or not: worker 0 has them all.
    expect(world.worker(0).book.processing).toBe(count);
    world.join(1);
    world.wait(1e9);
    return world;
  }

  const INFINITE = { ...NOTHING_WITHHELD, rootish_tasks: 0 };

  function stolen(world: World): string[] {
    const asked = [...world.scheduler.books.steals.keys()].map((task) => world.outbox.keyOf(task));
    return asked.sort();
  }

  test("takes the newest tasks, until the thief has enough", () => {
    const world = unequal(10, 1000, INFINITE);
    expect(stolen(world).length).toBeGreaterThanOrEqual(2);
    expect(stolen(world)).toEqual(roots(10, "y").slice(-stolen(world).length));
    expect(world.scheduler.books.steals.size).toBeLessThanOrEqual(5);
  });

  test("leaves tasks whose inputs are dear to move", () => {
    expect(stolen(unequal(10, 1e9, INFINITE))).toEqual([]);
    expect(stolen(unequal(10, 100e9, INFINITE))).toEqual([]);
  });

  test("leaves tasks that are configured as fast", () => {
    const default_durations_s = new Map([["y", 1e-6]]);
    expect(stolen(unequal(10, 1000, { ...INFINITE, default_durations_s }))).toEqual([]);
  });

  test("takes the tasks first that are cheapest to move for what they take", () => {
    const world = daskWorld({ ...INFINITE, unknown_duration_s: 1 }, false);
    world.join(0);
    world.scatter("x", 0, "alice", 20e6);
    world.scatter("light", 0, "alice", 100);
    world.submit(Object.fromEntries(roots(5, "light").map((key) => [key, ["light"]])));
    world.submit(Object.fromEntries(roots(5, "heavy").map((key) => [key, ["x"]])));
    world.join(1);
    world.wait(1e9);
    expect(stolen(world).length).toBeGreaterThan(0);
    for (const key of stolen(world)) expect(key).toMatch(/^light/);
  });

  test("comes at intervals, and does not ask again for what was refused", () => {
    const world = unequal(4, 1000, INFINITE);
    const first = stolen(world);
    for (const key of first) world.answerSteal(key, 0, "executing");
    expect(world.scheduler.books.steals.size).toBe(0);
    const { steals_asked } = world.scheduler.counts;
    expect(world.again_ns).toBe(2e9);
    world.wait(1e9 - 1);
    expect(world.scheduler.counts.steals_asked).toBe(steals_asked);
    world.wait(1);
    expect(stolen(world).filter((key) => first.includes(key))).toEqual([]);
  });

  test("is off where it is configured off", () => {
    const world = unequal(10, 1000, { ...INFINITE, stealing: false });
    expect(stolen(world)).toEqual([]);
    expect(world.again_ns).toBe(Number.POSITIVE_INFINITY);
  });

  test("keeps to restrictions", () => {
    const world = daskWorld({ ...INFINITE, unknown_duration_s: 1 }, false);
    world.join(0);
    const keys = roots(10, "y");
    const restrictions = Object.fromEntries(
      keys.map((key, i) => [key, { workers: new Set(i % 2 === 0 ? ["w0"] : ["w0", "w2"]) }]),
    );
    world.submit(independent(keys), { restrictions });
    world.batch(() => {
      world.join(1);
      world.join(2);
    });
    world.wait(1e9);
    expect(stolen(world).length).toBeGreaterThan(0);
    for (const [task, { thief }] of world.scheduler.books.steals) {
      expect(thief.alias).toBe("w2");
      expect(Number(world.outbox.keyOf(task).slice(2)) % 2).toBe(1);
    }
  });

  test("evens out what was given out before most workers came", () => {
    const world = daskWorld({ ...INFINITE, stealing_interval_ns: 1e6 });
    world.run_s = 0.1;
    world.join(0);
    world.submit(independent(roots(100)));
    for (let number = 1; number < 8; number++) world.join(number);
    for (let round = 0; round < 40; round++) world.wait(1e6);
    const loads = [...world.workers.values()].map((worker) => worker.book.processing);
    expect(Math.min(...loads)).toBeGreaterThan(2);
    world.finishAll();
    expect(world.scheduler.counts.steals_done).toBeGreaterThan(30);
  });
});
