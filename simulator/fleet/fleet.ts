import { performance } from "node:perf_hooks";
import type { Transport } from "../../src/comm/connection.ts";
import { WireMap, type WireValue } from "../../src/protocol/values.ts";
import { threadCpuNs } from "../../src/trace/cpu.ts";
import { type FleetClock, SystemFleetClock } from "./clock.ts";
import { FleetContext, type FleetTracing, type FlushMode } from "./fleet-context.ts";
import { countsBetween, type FleetCounts, type FleetMeter } from "./meter.ts";
import { type Release, releaseTraits } from "./release.ts";
import { RpcClient } from "./rpc-client.ts";
import { StampLog } from "./stamps.ts";
import { WorkerSession } from "./worker-session.ts";

/** What a fleet is made with. */
export interface FleetOptions {
  readonly transport: Transport;
  /** The scheduler's address. */
  readonly address: string;
  readonly workers: number;
  readonly release: Release;
  readonly flush: FlushMode;
  /** Keep the stamps of hops; false if nobody takes them. */
  readonly stamps: boolean;
  readonly tracing: FleetTracing;
  readonly clock?: FleetClock;
  readonly log: (text: string) => void;
}

/** The phases of CONTRACT's `fleet`, in ns; `cpu_ns` of the fleet's thread is null where the system has no figure. */
export interface FleetFigures extends FleetCounts {
  readonly wall_ns: number;
  readonly cpu_ns: number | null;
  readonly idle_ns: number;
  /** What the loop did besides the other phases: reading sockets and cutting messages, timers, collections. */
  readonly read_ns: number;
}

/** A moment to measure from. */
export interface FleetMark {
  readonly counts: FleetCounts;
  readonly now_ns: number;
  readonly idle_ns: number;
  readonly cpu_ns: number | null;
}

/** Workers that register at the same time: each needs a few turns of the scheduler's loop. */
const STARTS_AT_ONCE = 64;
/** Process memory is asked for once a while, not for each of a thousand heartbeats. */
const RSS_MAX_AGE_NS = 1e9;

/** N zero workers at one scheduler, in this thread. */
export class Fleet {
  readonly context: FleetContext;
  /** Resolves with the reason of the last one when every worker is gone. */
  readonly closed: Promise<string>;
  readonly #options: FleetOptions;
  readonly #clock: FleetClock;
  readonly #sessions: WorkerSession[] = [];
  readonly #settleClosed: (reason: string) => void;
  #versions = new WireMap();
  #open = 0;
  #closing = false;
  #rss_bytes = 0;
  #rss_at_ns = Number.NEGATIVE_INFINITY;

  constructor(options: FleetOptions) {
    if (!Number.isInteger(options.workers) || options.workers < 1 || options.workers > 65_535) {
      throw new RangeError(`a fleet of ${options.workers} workers`);
    }
    this.#options = options;
    this.#clock = options.clock ?? new SystemFleetClock();
    let settle: (reason: string) => void = () => undefined;
    this.closed = new Promise((resolve) => {
      settle = resolve;
    });
    this.#settleClosed = settle;
    this.context = new FleetContext({
      workers: options.workers,
      release: options.release,
      flush: options.flush,
      clock: this.#clock,
      stamps: options.stamps ? new StampLog(options.workers) : null,
      tracing: options.tracing,
      defer: queueMicrotask,
      log: options.log,
    });
  }

  get clock(): FleetClock {
    return this.#clock;
  }

  get meter(): FleetMeter {
    return this.context.meter;
  }

  /** Workers that are registered and not gone. */
  get open(): number {
    return this.#open;
  }

  /** The workers' addresses in the order of their indices: known after {@link start}. */
  get addresses(): string[] {
    return this.#sessions.map((session) => session.address);
  }

  /** What the workers and the client stand-in claim to run: the scheduler's own versions. */
  get versions(): WireMap {
    return this.#versions;
  }

  /** Connects and registers all workers. If one fails, all leave and the failure is thrown. */
  async start(): Promise<void> {
    const { workers } = this.#options;
    this.#versions = await this.#askVersions();
    try {
      for (let first = 0; first < workers; first += STARTS_AT_ONCE) {
        const last = Math.min(workers, first + STARTS_AT_ONCE);
        const starting: Promise<void>[] = [];
        for (let index = first; index < last; index++) starting.push(this.#startWorker(index));
        await Promise.all(starting);
      }
    } catch (error) {
      this.close("a worker could not start");
      throw error;
    }
  }

  /** Every worker leaves. */
  close(reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    if (this.#sessions.length === 0) this.#settleClosed(reason);
    for (const session of this.#sessions) session.close(reason);
  }

  /** A moment to measure from. */
  mark(): FleetMark {
    return {
      counts: this.meter.counts(),
      now_ns: this.#clock.now(),
      idle_ns: performance.eventLoopUtilization().idle * 1e6,
      cpu_ns: threadCpuNs(),
    };
  }

  /** What happened since a mark. */
  figuresSince(mark: FleetMark): FleetFigures {
    const end = this.mark();
    const counts = countsBetween(mark.counts, end.counts);
    const wall_ns = end.now_ns - mark.now_ns;
    const idle_ns = end.idle_ns - mark.idle_ns;
    const spans_ns = counts.decode_ns + counts.work_ns + counts.encode_ns + counts.write_ns;
    return {
      ...counts,
      wall_ns,
      idle_ns,
      cpu_ns: end.cpu_ns === null || mark.cpu_ns === null ? null : end.cpu_ns - mark.cpu_ns,
      read_ns: Math.max(0, wall_ns - idle_ns - spans_ns),
    };
  }

  async #startWorker(index: number): Promise<void> {
    const { transport, address } = this.#options;
    const session = new WorkerSession({
      index,
      context: this.context,
      transport,
      scheduler_address: address,
      versions: this.#versions,
      rssBytes: () => this.#rssBytes(),
      onClosed: (_, reason) => this.#onClosed(reason),
    });
    if (this.#closing) throw new Error("the fleet was closed while it started");
    this.#sessions[index] = session;
    this.#open++;
    await session.start();
  }

  #onClosed(reason: string): void {
    this.#open--;
    if (this.#open === 0) this.#settleClosed(reason);
  }

  /**
   * The scheduler's own packages, which the workers then claim: a zero worker has no Python, and any other answer
   * would make Dask warn every client of mismatched versions. But dask and distributed are of the fleet's release,
   * since that is what a scheduler goes by in what it sends.
   */
  async #askVersions(): Promise<WireMap> {
    const { transport, address, release } = this.#options;
    const client = new RpcClient(transport, address);
    let host: WireValue | undefined;
    let packages: WireValue | undefined;
    try {
      const reply = await client.call(WireMap.of({ op: "versions", reply: true }));
      if (reply instanceof WireMap) {
        host = reply.get("host");
        packages = reply.get("packages");
      }
    } finally {
      client.close();
    }
    const claimed = packages instanceof WireMap ? packages : WireMap.of({});
    for (const name of ["dask", "distributed"]) {
      const version = claimed.get(name);
      const same_release = typeof version === "string" && version.startsWith(`${release}.`);
      if (!same_release) claimed.set(name, releaseTraits(release).version);
    }
    return WireMap.of({ host: host instanceof WireMap ? host : WireMap.of({}), packages: claimed });
  }

  #rssBytes(): number {
    const now_ns = this.#clock.now();
    if (now_ns - this.#rss_at_ns > RSS_MAX_AGE_NS) {
      this.#rss_at_ns = now_ns;
      this.#rss_bytes = process.memoryUsage.rss();
    }
    return this.#rss_bytes;
  }
}
