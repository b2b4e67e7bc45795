import { describe, expect, test } from "vitest";
import { RandomPolicy } from "../../src/schedulers/random.ts";
import { World } from "./world.ts";

/** Task `a` runs on worker 0 and worker 1 has been asked for as the thief; nothing is answered yet. */
function stealing(): World {
  const world = new World({ policy: new RandomPolicy(1), prompt: false });
  world.join(0);
  world.submit({ a: [] });
  world.join(1);
  world.worker(0).receive();
  world.steal(world.task("a"), world.worker(1).book.id);
  return world;
}

const loads = (world: World): number[] => [...world.workers.values()].map((worker) => worker.book.load);

describe("a steal", () => {
  test("counts the task where it goes from the moment that it is asked for", () => {
    const world = stealing();
    expect(world.toWorker(0)).toEqual(["compute-task a", "steal-request a"]);
    expect(loads(world)).toEqual([0, 1]);
    expect(world.workerOf("a")).toBe(0);
  });

  test("is asked for once for a task (M9)", () => {
    const world = stealing();
    world.join(2);
    world.steal(world.task("a"), world.worker(2).book.id);
    expect(world.scheduler.counts.steals_asked).toBe(1);
  });

  test.each(["ready", "waiting", "constrained"])(
    "that finds the task %s moves it under a higher run_id",
    (state) => {
      const world = stealing();
      const run_id = world.runOf("a");
      world.worker(0).tasks.delete("a");
      if (state !== "ready") world.worker(0).promised.delete("a");
      world.answerSteal("a", 0, state);
      expect(world.workerOf("a")).toBe(1);
      expect(world.runOf("a")).toBeGreaterThan(run_id);
      expect(world.toWorker(1)).toEqual(["compute-task a"]);
      expect(loads(world)).toEqual([0, 1]);
      expect(world.scheduler.counts.steals_done).toBe(1);
    },
  );

  test.each(["executing", "long-running", "memory", "cancelled", "resumed"])(
    "that finds the task %s is refused: the load goes back, and nobody asks again",
    (state) => {
      const world = stealing();
      world.answerSteal("a", 0, state);
      expect(world.workerOf("a")).toBe(0);
      expect(loads(world)).toEqual([1, 0]);
      expect(world.toWorker(1)).toEqual([]);
      expect(world.scheduler.books.stealable(world.task("a"), world.worker(1).book.id)).toBe(false);
      world.finish("a");
      expect(loads(world)).toEqual([0, 0]);
    },
  );

  test.each([null, "released", "error"])(
    "whose victim does not have the task (%s) has it placed anew",
    (state) => {
      const world = stealing();
      world.status(0, "paused");
      world.answerSteal("a", 0, state);
      expect(world.workerOf("a")).toBe(1);
      expect(world.scheduler.books.steals.size).toBe(0);
    },
  );

  test("that is answered after the task was done is over", () => {
    const world = stealing();
    world.finish("a");
    expect(loads(world)).toEqual([0, 0]);
    world.answerSteal("a", 0, "memory");
    expect(world.stateOf("a")).toBe("memory");
  });

  test("of an older request of the same key is ignored", () => {
    const world = stealing();
    world.say(0, { op: "steal-response", key: "a", steal_id: 999, state: "ready" });
    expect(world.workerOf("a")).toBe(0);
    expect(world.scheduler.books.steals.size).toBe(1);
  });

  test("that a worker answers which was not asked is ignored", () => {
    const world = stealing();
    const id = world.scheduler.books.steals.get(world.task("a"))!.id;
    world.say(1, { op: "steal-response", key: "a", steal_id: id, state: "ready" });
    expect(world.workerOf("a")).toBe(0);
  });

  test("whose task is cancelled meanwhile is over, and its answer too", () => {
    const world = stealing();
    world.release("a");
    expect(loads(world)).toEqual([0, 0]);
    world.answerSteal("a", 0, null);
    expect(world.scheduler.books.tasks.live).toBe(0);
  });

  test("from a victim that dies ends, and the task goes to who is left", () => {
    const world = stealing();
    world.lose(0);
    expect(world.workerOf("a")).toBe(1);
    expect(loads(world)).toEqual([1]);
  });

  test("for a thief that dies: the victim gives the task up all the same, and it is placed anew", () => {
    const world = stealing();
    world.lose(1);
    expect(world.workerOf("a")).toBe(0);
    world.worker(0).tasks.delete("a");
    world.answerSteal("a", 0, "ready");
    expect(world.workerOf("a")).toBe(0);
    expect(world.toWorker(0).slice(-2)).toEqual(["free-keys a", "compute-task a"]);
    expect(loads(world)).toEqual([1]);
  });

  test("for a thief that is paused by then has the task placed anew (W12)", () => {
    const world = stealing();
    world.status(1, "paused");
    world.answerSteal("a", 0, "ready");
    expect(world.workerOf("a")).toBe(0);
    expect(world.scheduler.counts.steals_done).toBe(0);
  });

  test("ends when the task secedes", () => {
    const world = stealing();
    world.say(0, { op: "long-running", key: "a", run_id: world.runOf("a") });
    expect(loads(world)).toEqual([0, 0]);
    expect(world.scheduler.books.steals.size).toBe(0);
  });

  test("books what the thief will fetch instead of the victim (W4)", () => {
    const world = new World({ policy: new RandomPolicy(1) });
    for (const number of [0, 1, 2]) world.join(number, {}, number === 0 ? "running" : "paused");
    world.submit({ x: [] });
    world.finish("x");
    world.status(0, "paused");
    world.status(1, "running");
    world.submit({ a: ["x"] });
    world.status(2, "running");
    const { needs } = world.scheduler.books;
    expect(needs.has(world.task("x"), world.worker(1).book.id)).toBe(true);
    world.steal(world.task("a"), world.worker(2).book.id);
    expect(world.workerOf("a")).toBe(2);
    expect(needs.has(world.task("x"), world.worker(1).book.id)).toBe(false);
    expect(needs.has(world.task("x"), world.worker(2).book.id)).toBe(true);
  });
});
