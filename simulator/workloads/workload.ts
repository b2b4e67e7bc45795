/**
 * A graph to be scheduled, without its code. Ids are in topological order, which is also the order of priority
 * that a client's `dask.order` would give.
 */
export interface Workload {
  /** The spec that made it, or the name of a recording: letters, digits and `.+:_-` only. */
  readonly name: string;
  readonly tasks: number;
  readonly dependencies: number;
  /** The key of a task, as Dask would show it: a prefix that names its kind, `-`, its id. */
  key(id: number): string;
  /** `tasks + 1` offsets into `dependency_ids`. */
  readonly dependency_offsets: Uint32Array;
  /** All below the id of the task that has them, none twice. */
  readonly dependency_ids: Uint32Array;
  /** Ids of what the client waits for: the tasks that no other needs, and in a recording those that it asked for. */
  readonly wanted: readonly number[];
  /** How long each task ran, or would. Zero workers pay no heed to it. */
  readonly durations_us?: Float64Array;
  /** Size of each result. */
  readonly nbytes?: Float64Array;
  /** Only of what `rsds record` wrote. */
  readonly recorded?: RecordedRun;
}

/** How a recorded graph was run, by `rsds record`: what its replay needs. Columns are by task. */
export interface RecordedRun {
  readonly setup: {
    readonly scheduler: string;
    /** Threads of each. */
    readonly workers: readonly number[];
    /** The way of a message between scheduler and worker. */
    readonly message_us: number;
    /** Of a gather; null: there was none. */
    readonly transfer_latency_us: number | null;
    /** Bytes a second; null: none was large enough to tell. */
    readonly transfer_bandwidth: number | null;
  };
  readonly makespan_s: number;
  /** In the order in which they came. */
  readonly graphs: readonly RecordedSubmit[];
  /** Index in `graphs`; a task's dependencies are of the same graph or of earlier ones. */
  readonly graph_of: Uint32Array;
  /** 1: not a task but data that was there already. */
  readonly data: Uint8Array;
  /** A worker's own time before the task's code, and from its end until it told, beyond a message's way. */
  readonly overhead_us: Float64Array;
  /** How long the worker took to ask for the task's inputs. */
  readonly fetch_lag_us: Float64Array;
  readonly report_us: Float64Array;
  /** Index of the worker that ran it, or had it; −1: not known. */
  readonly worker: Int32Array;
}

/** One graph that a client submitted. */
export interface RecordedSubmit {
  readonly client: number;
  /** Since the first one. */
  readonly submit_us: number;
  /** From there until its tasks were in the books. */
  readonly intake_us: number;
  /** Since all that the client had wanted before was there; null: it did not wait for that. */
  readonly think_us: number | null;
}

/** A spec or file that cannot be used. The message is one line that says what to change: wrong usage, exit 2. */
export class WorkloadError extends Error {
  override readonly name = "WorkloadError";
}

/** Tasks in one workload: a scheduler needs about a kilobyte for each. */
export const TASKS_MAX = 10_000_000;

/** The tasks that no other needs, in rising order. */
export function sinks(tasks: number, dependency_ids: Uint32Array): number[] {
  const needed = new Uint8Array(tasks);
  for (let e = 0; e < dependency_ids.length; e++) needed[dependency_ids[e]!] = 1;
  const result: number[] = [];
  for (let id = 0; id < tasks; id++) if (needed[id] === 0) result.push(id);
  return result;
}
