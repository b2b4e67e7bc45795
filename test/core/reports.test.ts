import { describe, expect, test } from "vitest";
import { QueuingPolicy } from "../schedulers/queuing-policy.ts";
import { World } from "./world.ts";

/** A world with workers 0 and 1, alice's task `a` on one of them, and where that is. */
function running(): { world: World; here: number; there: number } {
  const world = new World();
  world.join(0);
  world.join(1);
  world.submit({ a: [] });
  const here = world.workerOf("a");
  return { world, here, there: 1 - here };
}

describe("task-finished", () => {
  test("of an unknown key is answered with free-keys (M1)", () => {
    const { world } = running();
    world.finish("never-heard-of", 0);
    expect(world.toWorker(0)).toContain("free-keys never-heard-of");
  });

  test.each(["released", "erred", "no-worker", "queued"])(
    "of a task that is %s is answered with free-keys and changes nothing (M1)",
    (state) => {
      const world = new World({ policy: new QueuingPolicy() });
      world.join(0);
      world.submit({ gone: [], kept: ["gone"] });
      world.finish("gone");
      world.finish("kept");
      world.submit({ bad: [] });
      world.err("bad");
      world.submit({ nowhere: [] }, { restrictions: { nowhere: { workers: new Set(["mars"]) } } });
      world.submit({ first: [], later: [] });
      const key = { released: "gone", erred: "bad", "no-worker": "nowhere", queued: "later" }[state]!;
      expect(world.stateOf(key)).toBe(state);
      world.toWorker(0);
      world.finishRun(key, 0, 1);
      expect(world.toWorker(0)).toEqual([`free-keys ${key}`]);
      expect(world.stateOf(key)).toBe(state);
    },
  );

  test("from a worker that does not have the task is answered with free-keys (M2)", () => {
    const { world, here, there } = running();
    world.finishRun("a", there, world.runOf("a"));
    expect(world.toWorker(there)).toEqual(["free-keys a"]);
    expect(world.workerOf("a")).toBe(here);
  });

  test("of another run, from the worker that has the task, redoes the task under a higher run_id (M2, M4)", () => {
    const { world, here } = running();
    const before = world.runOf("a");
    world.toWorker(here);
    world.finishRun("a", here, before + 100);
    expect(world.stateOf("a")).toBe("processing");
    expect(world.runOf("a")).toBeGreaterThan(before);
    expect(world.toWorker(here)).toContain("free-keys a");
  });

  test("without a run_id, as workers of 2022.12 send it, is taken from the worker that has the task", () => {
    const { world, here } = running();
    world.finishRun("a", here, 0);
    expect(world.stateOf("a")).toBe("memory");
  });

  test("of a task in memory, repeated, changes nothing (M3)", () => {
    const { world, here } = running();
    const run_id = world.runOf("a");
    world.finish("a");
    world.finishRun("a", here, run_id);
    expect(world.holdersOf("a")).toEqual([here]);
  });

  test("of a task in memory by another run is freed, not booked: free-keys is on its way to that worker", () => {
    const { world, here, there } = running();
    const old = world.runOf("a");
    world.status(here, "paused");
    world.say(here, { op: "reschedule", key: "a" });
    world.finish("a", there);
    world.toWorker(here);
    world.finishRun("a", here, old);
    expect(world.toWorker(here)).toEqual(["free-keys a"]);
    expect(world.holdersOf("a")).toEqual([there]);
  });

  test("from a worker that has left is ignored, even when its id is another's (M5)", () => {
    const { world, here } = running();
    const ghost = world.worker(here).book;
    world.lose(here);
    const { book } = world.join(7);
    expect(book.id).toBe(ghost.id);
    world.status(1 - here, "paused");
    world.submit({ b: [] });
    const task = world.task("b");
    expect(world.workerOf("b")).toBe(7);
    world.scheduler.taskFinished(ghost, task, world.runOf("b"), 8, 0);
    world.scheduler.keyAdded(ghost, task);
    world.scheduler.taskLongRunning(ghost, task, world.runOf("b"));
    world.scheduler.taskRescheduled(ghost, task);
    world.scheduler.keyReleased(ghost, task);
    expect(world.stateOf("b")).toBe("processing");
    expect(world.workerOf("b")).toBe(7);
  });
});

