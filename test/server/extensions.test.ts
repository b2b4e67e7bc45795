import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WireMap, type WireValue } from "../../src/protocol/values.ts";
import type { Channel } from "../../src/server/peers/channel.ts";
import {
  plain,
  request,
  type TestStream,
  type TestWorker,
  until,
  versionsOf,
  World,
} from "./support/world.ts";

let world: World;
/** One connection a peer, as its pool has it. */
let one: Channel;
let two: Channel;

beforeEach(async () => {
  world = await World.start();
  one = await world.connect();
  two = await world.connect();
});

afterEach(() => world.stop());

type Fields = Record<string, WireValue>;

async function ask(channel: Channel, op: string, fields: Fields = {}): Promise<unknown> {
  return plain(await request(channel, op, fields));
}

/** The text of the exception that the caller gets. */
async function failure(channel: Channel, op: string, fields: Fields = {}): Promise<string> {
  const reply = (await request(channel, op, fields)) as WireMap;
  expect(reply.get("status")).toBe("uncaught-error");
  return String(reply.get("exception_text"));
}

function later<T>(answer: Promise<T>): { done: boolean } {
  const state = { done: false };
  void answer.then(() => {
    state.done = true;
  });
  return state;
}

/** A key in memory that the client wants, and who wants it. */
async function scattered(client: string): Promise<{ stream: TestStream; worker: TestWorker; key: string }> {
  const worker = await world.worker();
  const stream = await world.client(client);
  const key = "data-1";
  await world.ask("scatter", { data: WireMap.from([[key, 1]]), workers: null, client });
  return { stream, worker, key };
}

function wanting(): string[] {
  return [...world.cluster.tasks.values()].flatMap((task) => [...task.wanted_by]).sort();
}

