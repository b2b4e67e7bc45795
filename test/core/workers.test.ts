import { describe, expect, test } from "vitest";
import { QueuingPolicy } from "../schedulers/queuing-policy.ts";
import { World } from "./world.ts";

describe("actors", () => {
  test("go to the worker that has the fewest, wherever their inputs are", () => {
    const world = new World();
    for (const worker of [0, 1, 2]) world.join(worker);
    world.submit({ data: [] });
    world.finish("data");
    const graph = Object.fromEntries(["a", "b", "c", "d", "e", "f"].map((key) => [key, ["data"]]));
    world.submit(graph, { actors: Object.keys(graph) });
    const homes = Object.keys(graph).map((key) => world.workerOf(key));
    expect(homes.toSorted()).toEqual([0, 0, 1, 1, 2, 2]);
  });

  test("are lost with the worker that they live on, whoever else refers to them", () => {
    const world = new World();
    world.join(0);
    world.submit({ actor: [] }, { actors: ["actor"] });
    world.finish("actor");
    world.join(1);
    world.status(0, "paused");
    world.submit({ user: ["actor"] });
    expect(world.workerOf("user")).toBe(1);
    world.addKey("actor", 1);
    world.lose(0);
    expect(world.stateOf("actor")).toBe("erred");
    expect(world.stateOf("user")).toBe("erred");
  });

  test("that no worker may have wait for one", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] }, { actors: ["a"], restrictions: { a: { workers: new Set(["nobody"]) } } });
    expect(world.stateOf("a")).toBe("no-worker");
  });
});

describe("the loss of a worker", () => {
  test("has its processing tasks given to others, with nothing said to the dead", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] });
    const peer = world.worker(0);
    world.join(1);
    world.toWorker(0);
    world.lose(0);
    expect(peer.log).toEqual([]);
    expect(world.workerOf("a")).toBe(1);
  });

  test("has what it alone held computed again, and what waited for that waits again (F2)", () => {
    const world = new World();
    world.join(0, { threads: 2 });
    world.submit({ a: [], b: [], c: ["a", "b"] });
    world.finish("a");
    world.join(1);
    world.lose(0);
    expect(world.stateOf("a")).toBe("processing");
    world.finishAll();
    expect(world.stateOf("c")).toBe("memory");
    expect(world.scheduler.counts.recomputed).toBe(1);
  });

  test("takes back tasks that run elsewhere on the promise of the lost data", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] });
    world.finish("a");
    world.join(1);
    world.status(0, "paused");
    world.submit({ b: ["a"] });
    expect(world.workerOf("b")).toBe(1);
    world.toWorker(1);
    world.lose(0);
    expect(world.stateOf("b")).toBe("waiting");
    expect(world.toWorker(1)).toEqual(["free-keys b", "compute-task a"]);
    world.finishAll();
    expect(world.stateOf("b")).toBe("memory");
  });

  test("is no loss of data while another worker holds a replica", () => {
    const world = new World();
    world.join(0);
    world.join(1);
    world.submit({ a: [] });
    const here = world.workerOf("a");
    world.finish("a");
    world.addKey("a", 1 - here);
    world.toClient();
    world.lose(here);
    expect(world.stateOf("a")).toBe("memory");
    expect(world.toClient()).toEqual([]);
  });

  test("errs a task that it kills more often than is allowed (F1, KilledWorker)", () => {
    const world = new World({ allowed_failures: 3 });
    world.submit({ a: [], b: ["a"] });
    for (let death = 0; death < 4; death++) {
      expect(world.stateOf("b")).not.toBe("erred");
      world.join(death);
      expect(world.stateOf("a")).toBe("processing");
      world.lose(death);
    }
    expect(world.stateOf("a")).toBe("erred");
    expect(world.toClient()).toEqual(["task-erred b"]);
    expect(world.scheduler.books.errors.get(world.task("b"))?.exception_text).toBe("KilledWorker");
  });

  test("that was expected makes no task suspicious", () => {
    const world = new World({ allowed_failures: 0 });
    world.submit({ a: [] });
    world.join(0);
    world.lose(0, true);
    expect(world.stateOf("a")).toBe("no-worker");
    world.join(1);
    world.lose(1);
    expect(world.stateOf("a")).toBe("erred");
  });

  test("makes its tasks suspicious even when the loss of its data has activated them already", () => {
    const world = new World({ allowed_failures: 0 });
    world.join(0, { threads: 2 });
    world.submit({ a: [], b: ["a"] }, { wanted: ["b"] });
    world.finish("a");
    world.finish("b");
    // a is computed again for c, while b, its dependent, is held by the same worker.
    world.submit({ c: ["a", "b"] });
    expect(world.stateOf("a")).toBe("processing");
    world.lose(0);
    expect(world.stateOf("a")).toBe("erred");
  });

  test("cancels for its clients the data that cannot be computed, and what depends on it", () => {
    const world = new World();
    world.join(0);
    world.join(1);
    world.scatter("x", 0);
    world.submit({ b: ["x"], c: ["b"], d: [] }, { client: "bob", wanted: ["c", "d"] });
    world.toClient();
    world.lose(0);
    expect(world.toClient()).toEqual(["lost-data x", "cancelled-keys x (lost dependencies)"]);
    expect(world.toClient("bob")).toContain("cancelled-keys c (lost dependencies)");
    expect(world.stateOf("c")).toBe("forgotten");
    expect(world.stateOf("x")).toBe("forgotten");
    expect(world.stateOf("d")).toBe("processing");
  });

  test("errs an actor that lived there, which cannot be made again", () => {
    const world = new World();
    world.join(0);
    world.join(1);
    world.submit({ counter: [] }, { actors: ["counter"] });
    const here = world.workerOf("counter");
    world.finish("counter");
    world.submit({ use: ["counter"] });
    world.lose(here);
    expect(world.stateOf("counter")).toBe("erred");
    expect(world.stateOf("use")).toBe("erred");
    expect(world.scheduler.books.errors.get(world.task("use"))?.exception_text).toContain("Actor was lost");
  });
});

