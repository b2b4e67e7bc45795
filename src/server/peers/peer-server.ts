import type { Machine, Timer } from "../../base/machine.ts";
import type { Connection, Transport } from "../../comm/connection.ts";
import { frameMessage } from "../../protocol/frames.ts";
import { encodeMessage } from "../../protocol/message.ts";
import { WireMap } from "../../protocol/values.ts";
import { REAL_MACHINE } from "../../trace/machine.ts";

import { Extensions } from "../extensions/extensions.ts";

import type { LiveTrace } from "../live/live-trace.ts";

import { Registration } from "../registration/registration.ts";
import type { HandlerTable, RpcContext } from "../rpc/context.ts";
import { Datasets } from "../rpc/datasets.ts";
import { EventBroker } from "../rpc/event-broker.ts";
import { HANDLERS } from "../rpc/handlers.ts";
import { identityMap } from "../rpc/identity.ts";
import { MetadataStore } from "../rpc/metadata.ts";
import { plainJson } from "../rpc/plain-json.ts";
import { PluginStore } from "../rpc/plugin-store.ts";
import { PythonError } from "../rpc/python-error.ts";
import { checkWorkerTtl } from "../rpc/restart.ts";
import { DEFAULT_POOL_LIMITS, WorkerPool } from "../rpc/worker-pool.ts";
import type { Shuffles } from "../shuffle/shuffles.ts";
import { Acceptor } from "./acceptor.ts";
import type { Cluster, StreamHandler } from "./cluster.ts";
import type { Log } from "./log.ts";
import { DEFAULT_SERVER_SETTINGS, type PeerLimits, type ServerSettings } from "./options.ts";

/** Dask looks as often. */
const IDLE_CHECK_MS = 250;
const TTL_CHECK_MS_MAX = 30_000;
/** Streams get so long to take the last messages. */
const CLOSE_FLUSH_MS = 2_000;
const CLOSE_POLL_MS = 10;

/** What the cold part of the server is put together from. */
export interface PeerServerParts {
  readonly cluster: Cluster;
  readonly streams: StreamHandler;
  readonly shuffles: Shuffles;
  readonly live?: LiveTrace;
  readonly transport: Transport;
  /** The handshake as the side that was connected to, and as the side that connects. */
  readonly handshake: {
    listener(connection: Connection): Promise<Connection>;
    connector(connection: Connection): Promise<Connection>;
  };
  /** Operations beside those of the table that every server has. */
  readonly handlers?: HandlerTable;
  /** Versions of the Python that opens graphs, and of its packages. */
  readonly pythonPackages?: RpcContext["pythonPackages"];
  /** The same, as far as it is known at once; null: not yet. */
  readonly knownPackages?: () => ReadonlyMap<string, string | null> | null;
  readonly limits: PeerLimits;
  readonly settings?: ServerSettings;
  readonly log: Log;
  readonly version: string;
  /** Absent: this one. */
  readonly machine?: Machine;
  /** Called once for each wish to end the server: a client's `terminate`, or idleness. */
  readonly shutdown: (reason: string) => void;
}

/** Everything around the hot path: accepts connections, registers peers, answers requests, looks after idleness. */
export class PeerServer {
  readonly context: RpcContext;
  readonly acceptor: Acceptor;
  readonly handlers: HandlerTable;
  readonly #timers: Timer[] = [];
  readonly #machine: Machine;
  #checking_ttl = false;

  constructor(parts: PeerServerParts) {
    const { cluster, limits, log, streams } = parts;
    const machine = parts.machine ?? REAL_MACHINE;
    this.#machine = machine;
    const now_ms = (): number => machine.wall_ms();
    const handshake = parts.handshake;
    const settings = parts.settings ?? DEFAULT_SERVER_SETTINGS;
    const pool = new WorkerPool(
      parts.transport,
      (connection) => handshake.connector(connection),
      { ...DEFAULT_POOL_LIMITS, connect_ms: settings.connect_ms },
      machine,
    );
    const events = new EventBroker(cluster, now_ms, settings.events_length);
    const plugins = new PluginStore();
    this.context = {
      cluster,
      pool,
      events,
      plugins,
      live: parts.live ?? null,
      pythonPackages: parts.pythonPackages ?? (() => Promise.resolve(new Map())),
      limits,
      log,
      machine,
      now_ms,
      registration: new Registration({
        cluster,
        streams,
        events,
        pool,
        plugins,
        knownPackages: parts.knownPackages ?? (() => null),
        limits,
        log,
        machine,
        now_ms,
      }),
      metadata: new MetadataStore(),
      datasets: new Datasets(cluster, machine),
      shuffles: parts.shuffles,
      extensions: new Extensions(cluster, log, machine),
      server: {
        id: `Scheduler-${machine.uuid()}`,
        address: "",
        started_s: now_ms() / 1000,
        version: parts.version,
        services: new WireMap(),
      },
      unknown_ops: new Map(),
      // After the current request's answer is on its way.
      shutdown: (reason) => machine.soon(() => parts.shutdown(reason)),
    };
    const { registration, extensions } = this.context;
    registration.workers.watchers.add(parts.shuffles);
    registration.workers.watchers.add(extensions);
    registration.clients.watchers.add(extensions);
    parts.shuffles.onEvent = (event) => events.publish(["p2p"], event);
    const every = new Map([...HANDLERS, ...(parts.handlers ?? [])]);
    this.handlers = withoutBlocked(every, settings.blocked_handlers);
    this.acceptor = new Acceptor(this.handlers, this.context, (connection) => handshake.listener(connection));
  }

