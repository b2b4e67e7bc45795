import { setTimeout as sleep } from "node:timers/promises";
import type { Connection, Listener } from "../../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../../src/comm/handshake.ts";
import { TcpTransport } from "../../../src/comm/tcp.ts";
import { keyBytes } from "../../../src/protocol/keys.ts";
import { decodeMessage } from "../../../src/protocol/message.ts";
import { WireMap, type WireValue } from "../../../src/protocol/values.ts";
import { Channel } from "../../../src/server/peers/channel.ts";
import { type Log, type LogRecord, ServerLog } from "../../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS, type PeerLimits } from "../../../src/server/peers/options.ts";
import { PeerServer } from "../../../src/server/peers/peer-server.ts";
import { keyId } from "../../../src/server/rpc/request.ts";
import { Shuffles } from "../../../src/server/shuffle/shuffles.ts";
import { REAL_MACHINE } from "../../../src/trace/machine.ts";
import { UnpackerPool } from "../../../src/unpacker/unpacker.ts";
import { World as CoreWorld } from "../../core/world.ts";
import { TinyCluster, TinyStreams } from "./tiny-cluster.ts";

/** A server on a free port of this machine over a tiny cluster, and peers that connect to it by real sockets. */
export class World {
  readonly cluster = new TinyCluster();
  readonly streams = new TinyStreams(this.cluster);
  readonly lines: LogRecord[] = [];
  readonly shutdowns: string[] = [];
  readonly transport = new TcpTransport();
  readonly server: PeerServer;
  now_offset_ms = 0;
  #listener: Listener | null = null;
  readonly #workers: TestWorker[] = [];

  constructor(
    limits: Partial<PeerLimits> = {},
    log: Log | null = null,
    shutdown = (_reason: string): void => undefined,
  ) {
    const all_limits = { ...DEFAULT_PEER_LIMITS, ...limits };
    this.server = new PeerServer({
      cluster: this.cluster,
      shuffles: new Shuffles({
        scheduler: new CoreWorld().scheduler,
        cluster: this.cluster,
        unpacker: () => new UnpackerPool(),
        touch: () => undefined,
      }),
      streams: this.streams,
      transport: this.transport,
      handshake: {
        listener: (connection) => handshakeAsListener(connection, all_limits),
        connector: handshakeAsConnector,
      },
      limits: all_limits,
      log: log ?? new ServerLog("distributed.scheduler", (record) => this.lines.push(record)),
      version: "0.0.0",
      machine: { ...REAL_MACHINE, wall_ms: () => Date.now() + this.now_offset_ms },
      shutdown: (reason) => {
        this.shutdowns.push(reason);
        shutdown(reason);
      },
    });
    this.streams.context = this.server.context;
  }

  static async start(limits: Partial<PeerLimits> = {}): Promise<World> {
    const world = new World(limits);
    world.server.address = await world.listen("tcp://127.0.0.1:0");
    return world;
  }

  async listen(address: string): Promise<string> {
    this.#listener = await this.transport.listen(address, (connection) =>
      this.server.acceptor.accept(connection),
    );
    return this.address;
  }

  get address(): string {
    return this.#listener?.address ?? "";
  }

  get warnings(): string[] {
    return this.lines.filter((line) => line.level !== "INFO").map((line) => line.text);
  }

  async stop(reason = "test"): Promise<void> {
    await this.#listener?.close();
    await this.server.close(reason);
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  /** A connection after its handshake. */
  async connect(): Promise<Channel> {
    return new Channel(await handshakeAsConnector(await this.transport.connect(this.address)));
  }

  /** One request on a connection of its own. */
  async ask(op: string, fields: Record<string, WireValue> = {}): Promise<WireValue> {
    const channel = await this.connect();
    const reply = await request(channel, op, fields);
    channel.close();
    return reply;
  }

  async worker(fields: Record<string, WireValue> = {}): Promise<TestWorker> {
    const worker = await TestWorker.start(this, fields);
    this.#workers.push(worker);
    return worker;
  }

  async client(name: string, distributed = "2026.8.0"): Promise<TestStream> {
    const channel = await this.connect();
    channel.write(
      WireMap.of({ op: "register-client", client: name, reply: false, versions: versionsOf(distributed) }),
    );
    const stream = new TestStream(channel);
    stream.first = await nextValue(channel);
    void stream.follow();
    return stream;
  }
}

/** The peer's side of a stream: everything that it was sent, flat. */
export class TestStream {
  readonly channel: Channel;
  readonly received: WireMap[] = [];
  first: WireValue = null;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  send(op: string, fields: Record<string, WireValue> = {}): void {
    this.channel.write([WireMap.of({ op, ...fields })]);
  }

  ops(): string[] {
    return this.received.map((message) => String(message.get("op")));
  }

  async follow(): Promise<void> {
    for (let message = await this.channel.read(); message !== null; message = await this.channel.read()) {
      const batch = decodeMessage(message);
      for (const item of Array.isArray(batch) ? batch : [batch]) {
        if (item instanceof WireMap) this.received.push(item);
      }
    }
  }
}

/** A worker that holds data and answers what the scheduler asks of workers, and of nannies. */
export class TestWorker {
  readonly data = new Map<string, [WireValue, WireValue]>();
  readonly asked: string[] = [];
  stream: TestStream;
  address = "";
  reply: WireValue = null;
  /** get_data is answered with "busy" so often. */
  busy_times = 0;
  /** Confirmations of get_data that came. */
  confirmed = 0;
  onKill: () => void = () => undefined;
  readonly connections = new Set<Connection>();
  #listener: Listener | null = null;