describe("without a worker", () => {
  test("tasks are no-worker until one runs", () => {
    const world = new World();
    world.submit({ a: [], b: ["a"] });
    expect(world.stateOf("a")).toBe("no-worker");
    world.join(0, {}, "init");
    expect(world.stateOf("a")).toBe("no-worker");
    world.status(0, "running");
    expect(world.stateOf("a")).toBe("processing");
  });

  test("a paused worker keeps its tasks and gets no new ones (W12)", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] });
    world.status(0, "paused");
    world.submit({ b: [] });
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["processing", "no-worker"]);
    world.finish("a");
    world.status(0, "running");
    expect(world.stateOf("b")).toBe("processing");
  });

  test("a no-worker task can be released, lose its data, and wait again", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] });
    world.finish("a");
    world.submit({ b: ["a"] }, { restrictions: { b: { workers: new Set(["mars"]) } } });
    expect(world.stateOf("b")).toBe("no-worker");
    world.dropKey("a", 0);
    expect(world.stateOf("b")).toBe("waiting");
    world.finish("a");
    expect(world.stateOf("b")).toBe("no-worker");
    world.release("b");
    expect(world.stateOf("b")).toBe("forgotten");
  });
});

describe("restrictions (W11)", () => {
  const worlds = (): World => {
    const world = new World();
    world.join(0, { host: "10.0.0.1", alias: "small" });
    world.join(1, { host: "10.0.0.2", alias: "big", resources: { GPU: 2 } });
    return world;
  };

  test.each([
    ["an address", "tcp://10.0.0.2:1001"],
    ["a name", "big"],
    ["a host", "10.0.0.2"],
  ])("by %s hold", (_, named) => {
    const world = worlds();
    for (const key of ["a", "b", "c", "d"])
      world.submit({ [key]: [] }, { restrictions: { [key]: { workers: new Set([named]) } } });
    for (const key of ["a", "b", "c", "d"]) expect(world.workerOf(key)).toBe(1);
  });

  test("that nobody meets make the task no-worker until someone does", () => {
    const world = worlds();
    world.submit({ a: [] }, { restrictions: { a: { workers: new Set(["huge"]) } } });
    expect(world.stateOf("a")).toBe("no-worker");
    world.join(2, { alias: "huge" });
    expect(world.workerOf("a")).toBe(2);
  });

  test("that are loose fall back to any worker when none of the named ones runs", () => {
    const world = worlds();
    world.status(1, "paused");
    world.submit({ a: [] }, { restrictions: { a: { workers: new Set(["big"]), loose: true } } });
    expect(world.workerOf("a")).toBe(0);
  });

  test("by resources hold, are booked while the task runs, and are given back (W10)", () => {
    const world = worlds();
    world.submit({ a: [] }, { restrictions: { a: { resources: new Map([["GPU", 1]]) } } });
    world.submit({ b: [] }, { restrictions: { b: { resources: new Map([["GPU", 3]]) } } });
    expect(world.workerOf("a")).toBe(1);
    expect(world.stateOf("b")).toBe("no-worker");
    expect(world.worker(1).book.used_resources.get("GPU")).toBe(1);
    world.finish("a");
    expect(world.worker(1).book.used_resources.get("GPU")).toBe(0);
  });

  test("hold for steals", () => {
    const world = worlds();
    world.submit({ a: [] }, { restrictions: { a: { workers: new Set(["big"]) } } });
    const { books } = world.scheduler;
    expect(books.stealable(world.task("a"), world.worker(0).book.id)).toBe(false);
  });

  test("that are loose do not hold for steals, unless by resources", () => {
    const world = worlds();
    const { books } = world.scheduler;
    const thief = world.worker(0).book.id;
    const named = { workers: new Set(["big"]), loose: true };
    world.submit({ a: [] }, { restrictions: { a: named } });
    expect([world.workerOf("a"), books.stealable(world.task("a"), thief)]).toEqual([1, true]);
    const resources = new Map([["GPU", 1]]);
    world.submit({ b: [] }, { restrictions: { b: { ...named, resources } } });
    expect([world.workerOf("b"), books.stealable(world.task("b"), thief)]).toEqual([1, false]);
  });
});