describe("queues", () => {
  const name = "q";

  test("give items in their order, of any kind", async () => {
    await ask(one, "queue_create", { name });
    for (const data of [1, "two", [3, null]]) await ask(one, "queue_put", { name, data });
    expect(await ask(two, "queue_qsize", { name })).toBe(3);
    expect(await ask(two, "queue_get", { name })).toEqual({ type: "msgpack", value: 1 });
    expect(await ask(two, "queue_get", { name, batch: true })).toEqual([
      { type: "msgpack", value: "two" },
      { type: "msgpack", value: [3, null] },
    ]);
    expect(await ask(two, "queue_get", { name, batch: true })).toEqual([]);
  });

  test("make a get wait for an item, and time out", async () => {
    await ask(one, "queue_create", { name });
    const answer = ask(one, "queue_get", { name, timeout: 5 });
    await ask(two, "queue_put", { name, data: 7 });
    expect(await await answer).toEqual({ type: "msgpack", value: 7 });
    expect(await failure(one, "queue_get", { name, timeout: 0.02 })).toBe("TimeoutError('')");
    expect(await failure(one, "queue_get", { name, timeout: 0 })).toBe("TimeoutError('')");
  });

  test("make a put wait for room, and time out", async () => {
    await ask(one, "queue_create", { name, maxsize: 1 });
    await ask(one, "queue_put", { name, data: 1, timeout: 0 });
    expect(await failure(one, "queue_put", { name, data: 2, timeout: 0.02 })).toBe("TimeoutError('')");
    const put = ask(one, "queue_put", { name, data: 3 });
    const state = later(put);
    await sleep(20);
    expect(state.done).toBe(false);
    expect(await ask(two, "queue_get", { name })).toMatchObject({ value: 1 });
    await put;
    expect(await ask(two, "queue_get", { name })).toMatchObject({ value: 3 });
  });

  test("wait for a number of items, without a timeout only", async () => {
    await ask(one, "queue_create", { name });
    await ask(one, "queue_put", { name, data: 1 });
    const answer = ask(two, "queue_get", { name, batch: 2 });
    await ask(one, "queue_put", { name, data: 2 });
    expect(await answer).toMatchObject([{ value: 1 }, { value: 2 }]);
    expect(await failure(two, "queue_get", { name, batch: 2, timeout: 1 })).toMatch(/^NotImplementedError/);
  });

  test("lose nothing to a client that goes while it waits", async () => {
    await ask(one, "queue_create", { name });
    await ask(one, "queue_put", { name, data: 1 });
    const gone = await world.connect();
    gone.write(WireMap.of({ op: "queue_get", name, batch: 2 }));
    while ((await ask(one, "queue_qsize", { name })) !== 0) await sleep(1);
    gone.destroy("test");
    while ((await ask(one, "queue_qsize", { name })) !== 1) await sleep(1);
    await ask(one, "queue_put", { name, data: 2 });
    expect(await ask(one, "queue_get", { name, batch: true })).toMatchObject([{ value: 1 }, { value: 2 }]);
  });

  test("keep futures until who got them wants them", async () => {
    const { stream, key } = await scattered("Client-1");
    const other = await world.client("Client-2");
    await ask(one, "queue_create", { name });
    await ask(one, "queue_put", { name, key });
    expect(wanting()).toEqual(["Client-1", "queue-q"]);
    stream.send("close-client");
    await until(() => wanting().length === 1, "the queue alone wants it");
    expect(await ask(two, "queue_get", { name })).toEqual({ type: "Future", value: key, state: "memory" });
    other.send("queue-future-release", { name, key });
    await until(() => wanting().join() === "Client-2", "the other client wants it");
  });

  test("let go of their futures with the last who uses them", async () => {
    const { stream, key } = await scattered("Client-1");
    for (let i = 0; i < 2; i++) await ask(one, "queue_create", { name });
    for (let i = 0; i < 2; i++) await ask(one, "queue_put", { name, key });
    const waiting = ask(two, "queue_get", { name, batch: 3 });
    expect(wanting()).toEqual(["Client-1", "queue-q"]);
    stream.send("queue_release", { name });
    stream.send("queue_release", { name });
    expect(await await waiting).toMatchObject({ status: "uncaught-error", exception_text: "KeyError('q')" });
    expect(await failure(one, "queue_qsize", { name })).toBe("KeyError('q')");
    expect(await failure(one, "queue_put", { name, data: 1 })).toBe("KeyError('q')");
  });

  test("wait for a key that is not known yet, as long as they may", async () => {
    await ask(one, "queue_create", { name });
    expect(await failure(one, "queue_put", { name, key: "data-1", timeout: 0.03 })).toBe(
      "TimeoutError('Task data-1 unknown to scheduler.')",
    );
    const put = ask(one, "queue_put", { name, key: "data-1" });
    await scattered("Client-1");
    await put;
    expect(await ask(two, "queue_get", { name })).toMatchObject({ type: "Future", state: "memory" });
  });

  test("refuse fields that cannot be", async () => {
    await ask(one, "queue_create", { name });
    expect(await failure(one, "queue_get", { name, timeout: ["soon"] })).toMatch(/^TypeError/);
    expect(await failure(one, "queue_get", { name, batch: "all" })).toMatch(/^TypeError/);
    expect(await failure(one, "queue_create", { name: "other", maxsize: "large" })).toMatch(/^TypeError/);
  });
});