  /** The address that peers are told of. */
  set address(address: string) {
    this.context.server.address = address;
  }

  /** The scheduler file: what `identity` answers, as JSON. */
  identityJson(): unknown {
    return plainJson(identityMap(this.context, Number.POSITIVE_INFINITY, "all"));
  }

  /** Starts to look for silent workers, and, with `idle_timeout_ms`, for idleness. */
  startTimers(worker_ttl_ms: number | null, idle_timeout_ms: number | null): void {
    if (worker_ttl_ms !== null) {
      const every_ms = Math.min(worker_ttl_ms / 4, TTL_CHECK_MS_MAX);
      this.#timers.push(this.#machine.every(every_ms, () => this.#checkTtl(worker_ttl_ms)));
    }
    if (idle_timeout_ms === null) return;
    const idleness = new Idleness(this.context, idle_timeout_ms);
    this.#timers.push(this.#machine.every(IDLE_CHECK_MS, () => idleness.check()));
  }

  /** Tells workers to close, ends all connections. Resolves once what was written is taken, or two seconds later. */
  async close(reason: string): Promise<void> {
    const { cluster, log, pool } = this.context;
    log.write("INFO", `Closing scheduler. Reason: ${reason}`);
    for (const timer of this.#timers.splice(0)) this.#machine.cancel(timer);
    log.write("INFO", "Scheduler closing all comms");
    const last = frameMessage(
      encodeMessage([
        WireMap.of({ op: "close", reason: "scheduler-close" }),
        WireMap.of({ op: "close-stream" }),
      ]),
    );
    const workers = [...cluster.workers.values()].map((peer) => peer.stream);
    for (const stream of workers) {
      stream.write(last);
      stream.close();
    }
    for (const client of cluster.clients.values()) client.stream.close();
    this.acceptor.close();
    pool.close();
    const deadline_ms = this.#machine.now_ms() + CLOSE_FLUSH_MS;
    while (workers.some((stream) => stream.pending_bytes > 0) && this.#machine.now_ms() < deadline_ms) {
      await this.#machine.sleep(CLOSE_POLL_MS);
    }
    for (const stream of workers) stream.destroy("the server is closing");
    for (const client of cluster.clients.values()) client.stream.destroy("the server is closing");
  }

  #checkTtl(worker_ttl_ms: number): void {
    // A nanny may take as long as several checks to answer.
    if (this.#checking_ttl) return;
    this.#checking_ttl = true;
    checkWorkerTtl(worker_ttl_ms, this.context)
      .catch((error: unknown) => {
        const text = error instanceof Error ? error.message : String(error);
        this.context.log.write("ERROR", `Restarting silent workers failed: ${text}`);
      })
      .finally(() => {
        this.#checking_ttl = false;
      });
  }
}

/** The table with Dask's refusal in the place of each handler that the configuration blocks. */
function withoutBlocked(table: HandlerTable, blocked: readonly string[]): HandlerTable {
  const open = new Map(table);
  for (const op of blocked) {
    open.set(op, () => {
      const text = `The '${op}' handler has been explicitly disallowed in Scheduler, possibly due to security concerns.`;
      throw new PythonError("ValueError", text);
    });
  }
  return open;
}

/** Dask's rule of idleness: nothing happened to any task since the last look, and none could still happen. */
class Idleness {
  readonly #context: RpcContext;
  readonly #timeout_ms: number;
  #transition_count: number;
  #since_ms: number | null;

  constructor(context: RpcContext, timeout_ms: number) {
    this.#context = context;
    this.#timeout_ms = timeout_ms;
    this.#transition_count = context.cluster.transition_count;
    this.#since_ms = context.machine.now_ms();
  }

  check(): void {
    const { cluster, log, machine } = this.#context;
    if (cluster.transition_count !== this.#transition_count || cluster.busy) {
      this.#transition_count = cluster.transition_count;
      this.#since_ms = null;
      return;
    }
    this.#since_ms ??= machine.now_ms();
    if (machine.now_ms() - this.#since_ms <= this.#timeout_ms) return;
    this.#since_ms = machine.now_ms();
    log.write("INFO", `Scheduler closing after being idle for ${this.#timeout_ms / 1000} s`);
    this.#context.shutdown("idle-timeout-exceeded");
  }
}
