import type { Books } from "../../src/core/books.ts";
import type { TaskTable } from "../../src/results/csv.ts";
import type { RepeatInput } from "../../src/results/input.ts";
import type { Ledger } from "../../src/results/summary.ts";
import { TaskStamps } from "../../src/server/task-stamps.ts";
import type { Tracer } from "../../src/trace/tracer.ts";
import type { FleetDose } from "../fleet/process-protocol.ts";
import type { Workload } from "../workloads/index.ts";
import type { ZeroRunOptions } from "./options.ts";

/** One submission, measured. */
export interface Measured extends RepeatInput {
  /** The rows of `--trace tasks`, else null. */
  readonly tasks: TaskTable | null;
}

/** Something that can run the workload again and again: one for each transport. */
export interface Runner {
  /** Submits fresh keys, waits for the end, releases everything. */
  run(repeat: number): Promise<Measured>;
  /** Everybody leaves in order. */
  close(): Promise<void>;
  /** Ends at once, in the middle of a run too, which then never resolves, or rejects. */
  abort(): Promise<void>;
}

export interface RunnerParts {
  readonly options: ZeroRunOptions;
  readonly workload: Workload;
  readonly log: (text: string) => void;
  /** Between the program and its recorder, where something is to be planted (`rsds calibrate`). */
  readonly probes?: Probes;
  /** The fleet is in this process over `tcp`, too; nobody measures anything there. */
  readonly together?: boolean;
}

/** See {@link RunnerParts.probes}. Of no effect without tracing, and over `direct`. */
export interface Probes {
  /** What the scheduler's thread is given in its recorder's place. */
  wrap(recorder: Tracer): Tracer;
  /** What is to be planted in the fleet's process in the next run; null for nothing. */
  fleetDose(): FleetDose | null;
  /** What was planted there in the last: beginning and end of each delay, ns. */
  fleetPlanted(moments: Float64Array): void;
}

/** Stamps each task of a timed repeat, where that is asked for; the core is told by its table. */
export function openStamps(
  books: Books,
  { options, workload }: RunnerParts,
  repeat: number,
): TaskStamps | null {
  if (options.trace !== "tasks" || repeat === 0) return null;
  const stamps = new TaskStamps(books, workload.tasks, workload.tasks);
  books.tasks.stamps = stamps;
  return stamps;
}

/** `repeat` counts from 1, the warm-up being 0; the documents count timed repeats from 0. */
export function taskTable(stamps: TaskStamps, repeat: number, origin_ns: number): TaskTable {
  return {
    repeat: repeat - 1,
    rows: stamps.rows,
    key: (row) => stamps.keyOf(row),
    worker: (worker) => stamps.addressOf(worker),
    origin_ns,
  };
}

export function ledgerBetween(before: Ledger, after: Ledger): Ledger {
  const keys = Object.keys(after) as (keyof Ledger)[];
  return Object.fromEntries(keys.map((key) => [key, after[key] - before[key]])) as unknown as Ledger;
}
