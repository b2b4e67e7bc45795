import { beforeEach, describe, expect, test } from "vitest";
import { NONE } from "../../../src/base/ids.ts";
import type { TaskError } from "../../../src/core/books.ts";
import { keyBytes } from "../../../src/protocol/keys.ts";
import { packValue } from "../../../src/protocol/msgpack.ts";
import { type Pickled, Serialized, WireMap, type WireValue } from "../../../src/protocol/values.ts";
import type { Release } from "../../../src/server/peers/release.ts";
import { StreamOutbox } from "../../../src/server/stream/outbox.ts";
import { Probe } from "../../../src/trace/tracer.ts";
import { Rig, SUB_HEADER, TestConnection } from "./rig.ts";

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});

const ops = (messages: readonly WireMap[]): string[] => messages.map((message) => String(message.get("op")));
/** `op key` of each message; keys of one message joined. */
const lines = (messages: readonly WireMap[]): string[] =>
  messages.map((message) => `${message.get("op")} ${message.get("key") ?? message.get("keys")}`);

/** Every id is reusable once nothing is known and nothing waits: the next one is 0. */
function expectNoIdLeaks(): void {
  const { books } = rig.scheduler;
  rig.turn();
  expect(books.tasks.live).toBe(0);
  expect(books.tasks.segments.live_bytes).toBe(0);
  expect(books.keys.size).toBe(0);
  expect(books.tasks.top).toBe(0);
}

function many(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `key-${i}`);
}

describe("one stream keeps the order", () => {
  test("of compute, free and compute again", () => {
    const { stream, book } = rig.worker();
    const { id } = rig.client();
    rig.submit(id, [{ key: "x" }], ["x"]);
    rig.turn();
    rig.release(id, "x");
    rig.turn();
    rig.submit(id, [{ key: "x" }], ["x"]);
    rig.turn();
    const messages = stream.messages();
    expect(lines(messages)).toEqual(["compute-task x", "free-keys x", "compute-task x"]);
    expect(messages[0]!.get("run_id")).not.toBe(messages[2]!.get("run_id"));
    rig.finish(book, "x");
    rig.release(id, "x");
    expectNoIdLeaks();
  });

  test("of a task that is freed and computed anew while the stream waits: what was queued first is skipped", () => {
    const { stream, book } = rig.worker("2026.8", 2);
    const { id } = rig.client();
    stream.stalled = true;
    stream.write([new Uint8Array(2 << 20)]);
    stream.writes.length = 0;
    rig.submit(id, [{ key: "x" }], ["x"]);
    rig.turn();
    rig.release(id, "x");
    rig.turn();
    rig.submit(id, [{ key: "x" }], ["x"]);
    rig.turn();
    expect(stream.writes).toEqual([]);
    stream.drain();
    expect(lines(stream.messages())).toEqual(["free-keys x", "compute-task x"]);
    rig.finish(book, "x");
    rig.release(id, "x");
    expectNoIdLeaks();
  });

  test("of other messages among those of tasks", () => {
    const { stream, book } = rig.worker();
    const { id } = rig.client();
    rig.outbox.messageToWorker(book.id, WireMap.of({ op: "first" }));
    rig.submit(id, [{ key: "x" }], ["x"]);
    rig.scheduler.schedule();
    rig.outbox.messageToWorker(book.id, WireMap.of({ op: "last" }));
    rig.turn();
    expect(ops(stream.messages())).toEqual(["first", "compute-task", "last"]);
  });
});

test("a task that another worker has in the meantime is not sent to the first", () => {
  const first = rig.worker();
  const { id } = rig.client();
  first.stream.stalled = true;
  first.stream.write([new Uint8Array(2 << 20)]);
  first.stream.writes.length = 0;
  rig.submit(id, [{ key: "x" }], ["x"]);
  rig.turn();
  rig.scheduler.workerStatusChanged(first.book, "paused");
  const second = rig.worker();
  rig.scheduler.taskRescheduled(first.book, rig.task("x"));
  rig.turn();
  expect(lines(second.stream.messages())).toEqual(["compute-task x"]);
  first.stream.drain();
  expect(lines(first.stream.messages())).not.toContain("compute-task x");
});