describe("variables", () => {
  const name = ["a", 1];

  test("are waited for, read by all and changed", async () => {
    const answer = ask(one, "variable_get", { name, client: "Client-1" });
    await ask(two, "variable_set", { name, data: 5, timeout: "30 s" });
    expect(await await answer).toEqual({ type: "msgpack", value: 5 });
    await ask(two, "variable_set", { name, data: null });
    expect(await ask(one, "variable_get", { name })).toEqual({ type: "msgpack", value: null });
    expect(await failure(one, "variable_get", { name: "other", timeout: 0.02 })).toBe("TimeoutError('')");
  });

  test("keep a future until all who read it want it", async () => {
    const { stream, key } = await scattered("Client-1");
    const reader = await world.client("Client-2");
    await ask(one, "variable_set", { name: "v", key });
    expect(wanting()).toEqual(["Client-1", "variable-v"]);
    const got = (await ask(two, "variable_get", { name: "v", client: "Client-2" })) as { token: string };
    expect(got).toMatchObject({ type: "Future", value: key, state: "memory" });
    await ask(one, "variable_set", { name: "v", data: 1 });
    stream.send("close-client");
    await until(() => wanting().join() === "variable-v", "it is still wanted for the reader");
    reader.send("variable-future-received-confirm", { name: "v", key, token: got.token });
    await until(() => wanting().join() === "Client-2", "the reader wants it itself");
  });

  test("do not wait for a reader that is gone", async () => {
    const { key } = await scattered("Client-1");
    const reader = await world.client("Client-2");
    await ask(one, "variable_set", { name: "v", key });
    await ask(two, "variable_get", { name: "v", client: "Client-2" });
    reader.send("variable_delete", { name: "v" });
    await until(() => world.cluster.clients.has("Client-2"));
    expect(wanting()).toEqual(["Client-1", "variable-v"]);
    reader.channel.destroy("test");
    await until(() => wanting().join() === "Client-1", "nobody reads it any more");
  });

  test("can be set anew after they were deleted, while someone waits", async () => {
    const stream = await world.client("Client-1");
    await ask(one, "variable_set", { name, data: 1 });
    stream.send("variable_delete", { name });
    const gone = async (): Promise<boolean> =>
      ((await request(one, "variable_get", { name, timeout: 0.01 })) as WireMap).get("status") !== undefined;
    while (!(await gone())) await sleep(1);
    const answer = ask(two, "variable_get", { name, timeout: 5 });
    await ask(one, "variable_set", { name, data: 2 });
    expect(await await answer).toMatchObject({ value: 2 });
  });
});

describe("semaphores", () => {
  const name = "s";
  const register = (fields: Fields = {}): Promise<unknown> =>
    ask(one, "semaphore_register", { name, max_leases: 1, lease_timeout: 30, ...fields });

  test("have as many leases as they were made with", async () => {
    await register({ max_leases: 2 });
    for (const lease_id of ["a", "b"])
      expect(await ask(one, "semaphore_acquire", { name, lease_id, timeout: 0 })).toBe(true);
    expect(await ask(one, "semaphore_acquire", { name, lease_id: "c", timeout: 0 })).toBe(false);
    // A request that is sent again, since its answer was lost, gets the same answer.
    expect(await ask(one, "semaphore_acquire", { name, lease_id: "a", timeout: 0 })).toBe(true);
    expect(await ask(one, "semaphore_value", { name })).toBe(2);
    await register({ max_leases: 2 });
    expect(await failure(one, "semaphore_register", { name, max_leases: 3, lease_timeout: 30 })).toBe(
      "ValueError('Inconsistent max leases: 3, expected: 2')",
    );
  });

  test("grant a lease that is released to who waits longest, not to who is gone", async () => {
    await register();
    await ask(one, "semaphore_acquire", { name, lease_id: "a" });
    const gone = await world.connect();
    gone.write(WireMap.of({ op: "semaphore_acquire", name, lease_id: "gone" }));
    await world.ask("echo");
    const next = ask(two, "semaphore_acquire", { name, lease_id: "next", timeout: 60 });
    const open = world.server.acceptor.open_count;
    gone.destroy("test");
    await until(() => world.server.acceptor.open_count < open);
    await ask(one, "semaphore_release", { name, lease_id: "a" });
    expect(await next).toBe(true);
    expect(await ask(one, "semaphore_value", { name })).toBe(1);
  });

  test("take leases back that are not refreshed", async () => {
    // Between two refreshes a busy machine may let a second pass.
    await register({ lease_timeout: 3 });
    await ask(one, "semaphore_acquire", { name, lease_id: "kept" });
    const next = ask(two, "semaphore_acquire", { name, lease_id: "next" });
    const state = later(next);
    for (let i = 0; i < 40; i++) {
      await sleep(100);
      await ask(one, "semaphore_refresh_leases", { name, lease_ids: ["kept"] });
    }
    expect(state.done).toBe(false);
    expect(await next).toBe(true);
    await ask(one, "semaphore_release", { name, lease_id: "kept" });
    expect(world.warnings.join()).toMatch(/already released/);
  });

  test("without a lease timeout never do", async () => {
    await register({ lease_timeout: null });
    await ask(one, "semaphore_acquire", { name, lease_id: "a" });
    await sleep(300);
    expect(await ask(one, "semaphore_value", { name })).toBe(1);
  });

  test("fail who waits when they are closed", async () => {
    await register();
    await ask(one, "semaphore_acquire", { name, lease_id: "a" });
    const waiting = ask(two, "semaphore_acquire", { name, lease_id: "b" });
    await world.ask("echo");
    await ask(one, "semaphore_close", { name });
    expect(await waiting).toMatchObject({
      exception_text: "RuntimeError('Semaphore or Lock `s` not known.')",
    });
    expect(await ask(one, "semaphore_value", { name })).toBe(0);
    expect(await ask(one, "semaphore_release", { name, lease_id: "a" })).toBeNull();
    expect(await ask(one, "semaphore_refresh_leases", { name, lease_ids: ["a"] })).toBeNull();
    await register({ max_leases: 5 });
  });
});

