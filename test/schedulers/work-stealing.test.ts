import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TransferCost } from "../../src/schedulers/transfer-cost.ts";
import { WorkStealingPolicy } from "../../src/schedulers/work-stealing.ts";
import { World } from "../core/world.ts";

/** Puts data of some size on workers, and nothing else. */
function scattered(world: World, data: Readonly<Record<string, { on: number[]; nbytes: number }>>): void {
  for (const [key, { on, nbytes }] of Object.entries(data))
    for (const number of on) world.scatter(key, number, "alice", nbytes);
}

const sources = (count: number): Record<string, string[]> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${String(i).padStart(4, "0")}`, []]));

describe("transfer cost", () => {
  /** Workers 0 and 1 on one host, 2 and 3 on two others. */
  function hosts(): World {
    const world = new World();
    for (const [number, host] of ["h0", "h0", "h1", "h2"].entries()) world.join(number, { host, threads: 8 });
    return world;
  }

  function costs(world: World, key: string): number[] {
    const cost = new TransferCost();
    return [...world.workers.values()].map((worker) =>
      cost.of(world.task(key), worker.book.id, world.scheduler.books),
    );
  }

  test("of an input is 0 where it is, half on the same host, its size elsewhere", () => {
    const world = hosts();
    scattered(world, { x: { on: [0], nbytes: 100 } });
    world.submit({ a: ["x"] });
    expect(costs(world, "a")).toEqual([0, 50, 100, 100]);
  });

  test("is 1 where the input will be fetched anyway", () => {
    const world = hosts();
    scattered(world, { x: { on: [0], nbytes: 100 } });
    world.submit({ a: ["x"] }, { restrictions: { a: { workers: new Set(["w2"]) } } });
    world.submit({ b: ["x"] });
    expect(costs(world, "b")).toEqual([0, 50, 1, 100]);
  });

  test("of several inputs is their sum", () => {
    const world = hosts();
    scattered(world, { x: { on: [0], nbytes: 100 }, y: { on: [2, 3], nbytes: 30 } });
    world.submit({ a: ["x", "y"] }, { pending: ["a"] });
    expect(costs(world, "a")).toEqual([30, 80, 100, 100]);
  });

  interface Input {
    readonly on: number[];
    readonly wanted_by: number[];
    readonly nbytes: number;
  }

  /** Six workers on three hosts, inputs held and wanted here and there, and a task `t` on all of them, not placed yet. */
  function cluster(inputs: readonly Input[], paused: number): World {
    const world = new World();
    for (let number = 0; number < 6; number++) world.join(number, { host: `h${number % 3}`, threads: 50 });
    for (const [i, { on, wanted_by, nbytes }] of inputs.entries()) {
      scattered(world, { [`x${i}`]: { on, nbytes } });
      for (const number of wanted_by) {
        const key = `n${i}-${number}`;
        world.submit({ [key]: [`x${i}`] }, { restrictions: { [key]: { workers: new Set([`w${number}`]) } } });
      }
    }
    world.submit({ t: inputs.map((_, i) => `x${i}`) }, { pending: ["t"] });
    world.status(paused, "paused");
    return world;
  }

  test("finds, without looking at every worker, the workers that are cheapest of all", () => {
    const input: fc.Arbitrary<Input> = fc.record({
      on: fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 4 }),
      wanted_by: fc.uniqueArray(fc.nat(5), { maxLength: 2 }),
      nbytes: fc.integer({ min: 4, max: 1000 }),
    });
    fc.assert(
      fc.property(fc.array(input, { minLength: 1, maxLength: 5 }), fc.nat(5), (inputs, paused) => {
        const world = cluster(inputs, paused);
        const { books } = world.scheduler;
        const task = world.task("t");
        const cost = new TransferCost();
        const running = [...books.running.items.subarray(0, books.running.length)];
        const costs = new Map(running.map((id) => [id, cost.of(task, id, books)]));
        const least = Math.min(...costs.values());
        const { items, length } = cost.cheapest(task, books);
        const best = [...items.subarray(0, length)];
        const sum = inputs.reduce((total, { nbytes }) => total + nbytes, 0);
        for (const id of best) expect(costs.get(id)).toBeCloseTo(least, 6);
        // A worker that only shares a host with a paused holder is not looked for: it is left to the loads.
        const involved = inputs.some(({ on, wanted_by }) => [...on, ...wanted_by].some((n) => n !== paused));
        expect(best.length > 0).toBe(involved);
        if (!involved) expect(least).toBeGreaterThanOrEqual(sum / 2);
      }),
      { numRuns: 150, seed: 5 },
    );
  });
});

describe("placing", () => {
  test("goes to the holder of the inputs", () => {
    const world = new World();
    for (let number = 0; number < 5; number++) world.join(number, { threads: 2 });
    for (let number = 0; number < 5; number++)
      scattered(world, { [`x${number}`]: { on: [number], nbytes: 10 } });
    world.submit(Object.fromEntries([0, 1, 2, 3, 4].map((n) => [`t${n}`, [`x${n}`]])));
    for (let number = 0; number < 5; number++) expect(world.workerOf(`t${number}`)).toBe(number);
  });

  test("goes where most of the bytes are", () => {
    const world = new World();
    for (let number = 0; number < 3; number++) world.join(number, { threads: 2 });
    scattered(world, { x: { on: [0], nbytes: 10 }, y: { on: [1], nbytes: 100 }, z: { on: [2], nbytes: 60 } });
    world.submit({ t: ["x", "y", "z"] });
    expect(world.workerOf("t")).toBe(1);
  });

  test("gives a fresh task to an idle thread rather than to a full holder", () => {
    const world = new World();
    world.join(0);
    world.join(1);
    scattered(world, { x: { on: [0], nbytes: 1000 } });
    world.submit({ t: ["x"], u: ["x"], v: ["x"] });
    expect(["t", "u"].map((key) => world.workerOf(key)).sort()).toEqual([0, 1]);
    // All are full: then the data decides.
    expect(world.workerOf("v")).toBe(0);
  });

  test.each([
    [16, 100],
    [7, 7],
    [10, 3],
    [3, 1000],
  ])("stands %i workers at one level, to within a task, after %i source tasks", (workers, tasks) => {
    const world = new World();
    for (let number = 0; number < workers; number++) world.join(number);
    world.submit(sources(tasks));
    const loads = [...world.workers.values()].map((worker) => worker.book.load);
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
  });

  test("fills workers by their threads, and those with work already by what is missing", () => {
    const world = new World();
    for (let number = 0; number < 4; number++) world.join(number, { threads: number + 1 });
    world.submit(sources(13));
    world.submit(Object.fromEntries(Array.from({ length: 27 }, (_, i) => [`more${i}`, []])));
    for (const worker of world.workers.values()) expect(worker.book.load).toBe(4 * worker.book.threads);
  });

  test("keeps neighbours together", () => {
    const world = new World();
    for (let number = 0; number < 4; number++) world.join(number);
    world.submit(sources(40));
    const places = Object.keys(sources(40)).map((key) => world.workerOf(key));
    const moves = places.filter((place, i) => i > 0 && place !== places[i - 1]).length;
    expect(moves).toBe(3);
  });
});

describe("balancing", () => {
  /** Worker 0 has `count` tasks, started none; worker 1 joins idle and asks. */
  function unequal(count: number): World {
    const world = new World({ policy: new WorkStealingPolicy(1), prompt: false });
    world.join(0);
    world.submit(sources(count));
    while (world.worker(0).receive());
    return world;
  }

  const asked = (world: World, number: number): number =>
    world.toWorker(number).filter((text) => text.startsWith("steal-request")).length;

  test("asks the most loaded worker, for its newest task", () => {
    const world = unequal(4);
    world.join(1);
    const { books } = world.scheduler;
    expect(books.steals.size).toBe(1);
    const [task, steal] = [...books.steals][0]!;
    expect(steal.victim.id).toBe(world.worker(0).book.id);
    expect(task).toBe(world.task("s0003"));
  });

  test("does not bring a victim down to the thief's own level", () => {
    const world = unequal(2);
    world.join(1);
    expect(asked(world, 0)).toBe(1);
    // One task each, and then none: nothing more to even out.
    world.wait(1e9);
    world.join(2);
    expect(asked(world, 0)).toBe(0);
  });

  test("draws lots among equal workers that a task may run on: one that asks to be placed anew comes elsewhere", () => {
    const world = new World({ policy: new WorkStealingPolicy(1) });
    for (const number of [0, 1, 2]) world.join(number);
    world.submit({ a: [] }, { restrictions: { a: { workers: new Set(["w0", "w2"]) } } });
    const seen = new Set<number>();
    for (let i = 0; i < 30; i++) {
      const on = world.workerOf("a");
      seen.add(on);
      world.say(on, { op: "reschedule", key: "a" });
    }
    expect([...seen].sort()).toEqual([0, 2]);
  });

  test("measures loads by threads, not by heads", () => {
    const world = new World({ policy: new WorkStealingPolicy(1), prompt: false });
    world.join(0, { threads: 8 });
    world.join(1);
    for (const [number, count] of [16, 5].entries())
      for (let i = 0; i < count; i++) {
        const restrictions = { t: { workers: new Set([`w${number}`, "thief"]) } };
        world.submit({ [`t${number}-${i}`]: [] }, { restrictions: { [`t${number}-${i}`]: restrictions.t } });
      }
    world.join(2, { alias: "thief" });
    const steals = [...world.scheduler.books.steals.values()];
    expect(steals.map((steal) => steal.victim.id)).toEqual([world.worker(1).book.id]);
  });

  test("asks for more with each grant, up to a few a thread", () => {
    const world = unequal(100);
    world.join(1);
    const asked_for: number[] = [asked(world, 0)];
    for (let round = 0; round < 4; round++) {
      while (world.worker(0).receive());
      world.readAll(0);
      while (world.worker(1).receive());
      for (const key of [...world.worker(1).tasks.keys()]) world.worker(1).finish(key);
      world.batch(() => world.readAll(1));
      asked_for.push(asked(world, 0));
    }
    // Doubled by each grant; of one victim no more than the newest few are looked at.
    expect(asked_for[0]).toBe(1);
    expect(asked_for[1]).toBeGreaterThan(1);
    expect(asked_for.at(-1)).toBe(8);
  });

  test("waits after a refusal, twice as long each time, and not at all after a grant", () => {
    const world = unequal(20);
    for (const task of world.worker(0).tasks.values()) task.state = "executing";
    world.join(1);
    let pause_ns = 0;
    for (let round = 0; round < 4; round++) {
      while (world.worker(0).receive());
      world.readAll(0);
      const { now_ns } = world.scheduler;
      expect(world.again_ns).toBeGreaterThan(now_ns);
      if (pause_ns > 0) expect(world.again_ns - now_ns).toBe(2 * pause_ns);
      pause_ns = world.again_ns - now_ns;
      const { steals_asked } = world.scheduler.counts;
      world.wait(pause_ns - 1);
      expect(world.scheduler.counts.steals_asked).toBe(steals_asked);
      world.wait(1);
      expect(world.scheduler.counts.steals_asked).toBe(steals_asked + 1);
    }
    for (const task of world.worker(0).tasks.values()) task.state = "ready";
    while (world.worker(0).receive());
    world.readAll(0);
    expect(world.again_ns).toBe(Number.POSITIVE_INFINITY);
    expect(world.scheduler.counts.steals_done).toBe(1);
  });

  test("takes a steal whose task finishes first for refused", () => {
    const world = unequal(5);
    world.join(1);
    const [task] = [...world.scheduler.books.steals][0]!;
    world.finish(world.outbox.keyOf(task), 0);
    expect(world.again_ns).toBe(1e6);
  });

  test("puts the load back when a steal fails", () => {
    const world = unequal(3);
    for (const task of world.worker(0).tasks.values()) task.state = "executing";
    world.join(1);
    expect([world.worker(0).book.load, world.worker(1).book.load]).toEqual([2, 1]);
    while (world.worker(0).receive());
    world.readAll(0);
    expect([world.worker(0).book.load, world.worker(1).book.load]).toEqual([3, 0]);
  });
});
