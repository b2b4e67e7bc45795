import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../base/clock.ts";
import { schedulerCpu, startCpuWatch } from "../../trace/cpu.ts";
import type { WindowFigures } from "../../trace/figures.ts";
import { PHASE } from "../../trace/phases.ts";
import { measureProbeCosts, type ProbeCosts } from "../../trace/probe-cost.ts";
import { processesCpuUs } from "../../trace/process-cpu.ts";
import { Recorder } from "../../trace/recorder.ts";
import { GraphLog } from "../graphs/graph-log.ts";
import type { SchedulerServer } from "../server.ts";
import { TaskStamps } from "../task-stamps.ts";
import { ClockAligner } from "./clock-alignment.ts";
import { countsBetween, serverCounts } from "./counts.ts";
import type { LiveFacts, LiveWindow, TraceLevel } from "./window.ts";

/** Waterfalls that are kept: the largest graphs'. */
const GRAPHS_MAX = 100;
/** Rows of `tasks`: 112 bytes each, with the key. */
const TASK_ROWS_MAX = 250_000;
const NO_COSTS: ProbeCosts = { span_ns: 0, callback_ns: 0, hop_ns: 0 };

/** The parts of a server that are watched. */
export type TracedParts = Pick<
  SchedulerServer,
  "scheduler" | "streams" | "outbox" | "intake" | "hops" | "cluster" | "probe" | "unpacker_pids"
>;

/** What a window is told of besides. */
export interface Surroundings {
  readonly clock: Clock;
  readonly version: string;
  /** What the documents say of the machine. */
  readonly machine: Readonly<Record<string, string | number>>;
}

/** A fleet in a process of its own beside this one. */
export interface OwnFleet {
  readonly workers: number;
  /** CPU that it used since the last call; null where the system does not tell. */
  cpuNs(): Promise<number | null>;
}

/** Somebody else's window is open. */
export class TracingBusyError extends Error {
  override readonly name = "TracingBusyError";
}

/**
 * Switches the tracing of a running server on and off: one window at a time, in bounded memory, and nothing of it is
 * left when it is off. The switch is thrown in a callback of its own, so that every span that was entered is left by
 * the same tracer.
 */
export class LiveTrace {
  /** Set by whoever starts a fleet beside the server. */
  fleet: OwnFleet | null = null;
  /** Awaited before a window opens: ends what else this thread is at, and what would be in its figures. */
  before: (() => Promise<void>) | null = null;
  readonly #parts: TracedParts;
  #session: Session | null = null;
  #costs: ProbeCosts | null = null;

  readonly #surroundings: Surroundings;

  constructor(parts: TracedParts, surroundings: Surroundings) {
    this.#parts = parts;
    this.#surroundings = surroundings;
  }

  /**
   * Opens a window, or throws TracingBusyError. `owner`: who alone may stop it, as the error tells others.
   * `onEnd`: is handed the window if the server ends first.
   */
  async start(owner: string, trace: TraceLevel, onEnd: (window: LiveWindow) => Promise<void>): Promise<void> {
    this.#refuseSecond();
    await this.before?.();
    // Somebody else may have been faster.
    this.#refuseSecond();
    const session = new Session(this.#parts, {
      ...this.#surroundings,
      owner,
      trace,
      onEnd,
      fleet: this.fleet,
    });
    this.#session = session;
    this.#costs ??= probeCosts();
    await session.open(this.#costs);
  }

  #refuseSecond(): void {
    if (this.#session !== null)
      throw new TracingBusyError(`the scheduler is being traced already, by ${this.#session.owner}`);
    if (this.#parts.probe.tracer !== null) throw new TracingBusyError("the scheduler is part of a zero run");
  }

  /** Ends the window of `owner`; null if there is none. */
  async stop(owner: string): Promise<LiveWindow | null> {
    const session = this.#session;
    if (session === null || session.owner !== owner) return null;
    try {
      return await session.close();
    } finally {
      if (this.#session === session) this.#session = null;
    }
  }

  /** The server is about to end: whoever has a window open is given it. */
  async end(): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    const window = await this.stop(session.owner);
    if (window !== null) await session.onEnd(window);
  }
}

/** Measured once: it takes 15 ms, and a running server is to be held up but once. */
function probeCosts(): ProbeCosts {
  const recorder = new Recorder({ costs: NO_COSTS });
  const costs = measureProbeCosts(recorder);
  recorder.close();
  return costs;
}

interface SessionOptions extends Surroundings {
  readonly owner: string;
  readonly trace: TraceLevel;
  readonly onEnd: (window: LiveWindow) => Promise<void>;
  readonly fleet: OwnFleet | null;
}

/** What is measured beside the recorder, from its making on. */
interface Meters {
  readonly recorder: Recorder;
  readonly stamps: TaskStamps | null;
  readonly graphs: GraphLog;
  readonly aligner: ClockAligner;
  readonly started_at_ms: number;
  readonly counts: ReturnType<typeof serverCounts>;
  readonly cpuUsed: ReturnType<typeof startCpuWatch>;
  readonly unpackers: ReadonlyMap<number, number>;
}

/** One window. */
class Session {
  readonly owner: string;
  readonly onEnd: SessionOptions["onEnd"];
  readonly #parts: TracedParts;
  readonly #options: SessionOptions;
  #meters: Promise<Meters> | null = null;
  #closed: Promise<LiveWindow> | null = null;