describe("locks of 2022", () => {
  test("pass from holder to holder", async () => {
    expect(await ask(one, "lock_acquire", { name: "x", id: "a", timeout: null })).toBe(true);
    expect(await ask(two, "lock_acquire", { name: "x", id: "b", timeout: 0.01 })).toBe(false);
    expect(await failure(two, "lock_release", { name: "x", id: "b" })).toMatch(/^ValueError/);
    const waiting = ask(two, "lock_acquire", { name: "x", id: "b" });
    await world.ask("echo");
    await ask(one, "lock_release", { name: "x", id: "a" });
    expect(await waiting).toBe(true);
    expect(await ask(one, "lock_acquire", { name: "x", id: "a", timeout: 0 })).toBe(false);
    await ask(two, "lock_release", { name: "x", id: "b" });
    expect(await ask(one, "lock_acquire", { name: "x", id: "a", timeout: 0 })).toBe(true);
  });
});

describe("multi-locks", () => {
  const acquire = (channel: Channel, id: string, locks: string[], fields: Fields = {}): Promise<unknown> =>
    ask(channel, "multi_lock_acquire", { id, locks, num_locks: locks.length, ...fields });

  test("are granted when all locks are free", async () => {
    expect(await acquire(one, "a", ["x", "y"])).toBe(true);
    expect(await acquire(two, "b", ["y", "z"], { timeout: 0.01 })).toBe(false);
    expect(await acquire(two, "c", ["z"], { timeout: 0 })).toBe(true);
    const waiting = acquire(one, "d", ["x", "z"]);
    await world.ask("echo");
    await world.ask("multi_lock_release", { id: "a" });
    const state = later(waiting);
    await world.ask("echo");
    expect(state.done).toBe(false);
    await ask(two, "multi_lock_release", { id: "c" });
    expect(await waiting).toBe(true);
    expect(await failure(two, "multi_lock_release", { id: "a" })).toBe("KeyError('a')");
  });

  test("are granted when enough of them are", async () => {
    expect(await acquire(one, "a", ["x", "y"])).toBe(true);
    expect(await acquire(one, "b", ["x", "y", "z"], { num_locks: 1, timeout: 0 })).toBe(true);
    expect(await acquire(one, "c", ["x", "z"], { num_locks: 1, timeout: 0 })).toBe(false);
    expect(await acquire(one, "d", ["w", "w"], { timeout: 0 })).toBe(true);
  });

  test("are not kept by who is gone while it waits", async () => {
    expect(await acquire(one, "a", ["x"])).toBe(true);
    const gone = await world.connect();
    gone.write(WireMap.of({ op: "multi_lock_acquire", id: "gone", locks: ["x", "y"], num_locks: 2 }));
    await world.ask("echo");
    expect(await acquire(two, "b", ["y"], { timeout: 0 })).toBe(false);
    gone.destroy("test");
    expect(await acquire(two, "b", ["y"], { timeout: 5 })).toBe(true);
  });

  test("need a lock, and an id of their own", async () => {
    expect(await failure(one, "multi_lock_acquire", { id: "a", locks: [], num_locks: 0 })).toMatch(
      /ValueError/,
    );
    await acquire(one, "a", ["x"]);
    expect(await failure(one, "multi_lock_acquire", { id: "a", locks: ["y"], num_locks: 1 })).toMatch(
      /ValueError/,
    );
  });
});

