import { describe, expect, test } from "vitest";
import { NONE } from "../../src/base/ids.ts";
import { viewOf } from "../../src/base/typed-arrays.ts";
import { QueuingPolicy } from "../schedulers/queuing-policy.ts";
import { World } from "./world.ts";

function withWorkers(count = 2): World {
  const world = new World();
  for (let number = 0; number < count; number++) world.join(number);
  return world;
}

describe("a graph", () => {
  test("runs along its edges, and forgets what nothing needs as it goes", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"], c: ["a"], d: ["b", "c"] });
    expect(world.stateOf("d")).toBe("waiting");
    world.finishAll();
    expect(world.stateOf("d")).toBe("memory");
    expect(["a", "b", "c"].map((key) => world.stateOf(key))).toEqual(["released", "released", "released"]);
    world.release("d");
    expect(world.scheduler.books.tasks.live).toBe(0);
  });

  test("computes only what is wanted, and forgets the rest at once", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"], x: [], y: ["x"] }, { wanted: ["b"] });
    expect([world.stateOf("x"), world.stateOf("y")]).toEqual(["forgotten", "forgotten"]);
    expect(world.scheduler.books.tasks.live).toBe(2);
  });

  test("that names known keys with other annotations leaves them under those that they have", () => {
    const world = new World({ policy: new QueuingPolicy() });
    world.join(0);
    world.submit({ a: [], b: [], c: [] }, { retries: 2 });
    expect(["a", "b", "c"].map((key) => world.stateOf(key))).toEqual(["processing", "queued", "queued"]);
    const elsewhere = { workers: new Set(["nowhere"]) };
    const restrictions = { a: elsewhere, b: elsewhere, d: elsewhere };
    world.submit({ a: [], b: [], d: [] }, { client: "bob", restrictions, actors: ["c", "b"], retries: 7 });
    const { tasks, restrictions: booked } = world.scheduler.books;
    expect([...booked.keys()]).toEqual([world.task("d")]);
    expect(world.scheduler.books.actors.size).toBe(0);
    expect(["a", "b", "d"].map((key) => tasks.retries[world.task(key)])).toEqual([2, 2, 7]);
    expect(world.stateOf("d")).toBe("no-worker");
    world.finishAll();
    expect(["a", "b", "c"].map((key) => world.stateOf(key))).toEqual(["memory", "memory", "memory"]);
  });

  test("that names known keys keeps their run_spec and shares their results", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    world.finish("a");
    const { tasks } = world.submit({ a: [], b: ["a"] }, { client: "bob" });
    expect(tasks).toBe(1);
    expect(world.stateOf("a")).toBe("memory");
    world.submit({ a: [] }, { client: "carol" });
    expect(world.toClient("carol")).toEqual(["key-in-memory a"]);
  });

  test("that is aborted leaves no trace, not even on data that it gave a run_spec", () => {
    const world = withWorkers();
    world.scatter("x", 0);
    world.submit({ x: ["y"], y: ["z"], z: [] }, { abort: true });
    expect(world.scheduler.books.tasks.live).toBe(1);
    expect(world.scheduler.books.tasks.segments.live_bytes).toBe(0);
    world.release("x");
    expect(world.scheduler.books.tasks.live).toBe(0);
  });

  test("that depends on keys that nobody can provide is not taken, and nothing of it stays", () => {
    const world = withWorkers();
    const { lost, tasks } = world.submit({ a: [], b: ["gone", "a"] });
    expect(tasks).toBe(0);
    expect(lost.length).toBe(1);
    expect(world.scheduler.books.tasks.live).toBe(0);
  });

  test("on top of data that is lost for good is cancelled", () => {
    const world = withWorkers();
    world.scatter("x", 0);
    world.submit({ b: ["x"] });
    world.finish("b");
    world.release("x");
    world.dropKey("x", 0);
    world.worker(1).data.delete("x");
    expect(world.stateOf("x")).toBe("released");
    world.submit({ c: ["x"] });
    expect(world.toClient()).toContain("cancelled-keys c (lost dependencies)");
    expect(world.stateOf("c")).toBe("forgotten");
  });

  test("whose payloads come later runs each task when its payload is there", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"], c: ["b"] }, { pending: ["a", "b"] });
    expect(world.stateOf("a")).toBe("waiting");
    world.payload("b");
    world.payload("a", [4, 4, 4, 4]);
    expect(world.stateOf("a")).toBe("processing");
    world.payload("a");
    world.finishAll();
    expect(world.stateOf("c")).toBe("memory");
    world.release("c");
    expect(world.scheduler.books.tasks.segments.live_bytes).toBe(0);
    expect(world.scheduler.books.tasks.more_frames.size).toBe(0);
  });

  test("whose payloads never come errs, and a payload for a task that is gone is dropped", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"] }, { pending: ["a"] });
    const task = world.task("a");
    world.failTask("a");
    expect(world.toClient()).toEqual(["task-erred b"]);
    world.release("b");
    const { segments } = world.scheduler.books.tasks;
    const segment = segments.add(new Uint8Array(8));
    world.scheduler.payloadArrived(task, { kind: 1, segment, offset: 0, frame_bytes: [4, 4] });
    segments.release(segment);
    expect(segments.live_bytes).toBe(0);
  });
});

