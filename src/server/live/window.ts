import type { WindowFigures } from "../../trace/figures.ts";
import type { TaskRows } from "../../trace/task-rows.ts";
import type { GraphTimes } from "../graphs/graph-log.ts";
import type { ServerCounts } from "./counts.ts";

/** What is recorded: phases and hops, or a row a task besides. */
export type TraceLevel = "phases" | "tasks";

/** What one window of a running server showed; made in the server, written by whoever asked for it. */
export interface LiveWindow {
  readonly facts: LiveFacts;
  readonly figures: WindowFigures;
  /** Null with `phases`. */
  readonly tasks: LiveTasks | null;
}

/** Everything of a window that is a plain number or text. */
export interface LiveFacts {
  readonly trace: TraceLevel;
  readonly scheduler: string;
  /** Registered at the window's end; the zero workers of the server's own process are among the workers. */
  readonly workers: number;
  readonly clients: number;
  readonly zero_workers: number;
  /** Dask releases that workers and clients speak. */
  readonly releases: readonly string[];
  readonly version: string;
  readonly machine: Readonly<Record<string, string | number>>;
  /** Epoch milliseconds. */
  readonly started_at_ms: number;
  readonly scheduler_cpu_us: number;
  readonly scheduler_thread_cpu_us: number | null;
  /** Null where no graph was unpacked, or the system does not tell. */
  readonly unpacker_cpu_us: number | null;
  /** CPU of the fleet's process beside the server's; null: there is none, or the system does not tell. */
  readonly fleet_cpu_ns: number | null;
  readonly rss_max_bytes: number;
  readonly dependencies: number;
  readonly graphs: readonly GraphTimes[];
  readonly counts: ServerCounts;
  readonly clocks: ClockAlignment;
  /** Tasks that got no row with `tasks`, because there were too many. */
  readonly tasks_left_out: number;
}

/** How the workers' clocks were brought to the recorder's, and how far off they may be. */
export interface ClockAlignment {
  readonly method: string;
  /** This machine's wall clock was read right to this. */
  readonly error_us: number;
  /** How far this machine's wall clock moved against its monotonic clock within the window. */
  readonly drift_us: number;
  /**
   * No task starts before the write that sent it began, and no report is read before its task stopped. So a clock
   * that runs with all workers' is ahead of ours by the shortest `written→start` that was measured and the longest
   * write at most, and behind by the shortest `stop→read` at most. Null: no task told.
   */
  readonly ahead_us_max: number | null;
  readonly behind_us_max: number | null;
}

/** The rows of `--trace tasks`. */
export interface LiveTasks {
  readonly rows: TaskRows;
  /** The key of a row as Python's `str` shows it. */
  key(row: number): string;
  /** The address of a row's worker number. */
  worker(index: number): string;
}
