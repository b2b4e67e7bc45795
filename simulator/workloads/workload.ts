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
  /** Ids of what the client waits for: the tasks that no other needs. */
  readonly wanted: readonly number[];
  /** How long each task ran, or would. Zero workers pay no heed to it. */
  readonly durations_us?: Float64Array;
  /** Size of each result. */
  readonly nbytes?: Float64Array;
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