describe("wants", () => {
  test("of two clients for one key: it lives until both let go, and each is told", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    world.submit({ a: [] }, { client: "bob" });
    world.finish("a");
    expect([world.toClient(), world.toClient("bob")]).toEqual([["key-in-memory a"], ["key-in-memory a"]]);
    world.release("a");
    expect(world.stateOf("a")).toBe("memory");
    world.release("a", "bob");
    expect(world.stateOf("a")).toBe("forgotten");
  });

  test("by name of a finished or erred key are answered at once, and of a released one compute it", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"], bad: [] }, { wanted: ["b", "bad"] });
    world.finish("a");
    world.finish("b");
    world.err("bad");
    world.desire("b", "bob");
    world.desire("bad", "bob");
    expect(world.toClient("bob")).toEqual(["key-in-memory b", "task-erred bad"]);
    expect(world.stateOf("a")).toBe("released");
    world.desire("a", "bob");
    expect(world.stateOf("a")).toBe("processing");
  });

  test("that end stop a running computation and free its inputs, as far as nothing else needs them", () => {
    const world = withWorkers(1);
    world.submit({ a: [], b: ["a"], c: ["a"] });
    world.finish("a");
    world.toWorker(0);
    world.release("b");
    expect(world.stateOf("a")).toBe("memory");
    world.release("c");
    expect(world.toWorker(0).sort()).toEqual(["free-keys a", "free-keys b", "free-keys c"]);
    expect(world.scheduler.books.tasks.live).toBe(0);
  });

  test("of a client that leaves end with it (C4)", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"], c: [] }, { wanted: ["a", "b", "c"] });
    world.submit({ c: [] }, { client: "bob" });
    world.finish("a");
    world.leave();
    expect(world.stateOf("b")).toBe("forgotten");
    expect(world.stateOf("c")).toBe("processing");
    world.leave("bob");
    expect(world.scheduler.books.tasks.live).toBe(0);
    for (const worker of world.workers.values()) expect([...worker.data, ...worker.tasks]).toEqual([]);
  });

  test("of a result whose inputs are released keep the graph above it, for recomputing (F2)", () => {
    const world = withWorkers(1);
    world.submit({ a: [], b: ["a"] });
    world.finishAll();
    expect(world.stateOf("a")).toBe("released");
    world.dropKey("b", 0);
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["processing", "waiting"]);
    world.finishAll();
    expect(world.toClient()).toEqual(["key-in-memory b", "lost-data b", "key-in-memory b"]);
  });
});

describe("cancel", () => {
  test("drops the key and what only this client wanted of its dependents", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"] }, { wanted: ["a", "b"] });
    world.cancel("a");
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["forgotten", "forgotten"]);
    expect(world.toClient().sort()).toEqual([
      "cancelled-keys a (cancelled by client)",
      "cancelled-keys b (cancelled by client)",
    ]);
  });

  test("without force leaves the key to the other clients that want it", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    world.submit({ a: [] }, { client: "bob" });
    world.cancel("a");
    expect(world.stateOf("a")).toBe("processing");
    expect(world.toClient()).toEqual(["cancelled-keys a (cancelled by client)"]);
    expect(world.toClient("bob")).toEqual([]);
  });

  test("with force takes it from everyone", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"] }, { wanted: ["a", "b"] });
    world.submit({ a: [], b: ["a"] }, { client: "bob", wanted: ["b"] });
    world.cancel("a", "alice", true);
    expect(world.toClient("bob")).toEqual(["cancelled-keys b (cancelled by client)"]);
    expect(world.scheduler.books.tasks.live).toBe(0);
  });

  test("leaves a key in place that another client's work needs", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    world.submit({ b: ["a"] }, { client: "bob" });
    world.cancel("a");
    expect([world.stateOf("a"), world.stateOf("b")]).toEqual(["processing", "waiting"]);
    world.finishAll();
    expect(world.stateOf("b")).toBe("memory");
  });

  test("of a lattice with very many paths visits each task once", () => {
    const world = withWorkers();
    const graph: Record<string, string[]> = { l0: [], r0: [] };
    for (let i = 1; i < 60; i++) {
      graph[`l${i}`] = [`l${i - 1}`, `r${i - 1}`];
      graph[`r${i}`] = [`l${i - 1}`, `r${i - 1}`];
    }
    world.submit(graph, { wanted: ["l0", "r0", "l59"] });
    world.cancel("l0");
    expect(world.stateOf("l59")).toBe("forgotten");
    expect(world.stateOf("r0")).toBe("processing");
  });
});