describe("a memory limit", () => {
  test("errs a task whose inputs are larger, and lets go of what only it needed", () => {
    const world = new World();
    world.join(0, { memory_limit_bytes: 250 });
    world.submit({ a: [], b: [], c: [], sum: ["a", "b", "c"], after: ["sum", "d"], d: [] });
    for (const key of ["a", "b", "c"]) world.finish(key, world.workerOf(key), 100);
    expect([world.stateOf("sum"), world.stateOf("after")]).toEqual(["erred", "erred"]);
    expect(world.toClient()).toContain("task-erred after");
    // Placed with the sum, and needed by nobody since.
    expect([world.stateOf("a"), world.stateOf("d")]).toEqual(["released", "released"]);
    expect(world.scheduler.books.held_bytes).toBe(0);
  });

  test("is the worker's that the task would run on, and holds for the sum of its own inputs", () => {
    const world = new World();
    world.join(0, { memory_limit_bytes: 150 });
    world.submit({ a: [], b: [], c: ["a"] }, { wanted: ["a", "b", "c"] });
    for (const key of ["a", "b"]) world.finish(key, world.workerOf(key), 100);
    expect(world.workerOf("c")).toBe(0);
    world.join(1);
    world.submit({ sum: ["a", "b"] }, { restrictions: { sum: { workers: new Set(["w1"]) } } });
    expect(world.workerOf("sum")).toBe(1);
  });
});

describe("queued", () => {
  test("tasks wait in the order of priorities until a slot opens", () => {
    const world = new World({ policy: new QueuingPolicy() });
    world.join(0, { threads: 2 });
    world.submit({ a: [], b: [], c: [], d: [] });
    world.submit({ urgent: [] }, { user_priority: 10 });
    expect(["a", "b", "c", "d", "urgent"].map((key) => world.stateOf(key))).toEqual([
      "processing",
      "processing",
      "queued",
      "queued",
      "queued",
    ]);
    world.finish("a");
    expect(world.stateOf("urgent")).toBe("processing");
    world.finish("b");
    expect([world.stateOf("c"), world.stateOf("d")]).toEqual(["processing", "queued"]);
    world.join(1);
    expect(world.stateOf("d")).toBe("processing");
  });

  test("tasks that are released leave the queue (distributed issue 8236)", () => {
    const world = new World({ policy: new QueuingPolicy() });
    world.join(0);
    world.submit({ a: [], b: [], c: [] });
    world.release("b");
    expect(world.stateOf("b")).toBe("forgotten");
    world.finish("a");
    expect(world.stateOf("c")).toBe("processing");
  });

  test("tasks become no-worker when the last worker leaves", () => {
    const world = new World({ policy: new QueuingPolicy() });
    world.join(0);
    world.submit({ a: [], b: [] });
    world.lose(0, true);
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["no-worker", "queued"]);
    world.join(1);
    world.finishAll();
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["memory", "memory"]);
  });
});