  constructor(parts: TracedParts, options: SessionOptions) {
    this.#parts = parts;
    this.owner = options.owner;
    this.onEnd = options.onEnd;
    this.#options = options;
  }

  async open(costs: ProbeCosts): Promise<void> {
    this.#meters = this.#open(costs);
    await this.#meters;
  }

  async #open(costs: ProbeCosts): Promise<Meters> {
    const { scheduler, probe, intake, outbox, hops } = this.#parts;
    const { clock } = this.#options;
    const { tasks } = scheduler.books;
    await this.#options.fleet?.cpuNs();
    // A callback of its own: nobody is within a span.
    await setImmediate();
    const recorder = new Recorder({ costs });
    const graphs = new GraphLog(GRAPHS_MAX);
    const stamps = this.#options.trace === "tasks" ? new TaskStamps(scheduler.books, 0, TASK_ROWS_MAX) : null;
    const meters: Meters = {
      recorder,
      stamps,
      graphs,
      aligner: new ClockAligner(hops, clock),
      started_at_ms: Date.now(),
      counts: serverCounts(this.#parts),
      cpuUsed: startCpuWatch(),
      unpackers: processesCpuUs(this.#parts.unpacker_pids),
    };
    // What earlier windows stamped is over: a hop is counted only if both of its ends are seen.
    tasks.stamp_ns.fill(Number.NaN);
    tasks.stamps = stamps;
    intake.graphs = graphs;
    outbox.graphs = graphs;
    recorder.openWindow();
    probe.tracer = recorder;
    return meters;
  }

  /** A second call has the answer of the first. */
  close(): Promise<LiveWindow> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<LiveWindow> {
    const meters = await this.#meters!;
    const fleet_cpu_ns = (await this.#options.fleet?.cpuNs()) ?? null;
    await setImmediate();
    const { recorder, stamps } = meters;
    const { scheduler, probe, intake, outbox } = this.#parts;
    const closing = recorder.closeWindow();
    probe.tracer = null;
    scheduler.books.tasks.stamps = null;
    intake.graphs = null;
    outbox.graphs = null;
    const counted = this.#facts(meters, fleet_cpu_ns);
    let figures: WindowFigures;
    try {
      figures = await closing;
    } finally {
      recorder.close();
    }
    const tasks =
      stamps === null
        ? null
        : {
            rows: stamps.rows,
            key: (row: number) => stamps.keyOf(row),
            worker: (index: number) => stamps.addressOf(index),
          };
    const clocks = meters.aligner.stop(figures.phase_histograms[PHASE.write]!.max);
    return { facts: { ...counted, clocks }, figures, tasks };
  }

  #facts(meters: Meters, fleet_cpu_ns: number | null): Omit<LiveFacts, "clocks"> {
    const { cluster, scheduler } = this.#parts;
    const { version, machine } = this.#options;
    const cpu = schedulerCpu(meters.cpuUsed(), 0);
    const peers = [...cluster.workers.values(), ...cluster.clients.values()];
    return {
      trace: this.#options.trace,
      scheduler: scheduler.policy_name,
      workers: cluster.workers.size,
      clients: cluster.clients.size,
      zero_workers: this.#options.fleet?.workers ?? 0,
      releases: [...new Set(peers.map((peer) => peer.release))].sort(),
      version,
      machine,
      started_at_ms: meters.started_at_ms,
      scheduler_cpu_us: cpu.scheduler_cpu_us,
      scheduler_thread_cpu_us: cpu.scheduler_thread_cpu_us ?? null,
      unpacker_cpu_us: cpuSince(meters.unpackers, processesCpuUs(this.#parts.unpacker_pids)),
      fleet_cpu_ns,
      rss_max_bytes: process.resourceUsage().maxRSS * 1024,
      dependencies: meters.graphs.dependencies,
      graphs: meters.graphs.times(),
      counts: countsBetween(meters.counts, serverCounts(this.#parts)),
      tasks_left_out: meters.stamps?.tasks_left_out ?? 0,
    };
  }
}

/** A process that came since began at 0; of one that has gone nothing is known any more. */
function cpuSince(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number | null {
  if (after.size === 0) return null;
  let sum_us = 0;
  for (const [pid, us] of after) sum_us += us - (before.get(pid) ?? 0);
  return sum_us;
}