test("a peer that was dropped gets what was queued before, and pins nothing", () => {
  const { stream, book } = rig.worker();
  const client = rig.client();
  rig.submit(client.id, [{ key: "x" }], ["x"]);
  rig.turn();
  stream.messages();
  rig.release(client.id, "x");
  client.stream.stalled = true;
  client.stream.write([new Uint8Array(2 << 20)]);
  rig.scheduler.workerLeft(book, true, () => {
    throw new Error("it was expected");
  });
  rig.outbox.dropWorker(book.id);
  expect(lines(stream.messages())).toEqual(["free-keys x"]);
  rig.scheduler.clientLeft(client.id);
  rig.outbox.dropClient(client.id);
  rig.outbox.freeKeys(book.id, 0);
  expectNoIdLeaks();
});

describe("a peer that does not read", () => {
  test("is written to up to a bound, then ids wait until it has read", () => {
    const { stream } = rig.worker("2026.8", 2000);
    const { id } = rig.client();
    const keys = many(2000);
    stream.stalled = true;
    rig.submit(
      id,
      keys.map((key) => ({ key, frames: [SUB_HEADER, Buffer.alloc(4000)] })),
      keys,
    );
    rig.turn();
    // 8 MB of payloads: one packet of 1 MiB is let through, and the one that goes over the bound.
    expect(stream.pending_bytes).toBeLessThan(2.2 * 2 ** 20);
    rig.turn();
    expect(stream.pending_bytes).toBeLessThan(2.2 * 2 ** 20);
    const seen: string[] = [];
    for (let i = 0; seen.length < keys.length && i < 20; i++) {
      seen.push(...stream.messages().map((message) => String(message.get("key"))));
      stream.drain();
      stream.stalled = true;
    }
    expect(seen).toEqual(keys);
  });

  test("gets the rest even if someone else had set what happens when it has read", () => {
    const { stream } = rig.worker("2026.8", 2000);
    // Whoever owned the connection before hands it over after the worker was added.
    stream.onDrain = () => undefined;
    const { id } = rig.client();
    const keys = many(1000);
    stream.stalled = true;
    rig.submit(
      id,
      keys.map((key) => ({ key, frames: [SUB_HEADER, Buffer.alloc(10_000)] })),
      keys,
    );
    rig.turn();
    let count = 0;
    for (let i = 0; i < 20; i++) {
      count += stream.messages().length;
      stream.drain();
      stream.stalled = true;
    }
    expect(count).toBe(1000);
  });

  test("costs ids, not bytes, and gives them back", () => {
    const { stream } = rig.worker("2026.8", 100);
    const client = rig.client();
    client.stream.stalled = true;
    client.stream.write([new Uint8Array(2 << 20)]);
    client.stream.writes.length = 0;
    for (let round = 0; round < 50; round++) {
      const keys = many(100).map((key) => `${key}-${round}`);
      rig.submit(
        client.id,
        keys.map((key) => ({ key })),
        keys,
      );
      rig.turn();
      for (const key of keys) rig.finish(rig.scheduler.books.worker(0), key);
      rig.turn();
      for (const key of keys) rig.release(client.id, key);
      rig.turn();
    }
    stream.messages();
    expect(client.stream.writes).toEqual([]);
    expect(rig.scheduler.books.tasks.live).toBe(0);
    expect(rig.scheduler.books.tasks.segments.live_bytes).toBe(0);
    client.stream.drain();
    // It has given all of them up since.
    expect(client.stream.messages()).toEqual([]);
    expectNoIdLeaks();
  });

  test("keeps its bytes as they were while others get packets of the same size", () => {
    const slow = rig.worker("2026.8", 40);
    const fast = rig.worker("2026.8", 40);
    slow.stream.stalled = true;
    for (const bytes of [10, 3000]) {
      const keys = many(60).map((key) => `${key}-${bytes}`);
      rig.submit(
        rig.client().id,
        keys.map((key) => ({ key, frames: [SUB_HEADER, Buffer.alloc(bytes, 7)] })),
        keys,
      );
      rig.turn();
    }
    const written = slow.stream.writes.map((chunks) => Buffer.concat(chunks).toString("hex"));
    expect(written.length).toBeGreaterThan(0);
    expect(fast.stream.messages().length).toBeGreaterThan(0);
    for (const key of many(60)) rig.submit(rig.client().id, [{ key: `more-${key}` }], [`more-${key}`]);
    rig.turn();
    expect(
      slow.stream.writes.slice(0, written.length).map((chunks) => Buffer.concat(chunks).toString("hex")),
    ).toEqual(written);
  });

  test("is dropped when too much waits for it", () => {
    const types = rig.types;
    const outbox = new StreamOutbox(types, { now: () => 1 }, new Probe(), 64 * 100);
    outbox.attach(rig.scheduler.books);
    const stream = new TestConnection();
    outbox.addClient(0, stream, "2026.8");
    stream.stalled = true;
    stream.write([new Uint8Array(2 << 20)]);
    for (let i = 0; i < 100; i++) outbox.messageToClient(0, "note");
    outbox.flush();
    expect(stream.destroyed).toBeNull();
    outbox.messageToClient(0, "one more");
    outbox.flush();
    expect(stream.destroyed).toBe("does not read: 101 messages are waiting for it");
  });

  test("does not keep messages that it was sent", () => {
    const { stream, book } = rig.worker();
    stream.stalled = true;
    const note = (i: number): WireMap => WireMap.of({ op: "note", i, data: new Uint8Array(700_000) });
    for (let i = 0; i < 4; i++) rig.outbox.messageToWorker(book.id, note(i));
    rig.outbox.freeUnknownKey(book.id, keyBytes("y"));
    rig.turn();
    const seen = stream.messages();
    for (let i = 0; i < 5; i++) {
      stream.drain();
      stream.stalled = true;
      seen.push(...stream.messages());
    }
    expect(seen.slice(0, 4).map((message) => message.get("i"))).toEqual([0, 1, 2, 3]);
    expect(lines(seen.slice(4))).toEqual(["free-keys y"]);
  });
});

