import type { EventList } from "../trace/events.ts";
import type { WindowFigures } from "../trace/figures.ts";
import type { Histogram } from "../trace/histogram.ts";
import type { LoopFigures } from "../trace/loop-meter.ts";
import type { GraphRow, Ledger, Machine, RunFacts, Summary } from "./summary.ts";

/** What a runner hands over when its repeats are done. */
export interface RunInput {
  readonly run: RunFacts;
  /** Epoch milliseconds. */
  readonly started_at_ms: number;
  /** Of the scheduler; absent: this one. */
  readonly machine?: Machine;
  /** What the scheduler did before its first run, to have its code compiled; null or absent: nothing. */
  readonly training?: Summary["training"];
  /** The warm-up; null where there was none. */
  readonly cold: Pick<RepeatInput, "makespan_s" | "scheduler_cpu_us" | "scheduler_thread_cpu_us"> | null;
  readonly repeats: readonly RepeatInput[];
  readonly memory_bytes_per_task: number | null;
  readonly rss_max_bytes: number;
}

export interface RepeatInput {
  readonly makespan_s: number;
  readonly graph_s: number;
  readonly first_task_s: number;
  /** CPU of the scheduler in the window, the fleet's already taken off. */
  readonly scheduler_cpu_us: number;
  /** The part of it that the scheduler's own thread used; absent where the system does not tell a thread's CPU. */
  readonly scheduler_thread_cpu_us?: number;
  /** The kernel's account of that thread, the fleet's work on it included; absent like the one above. */
  readonly thread_account?: { readonly cpu_us: number; readonly core_wait_us: number };
  readonly unpacker_cpu_us?: number;
  /** What the scheduler's recorder saw; null with `--trace off`. */
  readonly figures: WindowFigures | null;
  /** For `--trace off`, where there is no recorder to count turns. */
  readonly loop: LoopFigures | null;
  /** The fleet's own threads; empty where it lives on the scheduler's. */
  readonly fleet: readonly FleetThread[];
  readonly graphs: readonly GraphRow[];
  readonly ledger: Ledger;
  /** Epoch milliseconds of the window's beginning, for the interval log. */
  readonly window_start_ms: number;
}

export interface FleetThread {
  /** CPU of the thread in the window; null where the system does not tell. */
  readonly cpu_ns: number | null;
  readonly figures: WindowFigures | null;
}

/** All that a result folder is written from. */
export interface Results {
  readonly summary: Summary;
  readonly histograms: readonly HistogramInterval[];
  readonly traceEvents: readonly TraceTrack[];
}

/** The histograms of one repeat, for the interval log. Empty histograms are left out. */
export interface HistogramInterval {
  readonly start_ms: number;
  readonly end_ms: number;
  readonly histograms: ReadonlyMap<string, Histogram>;
}

/** The first events of a thread in one window. */
export interface TraceTrack {
  readonly thread: string;
  readonly repeat: number;
  readonly events: EventList;
}