test("a retry of what fails again at once leaves nobody with the word that it is tried (C3)", () => {
  const world = withWorkers();
  world.submit({ a: [], b: ["a"], c: ["b"] }, { client: "bob", wanted: ["c"] });
  world.submit({ a: [], b: ["a"], c: ["b"], d: ["c"] }, { client: "alice", wanted: ["d"] });
  world.finish("a");
  world.finish("b");
  world.err("c");
  // What is between the two failures is not erred itself, so that a retry of the one does not reach the other.
  world.submit({ a: [] }, { client: "carol" });
  world.err("a");
  expect(world.stateOf("b")).toBe("released");
  world.toClient("bob");
  world.retry("d");
  expect(["a", "c", "d"].map((key) => world.stateOf(key))).toEqual(["erred", "erred", "erred"]);
  expect(world.toClient("bob")).toEqual(["task-retried c", "task-erred c"]);
});

describe("scattered data", () => {
  test("of a size that nobody knows leaves the known size of a result as it is (W3)", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    const holder = world.workerOf("a");
    world.finish("a", holder, 100);
    world.scatter("a", 1 - holder, "alice", -1);
    expect(world.holdersOf("a")).toEqual([0, 1]);
    expect(world.worker(0).book.nbytes).toBe(100);
  });

  test("is in memory at once, for the client that brought it", () => {
    const world = withWorkers();
    world.scatter("x", 1, "alice", 100);
    expect(world.holdersOf("x")).toEqual([1]);
    expect(world.toClient()).toEqual(["key-in-memory x"]);
    expect(world.worker(1).book.nbytes).toBe(100);
    world.scatter("x", 0, "alice", 50);
    expect(world.holdersOf("x")).toEqual([0, 1]);
    expect(world.worker(1).book.nbytes).toBe(50);
    world.release("x");
    expect(world.toWorker(1)).toContain("free-keys x");
  });

  test("over a running computation ends it, elsewhere with free-keys and on the spot without", () => {
    const world = withWorkers();
    world.submit({ a: [], b: ["a"] });
    const here = world.workerOf("a");
    world.toWorker(here);
    world.scatter("a", here);
    expect(world.toWorker(here)).not.toContain("free-keys a");
    world.submit({ c: [] });
    const there = world.workerOf("c");
    world.toWorker(there);
    world.scatter("c", 1 - there);
    expect(world.toWorker(there)).toContain("free-keys c");
    expect(world.holdersOf("c")).toEqual([1 - there]);
  });

  test("over an erred key heals it for its clients", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    world.err("a");
    world.scatter("a", 0, "bob");
    expect(world.toClient()).toEqual(["task-erred a", "key-in-memory a"]);
  });
});

describe("ids and keys", () => {
  test("a key can be used again after it was forgotten, in the same batch too", () => {
    const world = withWorkers();
    world.submit({ a: [] });
    const before = world.task("a");
    world.batch(() => {
      world.release("a");
      world.submit({ a: [] });
      expect(world.task("a")).not.toBe(before);
    });
    expect(world.stateOf("a")).toBe("processing");
    expect(world.scheduler.books.tasks.state[before]).toBe(7);
  });

  test("an id that a waiting message names is not given to another task", () => {
    const world = withWorkers();
    const { tasks, keys } = world.scheduler.books;
    world.submit({ a: [] });
    const task = world.task("a");
    const bytes = keys.bytes(task);
    tasks.pin(task);
    world.release("a");
    for (let i = 0; i < 20; i++) world.submit({ [`b${i}`]: [] });
    expect(tasks.state[task]).toBe(7);
    expect(keys.bytes(task)).toEqual(bytes);
    expect(keys.findKey(bytes)).toBe(-1);
    expect(keys.matches(task, viewOf(bytes), 0, bytes.length)).toBe(false);
    tasks.unpin(task);
    world.submit({ c: [] });
    world.submit({ d: [] });
    expect([world.task("c"), world.task("d")]).toContain(task);
  });

  test("all tables are as large after many graphs as after a few (C5)", () => {
    const world = withWorkers(3);
    const { books } = world.scheduler;
    const pools = (): number[] => [
      books.tasks.top,
      books.tasks.capacity,
      books.edges.pool_records,
      books.replicas.pool_records,
      books.wants.pool_records,
      books.needs.pool_records,
      books.tasks.segments.pool_records,
      books.keys.key_bytes,
    ];
    const round = (): void => {
      world.submit({ a: [], b: ["a"], c: ["a"], d: ["b", "c"], e: ["a", "b", "c", "d"] });
      world.finishAll();
      world.release("e");
    };
    for (let i = 0; i < 3; i++) round();
    const after_few = pools();
    for (let i = 0; i < 30; i++) round();
    expect(pools()).toEqual(after_few);
    expect(books.tasks.live).toBe(0);
  });

  test("hosts and workers that come and go leave nothing", () => {
    const world = withWorkers(1);
    for (let number = 1; number < 40; number++) {
      world.join(number, { host: `10.0.1.${number}` });
      world.lose(number, true);
    }
    expect(world.scheduler.books.hosts).toBe(1);
    expect(world.scheduler.books.workers.length).toBe(2);
    expect(world.join(99, { host: "10.0.2.1" }).book.host_id).toBeLessThan(2);
  });

  test("a task is found by its key alone", () => {
    const world = withWorkers();
    expect(world.task("nothing")).toBe(NONE);
  });
});