test("packets are split at a mebibyte, and the messages keep their order", () => {
  const { stream } = rig.worker("2026.8", 400);
  const { id } = rig.client();
  const keys = many(400);
  rig.submit(
    id,
    keys.map((key) => ({ key, frames: [SUB_HEADER, Buffer.alloc(10_000)] })),
    keys,
  );
  rig.turn();
  for (const chunks of stream.writes)
    expect(chunks.reduce((sum, chunk) => sum + chunk.length, 0)).toBeLessThan(2 ** 20 + 20_000);
  const packets = stream.packets();
  expect(packets.length).toBe(4);
  expect(packets.flat().map((message) => message.get("key"))).toEqual(keys);
});

describe("free-keys", () => {
  test("takes neighbouring keys into one message, and no more than fit", () => {
    const { stream, book } = rig.worker("2026.8", 10_000);
    const { id } = rig.client();
    const keys = many(10_000);
    rig.submit(
      id,
      keys.map((key) => ({ key })),
      keys,
    );
    rig.turn();
    stream.messages();
    for (const key of keys) rig.release(id, key);
    rig.outbox.freeUnknownKey(book.id, keyBytes(["u", 1]));
    rig.turn();
    const messages = stream.messages();
    expect(messages.map((message) => (message.get("keys") as WireValue[]).length)).toEqual([
      4096, 4096, 1808, 1,
    ]);
    expect(messages.flatMap((message) => message.get("keys") as WireValue[])).toEqual([...keys, ["u", 1]]);
    expect(messages[0]!.keys).toEqual(["op", "keys", "stimulus_id"]);
    expectNoIdLeaks();
  });

  test("and remove-replicas are told apart", () => {
    const { stream, book } = rig.worker();
    const other = rig.worker();
    const { id } = rig.client();
    rig.submit(id, [{ key: "x" }], ["x"]);
    rig.turn();
    rig.outbox.removeUnknownReplica(book.id, keyBytes("u"));
    rig.outbox.removeReplicas(book.id, rig.task("x"));
    rig.outbox.freeKeys(book.id, rig.task("x"));
    rig.turn();
    expect(lines(stream.messages()).slice(-3)).toEqual([
      "remove-replicas u",
      "remove-replicas x",
      "free-keys x",
    ]);
    expect(other.stream.writes).toEqual([]);
  });
});

test("messages with frames in the midst of tasks keep their references", () => {
  const { stream, book } = rig.worker("2026.8", 3);
  const { id } = rig.client();
  const body = (text: string): Uint8Array[] => [SUB_HEADER, Buffer.from(text)];
  rig.submit(id, [{ key: "x", frames: body("one") }], ["x"]);
  rig.scheduler.schedule();
  const data = new Serialized(packValue(WireMap.of({ "num-sub-frames": 2 })), [
    Buffer.from("two"),
    Buffer.alloc(40_000, 3),
  ]);
  rig.outbox.messageToWorker(book.id, WireMap.of({ op: "update-data", data }));
  rig.submit(id, [{ key: "y", frames: body("three") }], ["y"]);
  rig.turn();
  const [first, second, third] = stream.messages();
  expect(String((first!.get("run_spec") as Pickled).frames[0])).toBe("one");
  expect((second!.get("data") as Serialized).frames.map(({ length }) => length)).toEqual([3, 40_000]);
  expect(String((third!.get("run_spec") as Pickled).frames[0])).toBe("three");
});

