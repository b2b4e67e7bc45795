/** The document of a run, `rsds.summary/1`: exactly what is written to summary.json and printed by `--json`. */
export interface Summary extends Attribution {
  readonly schema: "rsds.summary/1";
  readonly rsds: { readonly version: string };
  readonly machine: Machine;
  /** ISO 8601, UTC. */
  readonly started_at: string;
  readonly run: RunFacts;
  /** First byte of the graph handed over → the last wanted key reported to the client. */
  readonly makespan_s: Stat;
  readonly us_per_task: Stat;
  /** CPU in the window of the whole scheduler process, less the fleet's. */
  readonly scheduler_cpu_us_per_task: Stat;
  /** The scheduler's own thread in it: the rest is V8's helper threads and libuv's. Absent where it is not known. */
  readonly scheduler_thread_cpu_us_per_task?: Stat;
  readonly unpacker_cpu_us_per_task?: Stat;
  readonly graph_s: Stat;
  readonly first_task_s: Stat;
  /**
   * What the scheduler did before its first run to have its code compiled; null: nothing, so that `cold` has all of
   * that. Absent where nobody knows.
   */
  readonly training?: { readonly seconds: number; readonly cpu_s: number } | null;
  /** The discarded first run. */
  readonly cold: Pick<
    RepeatSummary,
    "makespan_s" | "scheduler_cpu_us_per_task" | "scheduler_thread_cpu_us_per_task"
  > | null;
  readonly memory_bytes_per_task: number | null;
  readonly rss_max_bytes: number;
  readonly repeats: readonly RepeatSummary[];
  readonly files: readonly string[];
}

/** The `workload` of a window that was opened on a running scheduler. */
export const LIVE_WORKLOAD = "live";

/** Over repeats. */
export interface Stat {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_bytes: number;
  readonly os: string;
  readonly node: string;
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Everything that a run used, so that it can be repeated; a command may add to it. */
export interface RunFacts {
  readonly workload: string;
  readonly tasks: number;
  readonly dependencies: number;
  readonly zero_workers: number;
  readonly scheduler: string;
  readonly transport: string;
  readonly release: string;
  readonly trace: "off" | "phases" | "tasks";
  readonly seed: number;
  /** Repeats that ran: fewer than were asked for when the run was interrupted. */
  readonly repeats: number;
  readonly [more: string]: Json;
}

/** Percentiles of one histogram, in microseconds; all 0 where `count` is. */
export interface Percentiles {
  readonly count: number;
  readonly p50_us: number;
  readonly p90_us: number;
  readonly p99_us: number;
  readonly p999_us: number;
  readonly max_us: number;
}

/** The percentiles are of one span (mostly a batch), collections within it included. */
export interface PhaseRow extends Percentiles {
  readonly phase: string;
  readonly parent: string | null;
  readonly total_s: number;
  readonly us_per_task: number;
  readonly share: number;
}

export interface HopRow extends Percentiles {
  readonly hop: string;
}

/** The fleet's own threads together. */
export interface FleetSummary {
  /** null where the system does not tell a thread's CPU. */
  readonly cpu_us_per_task: number | null;
  /** null with `--trace off`. */
  readonly busy_share: number | null;
  /** read, decode, work, encode, write, idle; collections and what is tied to nothing are missing from their sum. */
  readonly phases: readonly FleetPhaseRow[];
}

export interface FleetPhaseRow {
  readonly phase: string;
  readonly total_s: number;
  readonly us_per_task: number;
  readonly share: number;
}

/** What became of one update-graph; seconds from its first byte for the two task stamps. */
export interface GraphRow {
  readonly bytes: number;
  readonly decode_s: number;
  readonly wait_s: number;
  readonly unpack_s: number;
  readonly order_s: number;
  readonly insert_s: number;
  readonly first_task_s: number;
  readonly last_task_s: number;
}

/** What the tracing itself cost. */
export interface ProbeSummary {
  readonly cost_ns: number;
  readonly count: number;
  readonly share: number;
}

export interface LoopSummary {
  readonly turns: number;
  readonly turn_max_ms: number;
  readonly turn_p999_ms: number;
  /** The longest turn without a large message. Absent where nothing was traced. */
  readonly turn_max_plain_ms?: number;
  /** Messages of 8 MiB and more, with the turn in which each was read or written: the longest ones. */
  readonly large_messages?: readonly LargeMessageRow[];
}

interface LargeMessageRow {
  readonly direction: "in" | "out";
  readonly peer: "client" | "worker";
  readonly bytes: number;
  readonly turn_ms: number;
}

/** tasks_finished = tasks × repeats + recomputed; tasks_sent = tasks_finished + steals_done. */
export interface Ledger {
  readonly tasks_sent: number;
  readonly tasks_finished: number;
  readonly steals_asked: number;
  readonly steals_done: number;
  readonly bytes_in: number;
  readonly bytes_out: number;
  readonly messages_in: number;
  readonly messages_out: number;
  readonly batches_in: number;
  readonly batches_out: number;
  readonly recomputed: number;
}

/** What was attributed and counted: of all repeats, and of each. */
interface Attribution {
  /** Absent with `--trace off`, like hops, fleet phases and unattributed_share. */
  readonly phases?: readonly PhaseRow[];
  /** Absent where the fleet has no thread of its own. */
  readonly fleet?: FleetSummary;
  readonly unattributed_share?: number;
  readonly hops?: readonly HopRow[];
  /** One for each update-graph, the largest 100. */
  readonly graphs: readonly GraphRow[];
  readonly probe: ProbeSummary;
  readonly loop: LoopSummary;
  readonly ledger: Ledger;
}

/** The same figures for one repeat. */
export interface RepeatSummary extends Attribution {
  readonly makespan_s: number;
  readonly us_per_task: number;
  readonly scheduler_cpu_us_per_task: number;
  readonly scheduler_thread_cpu_us_per_task?: number;
  readonly unpacker_cpu_us_per_task?: number;
  readonly graph_s: number;
  readonly first_task_s: number;
}
