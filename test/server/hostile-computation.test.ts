import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ClientStandIn } from "../../simulator/fleet/client.ts";
import { SystemFleetClock } from "../../simulator/fleet/clock.ts";
import { Fleet } from "../../simulator/fleet/fleet.ts";
import { NO_TRACING } from "../../simulator/fleet/fleet-context.ts";
import { clientOrder, GraphMessage, packGraph } from "../../simulator/fleet/graph-message.ts";
import { parseWorkload } from "../../simulator/workloads/index.ts";
import type { Connection } from "../../src/comm/connection.ts";
import { handshakeAsConnector } from "../../src/comm/handshake.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { frameMessage } from "../../src/protocol/frames.ts";
import { handshake } from "../../src/protocol/handshake.ts";
import { encodeMessage } from "../../src/protocol/message.ts";
import { packValue } from "../../src/protocol/msgpack.ts";
import { RawValue, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { type LogRecord, ServerLog } from "../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS } from "../../src/server/peers/options.ts";
import { SchedulerServer } from "../../src/server/server.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { registration, until, versionsOf } from "./support/world.ts";

const MIB = 1024 * 1024;
/** All of the server, the fleet and the client are in this process, with garbage that V8 has not looked for yet: room for it. */
const GROWTH_BYTES_MAX = 450 * MIB;
const WORKER_TTL_MS = 2_500;

/**
 * The whole server over TCP, with zero workers and a client that computes one graph after the other: what hostile
 * peers do meanwhile must not show in its results.
 */
class Computation {
  readonly transport = new TcpTransport();
  readonly lines: LogRecord[] = [];
  readonly server: SchedulerServer;
  readonly sockets: Socket[] = [];
  readonly connections: Connection[] = [];
  finished = 0;
  rss_bytes_max = 0;
  readonly #rss_bytes = process.memoryUsage.rss();
  #fleet: Fleet | null = null;
  #client: ClientStandIn | null = null;
  #running: Promise<void> = Promise.resolve();
  #stop = false;

  constructor() {
    this.server = new SchedulerServer({
      listen_address: "tcp://127.0.0.1:0",
      contact_host: null,
      scheduler: "workstealing",
      seed: 1,
      python: null,
      limits: {
        ...DEFAULT_PEER_LIMITS,
        // Its own peers must make it on a busy machine, too.
        handshake_ms: 3_000,
        first_message_ms: 3_000,
        stream_pending_bytes_max: 4 * MIB,
      },
      log: new ServerLog("distributed.scheduler", (record) => this.lines.push(record)),
      version: "0.0.0",
      probe: new Probe(),
    });
  }

  async start(): Promise<void> {
    const address = await this.server.start();
    this.server.peers.startTimers(WORKER_TTL_MS, null);
    const { transport } = this;
    this.#fleet = new Fleet({
      transport,
      address,
      workers: 6,
      release: "2026.8",
      flush: "turn",
      stamps: false,
      tracing: NO_TRACING,
      log: () => undefined,
    });
    await this.#fleet.start();
    this.#client = new ClientStandIn(transport, new SystemFleetClock());
    await this.#client.connect(address, versionsOf("2026.8.0"));
    this.#running = this.#compute(this.#client);
    await until(() => this.finished > 0, "a first result");
  }

  async #compute(client: ClientStandIn): Promise<void> {
    const workload = await parseWorkload("merge:500");
    const graph = new GraphMessage(packGraph(workload, clientOrder(workload.tasks)));
    while (!this.#stop) {
      const suffix = `-${this.finished}`;
      const wanted = graph.wantedKeys(suffix);
      await client.submit(graph.chunks(suffix), wanted);
      client.release(wanted);
      this.finished++;
      this.rss_bytes_max = Math.max(this.rss_bytes_max, process.memoryUsage.rss());
    }
  }

  get warnings(): string[] {
    return this.lines.filter(({ level }) => level !== "INFO").map(({ text }) => text);
  }

  /** The computation went on, and goes on; the log has one line, of that peer alone. */
  async expectOneLine(line: RegExp, limit_ms = 30_000): Promise<void> {
    await until(() => this.warnings.length > 0, "a line", limit_ms);
    const before = this.finished;
    await until(() => this.finished >= before + 2, "further results", 60_000);
    expect(this.warnings, this.warnings.join("\n")).toHaveLength(1);
    expect(this.warnings[0]).toMatch(line);
    expect(this.server.cluster.workers.size).toBe(6);
    expect(this.server.cluster.clients.size).toBe(1);
    expect(this.rss_bytes_max - this.#rss_bytes).toBeLessThan(GROWTH_BYTES_MAX);
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await this.#running;
    this.#client?.close();
    this.#fleet?.close("test");
    for (const socket of this.sockets) socket.destroy();
    for (const connection of this.connections) connection.destroy("test");
    await this.server.close("test");
  }

  // ---- hostile peers

  /** A bare socket. */
  async knock(): Promise<{ socket: Socket; ended: () => boolean }> {
    const socket = connect(Number(this.server.address.split(":").at(-1)), "127.0.0.1");
    this.sockets.push(socket);
    let ended = false;
    socket.on("close", () => {
      ended = true;
    });
    socket.on("error", () => undefined);
    socket.resume();
    await new Promise((resolve) => socket.once("connect", resolve));
    return { socket, ended: () => ended };
  }

  async greet(): Promise<Connection> {
    const connection = await handshakeAsConnector(await this.transport.connect(this.server.address));
    this.connections.push(connection);
    connection.onMessage = () => undefined;
    connection.onClose = () => undefined;
    return connection;
  }

  /** A worker that takes tasks and does none. */
  async worker(): Promise<Connection> {
    const connection = await this.greet();
    connection.write(bytes(registration("tcp://127.0.0.1:1", { nthreads: 1 })));
    await until(() => this.server.cluster.workers.size === 7);
    connection.write(
      bytes([WireMap.of({ op: "worker-status-change", status: "running", stimulus_id: "s" })]),
    );
    return connection;
  }

  async client(): Promise<Connection> {
    const connection = await this.greet();
    connection.write(
      bytes(
        WireMap.of({
          op: "register-client",
          client: "hostile",
          reply: false,
          versions: versionsOf("2022.12.1"),
        }),
      ),
    );
    await until(() => this.server.cluster.clients.size === 2);
    return connection;
  }
}