describe("clients are told", () => {
  const error = (exception: WireValue): TaskError => ({
    blame: 0,
    exception,
    traceback: null,
    exception_text: "",
    traceback_text: "",
    worker: "",
  });

  test("of results, with the type that the worker reported", () => {
    const { book } = rig.worker();
    const { id, stream } = rig.client();
    rig.submit(id, [{ key: ["x", 1] }, { key: "y" }], [["x", 1], "y"]);
    rig.turn();
    const type = rig.types.internValue(packValue(Buffer.from("pickled int")), "int");
    const task = rig.task(["x", 1]);
    rig.scheduler.taskFinished(book, task, rig.scheduler.books.tasks.run_id[task]!, 28, type);
    rig.turn();
    rig.finish(book, "y");
    rig.turn();
    const [first, second] = stream.messages();
    expect(first).toEqual(
      WireMap.of({ op: "key-in-memory", key: ["x", 1], type: Buffer.from("pickled int") }),
    );
    expect(second).toEqual(WireMap.of({ op: "key-in-memory", key: "y", type: null }));
  });

  test("of errors, frames and all; not of one that was retried since", () => {
    const { book } = rig.worker("2026.8", 2);
    const { id, stream } = rig.client();
    rig.submit(id, [{ key: "x" }, { key: "y" }], ["x", "y"]);
    rig.turn();
    const exception = new Serialized(SUB_HEADER, [Buffer.from("boom")]);
    const fail = (key: string): void => {
      const task = rig.task(key);
      const { run_id } = rig.scheduler.books.tasks;
      rig.scheduler.taskErred(book, task, run_id[task]!, { ...error(exception), blame: task });
    };
    fail("x");
    fail("y");
    rig.scheduler.retryKey(rig.task("y"));
    rig.turn();
    const messages = stream.messages();
    expect(lines(messages)).toEqual(["task-erred x", "task-retried y"]);
    expect(messages[0]!.keys).toEqual(["op", "key", "exception", "traceback"]);
    expect(String((messages[0]!.get("exception") as Serialized).frames[0])).toBe("boom");
  });

  test.each<[Release, unknown[]]>([
    [
      "2022.12",
      [
        { op: "cancelled-key", key: "x" },
        { op: "cancelled-key", key: "y" },
      ],
    ],
    ["2024.12", [{ op: "cancelled-keys", keys: ["x", "y"] }]],
    ["2026.8", [{ op: "cancelled-keys", keys: ["x", "y"], reason: "cancelled by client", msg: null }]],
  ])("of cancelled keys as a client of %s knows it", (release, expected) => {
    rig.worker("2026.8", 2);
    const { id, stream } = rig.client(release);
    rig.submit(id, [{ key: "x" }, { key: "y" }], ["x", "y"]);
    rig.turn();
    for (const key of ["x", "y"]) rig.scheduler.cancelKey(id, rig.task(key), false);
    rig.turn();
    const messages = stream.messages();
    expect(
      messages.map(({ keys, values }) => Object.fromEntries(keys.map((key, i) => [key, values[i]]))),
    ).toEqual(expected);
  });

  test("of data that is lost for good", () => {
    const { book } = rig.worker();
    const { id, stream } = rig.client();
    const key = keyBytes("scattered");
    const task = rig.scheduler.books.internKey(key);
    rig.scheduler.dataReceived(book, task, 10, NONE, id);
    rig.turn();
    stream.messages();
    rig.scheduler.keyReleased(book, task);
    rig.turn();
    expect(lines(stream.messages())).toContain("lost-data scattered");
  });
});

test("steal requests carry their number", () => {
  const { stream, book } = rig.worker("2026.8", 1);
  const { id } = rig.client();
  rig.submit(id, [{ key: "x" }], ["x"]);
  rig.turn();
  rig.outbox.stealRequest(book.id, rig.task("x"), 17);
  rig.turn();
  expect(stream.messages().at(-1)).toEqual(
    WireMap.of({ op: "steal-request", key: "x", stimulus_id: "steal-17" }),
  );
});