  constructor(channel: Channel) {
    this.stream = new TestStream(channel);
  }

  static async start(world: World, fields: Record<string, WireValue>): Promise<TestWorker> {
    const worker = new TestWorker(await world.connect());
    worker.#listener = await world.transport.listen("tcp://127.0.0.1:0", (connection) => {
      void worker.#serve(connection);
    });
    worker.address = worker.#listener.address;
    const { nanny: nanny_option = null, silent = false } = fields;
    // `nanny: true`: the worker plays its own nanny.
    const nanny = nanny_option === true ? worker.address : nanny_option;
    worker.stream.channel.write(registration(worker.address, { ...fields, nanny }));
    worker.reply = await nextValue(worker.stream.channel);
    void worker.stream.follow();
    if (worker.reply instanceof WireMap && worker.reply.get("status") === "OK" && silent !== true) {
      worker.stream.send("worker-status-change", { status: "running", stimulus_id: "s" });
      await until(() => world.cluster.workers.get(worker.address)?.status === "running");
    }
    return worker;
  }

  async close(): Promise<void> {
    this.stream.channel.destroy("test");
    await this.stopListening();
  }

  async stopListening(): Promise<void> {
    await this.#listener?.close();
    for (const connection of this.connections) connection.destroy("test");
  }

  async #serve(connection: Connection): Promise<void> {
    this.connections.add(connection);
    const channel = new Channel(await handshakeAsListener(connection));
    for (;;) {
      const message = await channel.read();
      if (message === null) return;
      const value = decodeMessage(message);
      if (value === "OK") {
        this.confirmed++;
        continue;
      }
      if (!(value instanceof WireMap)) throw new Error("not a request");
      this.asked.push(String(value.get("op")));
      channel.write(this.#answer(value));
    }
  }

  #answer(message: WireMap): WireValue {
    switch (message.get("op")) {
      case "get_data":
        return this.#getData(message.get("keys") as WireValue[]);
      case "update_data":
        return this.#updateData(message.get("data") as WireMap);
      case "gather": {
        const who_has = message.get("who_has") as WireMap;
        for (const key of who_has.keys) this.data.set(keyId(keyBytes(key)), [key, "copied"]);
        return WireMap.of({ status: "OK" });
      }
      case "kill":
        this.onKill();
        return null;
      case "fails":
        return WireMap.of({ status: "uncaught-error", exception: null, exception_text: "ValueError('no')" });
      default:
        return WireMap.of({ status: "OK", op: message.get("op") ?? null });
    }
  }

  #getData(keys: WireValue[]): WireValue {
    if (this.busy_times-- > 0) return WireMap.of({ status: "busy" });
    const found = keys
      .map((key) => this.data.get(keyId(keyBytes(key))))
      .filter((entry) => entry !== undefined);
    return WireMap.of({ status: "OK", data: WireMap.from(found) });
  }

  #updateData(data: WireMap): WireValue {
    data.keys.forEach((key, i) => {
      this.data.set(keyId(keyBytes(key)), [key, data.values[i] ?? null]);
    });
    const nbytes = WireMap.from(data.keys.map((key) => [key, 28]));
    return WireMap.of({ status: "OK", nbytes });
  }
}

/** The fields of a 2026.8.0 worker's register-worker. */
export function registration(address: string, fields: Record<string, WireValue> = {}): WireMap {
  return WireMap.of({
    op: "register-worker",
    reply: false,
    address,
    status: "init",
    nthreads: 2,
    name: address,
    now: Date.now() / 1000 + 0.001,
    resources: new WireMap(),
    memory_limit: 1_073_741_824,
    local_directory: "/tmp/w",
    services: WireMap.of({ dashboard: 1234 }),
    pid: 42,
    versions: versionsOf("2026.8.0"),
    metrics: WireMap.of({ cpu: 0.5 }),
    extra: new WireMap(),
    stimulus_id: "worker-connect-1",
    server_id: "Worker-1",
    ...fields,
  });
}

export function versionsOf(distributed: string): WireMap {
  return WireMap.of({ packages: WireMap.of({ distributed }) });
}

export async function request(
  channel: Channel,
  op: string,
  fields: Record<string, WireValue> = {},
): Promise<WireValue> {
  channel.write(WireMap.of({ op, reply: true, ...fields }));
  return nextValue(channel);
}

export async function nextValue(channel: Channel): Promise<WireValue> {
  const message = await channel.read();
  if (message === null) throw new Error(`the connection ended: ${channel.closed}`);
  return decodeMessage(message);
}

/** Waits for a condition; fails after `limit_ms`. */
export async function until(
  condition: () => boolean,
  what = "the condition",
  limit_ms = 30_000,
): Promise<void> {
  const deadline_ms = performance.now() + limit_ms;
  while (!condition()) {
    if (performance.now() > deadline_ms) throw new Error(`${what} did not come true`);
    await sleep(2);
  }
}

/** A WireValue as plain data, for comparisons. */
export function plain(value: WireValue | undefined): unknown {
  if (value instanceof WireMap) {
    return Object.fromEntries(value.keys.map((key, i) => [String(key), plain(value.values[i])]));
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null && "value" in value) return value.value;
  return value;
}
