import { describe, expect, test } from "vitest";
import { type Batch, type News, PolicyAnswerError } from "../../src/schedulers/external/messages.ts";
import { ExternalPolicy } from "../../src/schedulers/external/policy.ts";
import { World } from "../core/world.ts";

type Pair = readonly [task: number, worker: number];

/** The other side, played by the test. */
class Other {
  readonly batches: Batch[] = [];
  readonly policy = new ExternalPolicy({ seed: 1, send: (batch) => void this.batches.push(batch) });
  readonly world: World;
  #answered = 0;

  constructor(workers: number, prompt = true) {
    this.world = new World({ policy: this.policy, prompt });
    for (let number = 0; number < workers; number++) this.world.join(number);
    this.answer();
  }

  /** All news since the last time. */
  news(): News[] {
    return this.batches.splice(0).flatMap((batch) => batch.news);
  }

  /** Answers what it was asked, the last batch with these, and lets a turn follow. */
  answer(...assignments: Pair[]): void {
    while (this.policy.unanswered > 1) this.policy.answer({ batch: ++this.#answered, assignments: [] });
    this.policy.answer({ batch: ++this.#answered, assignments });
    this.world.wait(0);
  }
}

describe("an external policy is told", () => {
  test("of workers, tasks after their inputs, and what becomes of them", () => {
    const other = new Other(1);
    const { world } = other;
    expect(other.news()).toEqual([
      { op: "new-worker", worker: 1, threads: 1, host: 0 },
      { op: "worker-status", worker: 1, running: true },
    ]);
    world.submit({ "sum-1": ["inc-2", "inc-1"], "inc-1": [], "inc-2": [] });
    const names = other
      .news()
      .map((news) => (news.op === "new-task" ? [news.task, news.name, news.inputs] : []));
    const sum = names.at(-1)!;
    expect(sum[1]).toBe("sum");
    expect(names.slice(0, 2).map(([, name]) => name)).toEqual(["inc", "inc"]);
    expect([...(sum[2] as number[])].sort()).toEqual([1, 2]);
    other.answer([1, 1], [2, 1], [3, 1]);
    world.run_s = 0.5;
    world.finishAll();
    world.release("sum-1");
    const later = other.news();
    expect(later.map((news) => news.op)).toEqual([
      ...["task-finished", "task-finished", "task-finished"],
      ...["task-removed", "task-removed", "task-removed"],
    ]);
    expect(later[0]).toMatchObject({ worker: 1, nbytes: 8, duration: 0.5 });
  });

  test("of data that clients brought, when a task needs it", () => {
    const other = new Other(2);
    other.world.scatter("x", 1, "alice", 100);
    other.news();
    other.world.submit({ t: ["x"] });
    expect(other.news()).toEqual([
      { op: "new-data", task: 1, workers: [2], nbytes: 100 },
      { op: "new-task", task: 2, inputs: [1], name: "t", order: 0, tied: false },
    ]);
  });

  test("of what the scheduler places itself: tasks that are tied to workers, and actors", () => {
    const other = new Other(2);
    const { world } = other;
    world.submit({ a: [], b: [] }, { restrictions: { a: { workers: new Set(["w1"]) } }, actors: ["b"] });
    expect([world.workerOf("a"), world.stateOf("b")]).toEqual([1, "processing"]);
    world.wait(0);
    const placed = other.news().filter((news) => news.op === "task-placed");
    expect(placed).toHaveLength(2);
    expect(placed).toContainEqual({ op: "task-placed", task: expect.any(Number), worker: 2 });
  });

  test("that a task waits again when its worker or its result is lost", () => {
    const other = new Other(2);
    const { world } = other;
    world.submit({ a: [], b: ["a"] });
    other.answer([1, 1], [2, 2]);
    world.finish("a");
    other.news();
    world.lose(0);
    expect(other.news().map((news) => news.op)).toEqual(
      expect.arrayContaining(["task-waiting", "task-waiting", "worker-left"]),
    );
    expect(world.stateOf("a")).toBe("queued");
    other.answer([1, 2], [2, 2]);
    world.finishAll();
    expect(world.stateOf("b")).toBe("memory");
  });

  test("of a deep graph without recursion", () => {
    const other = new Other(1);
    const keys = Array.from({ length: 20_000 }, (_, i) => `k-${i}`);
    other.world.batch(() =>
      other.world.submit(Object.fromEntries(keys.map((key, i) => [key, i === 0 ? [] : [keys[i - 1]!]]))),
    );
    expect(other.news().filter((news) => news.op === "new-task")).toHaveLength(20_000);
  });
});

describe("an external policy's assignment", () => {
  test("places a task that waits for it", () => {
    const other = new Other(3);
    other.world.submit({ a: [] });
    expect(other.world.stateOf("a")).toBe("queued");
    other.answer([1, 3]);
    expect(other.world.workerOf("a")).toBe(2);
  });

  test("of a task that is not ready is kept until it is", () => {
    const other = new Other(2);
    other.world.submit({ a: [], b: ["a"] });
    other.answer([1, 1], [2, 2]);
    other.world.finish("a");
    expect(other.world.workerOf("b")).toBe(1);
  });

  test("of a task that another worker has is a steal, whose end is told", () => {
    for (const [state, success] of [
      ["ready", true],
      ["executing", false],
    ] as const) {
      const other = new Other(2, false);
      const { world } = other;
      world.submit({ a: [] });
      other.answer([1, 1]);
      while (world.worker(0).receive());
      other.news();
      world.submit({ other: [] });
      other.answer([1, 2]);
      expect(world.scheduler.counts.steals_asked).toBe(1);
      world.answerSteal("a", 0, state);
      expect(world.workerOf("a")).toBe(success ? 1 : 0);
      world.wait(0);
      expect(other.news()).toContainEqual({ op: "steal-response", task: 1, from: 1, to: 2, success });
    }
  });

  test("that cannot be a steal is refused at once", () => {
    const other = new Other(2, false);
    const { world } = other;
    world.submit({ a: [] });
    other.answer([1, 1]);
    while (world.worker(0).receive());
    world.start("a");
    world.submit({ b: [] });
    other.answer([1, 2]);
    world.answerSteal("a", 0, "executing");
    world.submit({ c: [] });
    other.answer([1, 2]);
    // It runs: it is not asked for a second time.
    expect(world.scheduler.counts.steals_asked).toBe(1);
    world.wait(0);
    const refused = other.news().filter((news) => news.op === "steal-response");
    expect(refused.map((news) => news.success)).toEqual([false, false]);
  });

  test("that comes too late changes nothing", () => {
    const other = new Other(2);
    const { world } = other;
    world.submit({ a: [], b: [] });
    world.cancel("a");
    world.lose(1);
    other.answer([1, 1], [2, 2]);
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["forgotten", "queued"]);
    world.submit({ c: [] });
    other.answer([2, 1], [3, 1]);
    world.finishAll();
    expect([world.stateOf("b"), world.stateOf("c")]).toEqual(["memory", "memory"]);
  });
});

describe("an answer that makes no sense", () => {
  test.each<[unknown, RegExp]>([
    ["yes", /is no map: "yes"/],
    [null, /is no map: null/],
    [[], /is no map/],
    [{ batch: 7, assignments: [] }, /answered batch 7, and batch \d+ was next/],
    [{ batch: 2 }, /has no list of assignments/],
    [{ batch: 2, assignments: [[1]] }, /\[1\] is no pair/],
    [{ batch: 2, assignments: [[1, "w"]] }, /\[1,"w"\] is no pair/],
    [{ batch: 2, assignments: [[99, 1]] }, /never a task 99/],
    [{ batch: 2, assignments: [[1, 99]] }, /never a worker 99/],
    [{ batch: 2, assignments: [[0, 1]] }, /never a task 0/],
  ])("%j is refused with what is wrong", (answer, reason) => {
    const other = new Other(1);
    other.world.submit({ a: [] });
    expect(() => other.policy.answer(answer)).toThrow(PolicyAnswerError);
    expect(() => other.policy.answer(answer)).toThrow(reason);
    // Nothing of it was taken.
    other.answer([1, 1]);
    expect(other.world.workerOf("a")).toBe(0);
  });

  test("to nothing that was asked is one, too", () => {
    const other = new Other(1);
    expect(() => other.policy.answer({ batch: 2, assignments: [] })).toThrow(/was not asked/);
  });
});

test("when the other side has failed, everything is placed here, what waited first", () => {
  const other = new Other(2);
  const { world } = other;
  world.submit({ a: [], b: ["a"], c: [] });
  expect(world.stateOf("a")).toBe("queued");
  other.policy.fail("it is gone");
  world.wait(0);
  expect([world.stateOf("a"), world.stateOf("c")]).toEqual(["processing", "processing"]);
  world.submit({ d: [] });
  world.finishAll();
  for (const key of ["b", "c", "d"]) expect(world.stateOf(key)).toBe("memory");
  const told = other.news().length;
  world.join(2);
  expect(other.news()).toEqual([]);
  expect(told).toBeGreaterThan(0);
});