describe("task-erred", () => {
  test("errs exactly the tasks that need the result, and blames the source (F4)", () => {
    const world = new World();
    world.join(0, { threads: 4 });
    world.submit({ a: [], b: ["a"], c: ["b"], other: [] });
    world.err("a");
    const { books } = world.scheduler;
    for (const key of ["a", "b", "c"]) {
      expect(world.stateOf(key)).toBe("erred");
      expect(books.errors.get(world.task(key))?.blame).toBe(world.task("a"));
    }
    expect(world.toClient()).toEqual(["task-erred c"]);
    expect(world.stateOf("other")).toBe("processing");
  });

  test("has the worker forget the key: it would answer a retry with the old error", () => {
    const { world, here } = running();
    world.toWorker(here);
    world.err("a");
    expect(world.toWorker(here)).toEqual(["free-keys a"]);
  });

  test("costs a retry while there are some, and the death of a worker does not (F3)", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] }, { retries: 1 });
    world.lose(0);
    world.join(1);
    world.err("a");
    expect(world.stateOf("a")).toBe("processing");
    world.err("a");
    expect(world.stateOf("a")).toBe("erred");
  });

  test("of another run: from the worker that has the task redoes it, from others is nothing (M2)", () => {
    const { world, here, there } = running();
    const run_id = world.runOf("a");
    world.say(there, { op: "task-erred", key: "a", run_id });
    expect(world.runOf("a")).toBe(run_id);
    world.say(here, { op: "task-erred", key: "a", run_id: run_id + 9 });
    expect(world.stateOf("a")).toBe("processing");
    expect(world.runOf("a")).toBeGreaterThan(run_id);
  });

  test("errs what is submitted on top of the erred task at once", () => {
    const { world } = running();
    world.err("a");
    world.submit({ b: ["a"], c: ["b"], d: [] }, { wanted: ["c", "d"] });
    expect(world.stateOf("c")).toBe("erred");
    expect(world.stateOf("d")).toBe("processing");
    expect(world.toClient()).toContain("task-erred c");
  });
});

describe("retry", () => {
  test("computes an erred task and all that erred with it again, each told once", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [], b: ["a"], c: ["a"], d: ["b", "c"] }, { wanted: ["b", "d"] });
    world.err("a");
    world.toClient();
    expect(world.retry("d")).toBe(true);
    expect(world.toClient().sort()).toEqual(["task-retried b", "task-retried d"]);
    world.finishAll();
    expect([world.stateOf("b"), world.stateOf("d")]).toEqual(["memory", "memory"]);
  });

  test("of a task that is not erred does nothing", () => {
    const { world } = running();
    expect(world.retry("a")).toBe(false);
  });
});

describe("long-running", () => {
  test("takes the task's slot off the books, once, and never lets it be stolen", () => {
    const { world, here } = running();
    const { book } = world.worker(here);
    for (const _ of [1, 2]) world.say(here, { op: "long-running", key: "a", run_id: world.runOf("a") });
    expect([book.processing, book.long_running, book.load]).toEqual([1, 1, 0]);
    expect(world.scheduler.books.stealable(world.task("a"), world.worker(1 - here).book.id)).toBe(false);
    world.finish("a");
    expect([book.processing, book.long_running, book.load]).toEqual([0, 0, 0]);
  });

  test("of another run or worker is ignored", () => {
    const { world, here, there } = running();
    world.say(here, { op: "long-running", key: "a", run_id: world.runOf("a") + 1 });
    world.say(there, { op: "long-running", key: "a", run_id: world.runOf("a") });
    expect(world.worker(here).book.long_running).toBe(0);
  });
});

describe("reschedule", () => {
  test("gives the task to a worker anew", () => {
    const { world, here, there } = running();
    const before = world.runOf("a");
    world.status(here, "paused");
    world.say(here, { op: "reschedule", key: "a" });
    expect(world.workerOf("a")).toBe(there);
    expect(world.runOf("a")).toBeGreaterThan(before);
  });

  test("from a worker that does not have the task is ignored", () => {
    const { world, here, there } = running();
    world.say(there, { op: "reschedule", key: "a" });
    expect(world.workerOf("a")).toBe(here);
  });
});

describe("add-keys", () => {
  test("books a replica once", () => {
    const { world, here, there } = running();
    world.finish("a", here, 100);
    world.addKey("a", there);
    world.addKey("a", there);
    expect(world.holdersOf("a")).toEqual([0, 1]);
    expect(world.worker(there).book.nbytes).toBe(100);
  });

  test("of a key that is not in memory is answered with remove-replicas, of an unknown one too", () => {
    const { world, there } = running();
    world.addKey("a", there);
    world.addKey("unknown", there);
    expect(world.toWorker(there)).toEqual(["remove-replicas a", "remove-replicas unknown"]);
  });
});

describe("release-worker-data", () => {
  test("drops a replica, and with the last one the result is computed again (M10)", () => {
    const { world, here, there } = running();
    world.finish("a");
    world.addKey("a", there);
    world.toClient();
    world.dropKey("a", here);
    expect(world.holdersOf("a")).toEqual([there]);
    world.dropKey("a", there);
    expect(world.stateOf("a")).toBe("processing");
    expect(world.toClient()).toEqual(["lost-data a"]);
    world.finish("a");
    expect(world.toClient()).toEqual(["key-in-memory a"]);
    expect(world.scheduler.counts.recomputed).toBe(1);
  });

  test("from a worker that holds nothing is ignored", () => {
    const { world, there } = running();
    world.finish("a");
    world.dropKey("a", there);
    expect(world.stateOf("a")).toBe("memory");
  });

  test("of what a task of the worker needs books the fetch anew (W4)", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] });
    world.finish("a");
    world.join(1);
    world.addKey("a", 1);
    world.submit({ b: ["a"] });
    const on = world.workerOf("b");
    world.dropKey("a", on);
    const { needs } = world.scheduler.books;
    expect(needs.has(world.task("a"), world.worker(on).book.id)).toBe(true);
    expect(world.stateOf("b")).toBe("processing");
  });
});