describe("events", () => {
  const name = "e";

  test("are waited for, set and cleared", async () => {
    expect(await ask(one, "event_is_set", { name })).toBe(false);
    expect(await ask(one, "event_wait", { name, timeout: 0.01 })).toBe(false);
    const waiting = [one, two].map((channel) => ask(channel, "event_wait", { name, timeout: 5 }));
    await world.ask("echo");
    await world.ask("event_set", { name });
    expect(await Promise.all(waiting)).toEqual([true, true]);
    expect(await ask(one, "event_wait", { name, timeout: 0 })).toBe(true);
    await ask(one, "event_clear", { name });
    expect(await ask(two, "event_is_set", { name })).toBe(false);
    await ask(one, "event_clear", { name });
  });
});

describe("pub/sub of releases before 2026", () => {
  const name = "topic";
  const old = { versions: versionsOf("2024.12.1") };

  test("makes publishers and listeners on workers known to each other", async () => {
    const publisher = await world.worker(old);
    const listener = await world.worker(old);
    listener.stream.send("pubsub-add-subscriber", { name });
    await until(() => world.cluster.workers.size === 2);
    await world.ask("echo");
    const reply = await ask(one, "pubsub_add_publisher", { name, worker: publisher.address });
    expect(reply).toEqual({ subscribers: { [listener.address]: {} }, "publish-scheduler": false });
    const late = await world.worker(old);
    late.stream.send("pubsub-add-subscriber", { name });
    await until(() => publisher.stream.ops().includes("pubsub-add-subscriber"), "it is told of the late one");
    await late.close();
    await until(() => publisher.stream.ops().includes("pubsub-remove-subscriber"), "and that it went");
  });

  test("passes messages of clients to all, of workers to clients", async () => {
    const worker = await world.worker(old);
    const client = await world.client("Client-1", "2024.12.1");
    worker.stream.send("pubsub-add-subscriber", { name });
    client.send("pubsub-msg", { name, msg: "early" });
    await ask(one, "pubsub_add_publisher", { name, worker: worker.address });
    client.send("pubsub-add-subscriber", { name });
    await until(
      () => worker.stream.ops().includes("pubsub-publish-scheduler"),
      "the worker knows of the client",
    );
    client.send("pubsub-msg", { name, msg: "from the client" });
    worker.stream.send("pubsub-msg", { name, msg: "from the worker" });
    const heard = (stream: TestStream): unknown[] =>
      stream.received.filter((m) => m.get("op") === "pubsub-msg").map((m) => m.get("msg"));
    await until(() => heard(client).length === 2);
    expect(heard(client).sort()).toEqual(["from the client", "from the worker"]);
    expect(heard(worker.stream)).toContain("from the client");
    expect(heard(worker.stream)).not.toContain("from the worker");
    client.send("pubsub-remove-subscriber", { name });
    await until(() => worker.stream.ops().filter((op) => op === "pubsub-publish-scheduler").length === 2);
    worker.stream.send("pubsub-remove-publisher", { name });
    worker.stream.send("pubsub-remove-subscriber", { name });
  });
});

describe("requests about P2P shuffles", () => {
  test("are answered with the exception that workers expect", async () => {
    const worker = await world.worker();
    const reply = (await request(one, "shuffle_get", { id: "s", worker: worker.address })) as WireMap;
    expect(plain(reply)).toMatchObject({ status: "error", message: "No active shuffle with id='s' found" });
    const pickle = Buffer.from(reply.get("exception") as Uint8Array).toString("latin1");
    expect(pickle).toContain("distributed.shuffle._exceptions\nP2PConsistencyError\n");
    const create = { shuffle_id: "s", key: "in", worker: worker.address };
    expect(await ask(one, "shuffle_get_or_create", create)).toMatchObject({ status: "error" });
  });

  test("fail for runs that are not there, wrong fields, and 2022's question for one that is not there", async () => {
    const barrier = { id: "s", run_id: 1, consistent: true };
    expect(await failure(one, "shuffle_barrier", barrier)).toBe("KeyError('s')");
    expect(await failure(one, "shuffle_barrier", { id: 5 })).toMatch(/^TypeError/);
    expect(await failure(one, "shuffle_restrict_task", { id: "s", key: "k", worker: "w" })).toMatch(
      /^TypeError/,
    );
    expect(await failure(one, "shuffle_get", { id: "s", schema: null, worker: "w" })).toBe("KeyError('s')");
  });
});
