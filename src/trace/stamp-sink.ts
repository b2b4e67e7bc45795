import type { Stamp } from "./phases.ts";

/**
 * Takes the moments of each task's life for `--trace tasks`. It is handed over as `StampSink | null` where the hops
 * are recorded; null, which is also what `--trace phases` has, costs a null check a stamp. Tasks and workers are the
 * core's ids, times nanoseconds of the tracer's clock.
 */
export interface StampSink {
  /** The id was given to a task: what an earlier task of this id did is over. */
  created(task: number): void;
  /** A graph's tasks are known: those that have no row yet get one. */
  known(tasks: Int32Array, submit_ns: number, known_ns: number): void;
  /** A later stamp of the same moment replaces an earlier one. Tasks without a row are none of a graph's. */
  stamp(task: number, stamp: Stamp, ns: number): void;
  /** The worker that has the task. */
  worker(task: number, worker: number): void;
}