function bytes(value: WireValue): Uint8Array[] {
  return frameMessage(encodeMessage(value)).map((chunk) => Uint8Array.from(chunk));
}

/** Arrays of arrays, each announcing 2^32 − 1 items. */
function bomb(levels: number): Buffer {
  return Buffer.alloc(5 * levels, Buffer.from("ddffffffff", "hex"));
}

/** A list of one message, whose `keys` are the bomb. */
function loaded(op: string, field: string, load: Buffer): Uint8Array[] {
  const head = packValue([WireMap.of({ op, [field]: new RawValue(new Uint8Array(0)) })]);
  return frameMessage([Buffer.concat([head, load])]);
}

let computation: Computation;

beforeEach(async () => {
  computation = new Computation();
  await computation.start();
});

afterEach(async () => {
  await computation.stop();
});

describe("a computation goes on, and the peer alone is dropped, when it", () => {
  test("sends random bytes", async () => {
    const { socket, ended } = await computation.knock();
    socket.write(Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7919 + 13) % 251)));
    await until(ended);
    await computation.expectOneLine(/^Dropped connection from tcp:\/\/127\.0\.0\.1:\d+: /);
  });

  test("sends a wrong handshake", async () => {
    const { socket, ended } = await computation.knock();
    for (const chunk of bytes(WireMap.of({ compression: null }))) socket.write(chunk);
    await until(ended);
    await computation.expectOneLine(/handshake/);
  });

  test.each([
    ["as its first message", false],
    ["after a right handshake", true],
  ])("announces 2^62 bytes %s", async (_name, greeted) => {
    const { socket, ended } = await computation.knock();
    if (greeted) for (const chunk of bytes(handshake())) socket.write(chunk);
    const head = Buffer.alloc(24);
    head.writeBigUInt64LE(2n ** 62n, 0);
    head.writeBigUInt64LE(1n, 8);
    head.writeBigUInt64LE(2n ** 62n, 16);
    socket.write(head);
    await until(ended);
    await computation.expectOneLine(/a message of \d+ bytes/);
  });

  test("announces millions of frames and sends a few", async () => {
    const { socket, ended } = await computation.knock();
    for (const chunk of bytes(handshake())) socket.write(chunk);
    const head = Buffer.alloc(4096);
    head.writeBigUInt64LE(2n ** 40n, 0);
    head.writeBigUInt64LE(2n ** 22n, 8);
    socket.write(head);
    await until(ended);
    await computation.expectOneLine(/asked for nothing within 3000 ms/);
  });

  test.each([
    ["deep", bomb(200_000)],
    ["wide", Buffer.concat([Buffer.from("ddffffffff", "hex"), Buffer.alloc(4 * MIB, 0xc0)])],
    ["a map of maps", Buffer.alloc(5 * 200_000, Buffer.from("dfffffffff", "hex"))],
  ])("sends a msgpack bomb as its first request: %s", async (_name, load) => {
    const { socket, ended } = await computation.knock();
    for (const chunk of bytes(handshake())) socket.write(chunk);
    for (const chunk of frameMessage([load])) socket.write(chunk);
    await until(ended);
    await computation.expectOneLine(/^Dropped connection/);
  });

  test.each([
    ["task-finished", "key"],
    ["add-keys", "keys"],
    ["steal-response", "key"],
    ["log-event", "msg"],
  ])("is a registered worker whose %s is a msgpack bomb", async (op, field) => {
    const worker = await computation.worker();
    worker.write(loaded(op, field, bomb(200_000)));
    await computation.expectOneLine(/Remove worker addr: tcp:\/\/127\.0\.0\.1:1 .*bad message/);
  });

  test.each([
    ["client-releases-keys", "keys"],
    ["update-graph-hlg", "hlg"],
    ["update-graph", "expr_ser"],
    ["log-event", "msg"],
  ])("is a registered client whose %s is a msgpack bomb", async (op, field) => {
    const client = await computation.client();
    client.write(loaded(op, field, bomb(200_000)));
    await computation.expectOneLine(/Remove client hostile: .*bad message/);
  });

  test("never speaks", async () => {
    const { ended } = await computation.knock();
    await until(ended);
    await computation.expectOneLine(/no handshake within 3000 ms/);
  });

  test("never asks for anything", async () => {
    const { socket, ended } = await computation.knock();
    for (const chunk of bytes(handshake())) socket.write(chunk);
    await until(ended);
    await computation.expectOneLine(/asked for nothing within 3000 ms/);
  });

  test("is a worker that takes tasks, never reads and never answers", async () => {
    const worker = await computation.worker();
    worker.pause();
    // It has its share of the graph now; the computation waits for it until it is given up.
    await computation.expectOneLine(/127\.0\.0\.1:1\b/, 3 * WORKER_TTL_MS);
  });

  test("is a client that computes and never reads", async () => {
    const client = await computation.client();
    client.pause();
    const tasks = 15_000;
    const graph = new GraphMessage({
      ...packGraph(
        {
          tasks,
          key: (task) => `${"x".repeat(300)}-${task}`,
          dependency_offsets: new Uint32Array(tasks + 1),
          dependency_ids: [],
          wanted: Array.from({ length: tasks }, (_, task) => task),
        },
        clientOrder(tasks),
      ),
    });
    for (let i = 0; i < 20 && computation.server.cluster.clients.size === 2; i++) {
      client.write(graph.chunks(`-of-hostile-${i}`));
      await until(() => client.pending_bytes === 0 || computation.server.cluster.clients.size === 1);
      await sleep(20);
    }
    await computation.expectOneLine(/Remove client hostile: .*does not read: \d+/, 60_000);
    await until(() => computation.server.scheduler.books.tasks.live < 2_000, "its tasks are forgotten");
  });
});
