import { afterEach, beforeEach, expect, test } from "vitest";
import type { Connection } from "../../src/comm/connection.ts";
import { handshakeAsConnector } from "../../src/comm/handshake.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { packValue } from "../../src/protocol/msgpack.ts";
import { Serialized, WireMap, WireSet, type WireValue } from "../../src/protocol/values.ts";
import { ServerLog } from "../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS } from "../../src/server/peers/options.ts";
import { SchedulerServer } from "../../src/server/server.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { registration, until, versionsOf } from "./support/world.ts";

const SUB_HEADER = packValue(WireMap.of({ "num-sub-frames": 1 }));

let server: SchedulerServer;
let connections: Connection[];
/** What the worker was sent: key → payload. */
let received: Map<string, Buffer>;
let worker: Connection;
let client: Connection;

async function connected(): Promise<Connection> {
  const connection = await handshakeAsConnector(await new TcpTransport().connect(server.address));
  connections.push(connection);
  connection.onMessage = () => undefined;
  connection.onClose = () => undefined;
  return connection;
}

function send(connection: Connection, value: WireValue): void {
  connection.write(frameMessage(encodeMessage(value)));
}

beforeEach(async () => {
  connections = [];
  received = new Map();
  server = new SchedulerServer({
    listen_address: "tcp://127.0.0.1:0",
    contact_host: null,
    scheduler: "workstealing",
    seed: 1,
    python: null,
    limits: DEFAULT_PEER_LIMITS,
    log: new ServerLog("distributed.scheduler", () => undefined),
    version: "0.0.0",
    probe: new Probe(),
  });
  await server.start();
  worker = await connected();
  send(worker, registration("tcp://127.0.0.1:1", { nthreads: 1 }));
  await until(() => server.cluster.workers.size === 1);
  worker.onMessage = (message) => {
    const list = decodeMessage(message.own());
    for (const one of Array.isArray(list) ? list : []) {
      if (!(one instanceof WireMap) || one.get("op") !== "compute-task") continue;
      const spec = one.get("run_spec") as Serialized;
      received.set(String(one.get("key")), Buffer.from(Buffer.concat(spec.frames)));
    }
  };
  send(worker, [WireMap.of({ op: "worker-status-change", status: "running", stimulus_id: "s" })]);
  client = await connected();
  send(
    client,
    WireMap.of({ op: "register-client", client: "alice", reply: false, versions: versionsOf("2022.12.1") }),
  );
  await until(() => server.cluster.clients.size === 1);
});

afterEach(async () => {
  for (const connection of connections) connection.destroy("test");
  await server.close("test");
});

function payloadOf(round: number, task: number, bytes: number): Buffer {
  return Buffer.alloc(
    bytes,
    Buffer.from(Array.from({ length: 61 }, (_, i) => (round * 71 + task * 13 + i) % 251)),
  );
}

function submit(round: number, tasks: number, bytes: number): string[] {
  const keys = Array.from({ length: tasks }, (_, task) => `r${round}-${task}`);
  const map = (value: (task: number) => WireValue): WireMap =>
    new WireMap(
      [...keys],
      keys.map((_, i) => value(i)),
    );
  const layer = WireMap.of({
    __module__: "dask.highlevelgraph",
    __name__: "MaterializedLayer",
    state: WireMap.of({
      dsk: map((task) => new Serialized(SUB_HEADER, [payloadOf(round, task, bytes)])),
      dependencies: map(() => new WireSet([])),
    }),
    annotations: null,
  });
  const graph = WireMap.of({
    op: "update-graph-hlg",
    hlg: WireMap.of({ layers: [layer] }),
    keys,
    priority: map((task) => task),
    submitting_task: null,
    fifo_timeout: "60s",
    user_priority: 0,
    actors: false,
  });
  send(client, [graph]);
  return keys;
}

function release(keys: readonly string[]): void {
  send(client, [WireMap.of({ op: "client-releases-keys", keys: [...keys], client: "alice" })]);
}

async function forgotten(): Promise<void> {
  await until(() => server.scheduler.books.tasks.live === 0, "nothing is left of the graph", 20_000);
}

test("payloads of one graph after the other arrive as they were sent", async () => {
  for (let round = 0; round < 12; round++) {
    received.clear();
    const keys = submit(round, 400, 500 + round);
    await until(() => received.size === keys.length, "all tasks", 20_000);
    keys.forEach((key, task) => {
      expect(received.get(key)!.equals(payloadOf(round, task, 500 + round)), key).toBe(true);
    });
    release(keys);
    await forgotten();
  }
});

test("a payload that a worker has not read yet is not overwritten by the next graph", async () => {
  const bytes = 3 << 20;
  worker.pause();
  const first = submit(1, 6, bytes);
  await until(() => server.scheduler.books.tasks.live === 6, "the graph is known", 20_000);
  release(first);
  await forgotten();
  const second = submit(2, 6, bytes);
  await until(() => server.scheduler.books.tasks.live === 6, "the next graph is known", 20_000);
  worker.resume();
  await until(() => second.every((key) => received.has(key)), "all tasks", 20_000);
  // What was given up before its turn came may be left out, but what is sent is whole.
  expect(first.some((key) => received.has(key))).toBe(true);
  for (const [round, keys] of [first, second].entries())
    keys.forEach((key, task) => {
      const payload = received.get(key);
      if (payload !== undefined) expect(payload.equals(payloadOf(round + 1, task, bytes)), key).toBe(true);
    });
});
