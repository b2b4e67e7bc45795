import type { TaskId, WorkerId } from "../base/ids.ts";
import type { TaskTable } from "../core/task-table.ts";
import { HOP, STAMP } from "../trace/phases.ts";
import type { Tracer } from "../trace/tracer.ts";
import { FINISHED, type WorkerReader } from "./stream/worker-reader.ts";

/** Takes what the server knows of a zero worker's task, until the fleet's own stamps can be had. */
export interface FleetHops {
  /** The `sequence`-th compute-task of `worker` (from 0) was written, and its report read. */
  reported(worker: WorkerId, sequence: number, written_ns: number, read_ns: number, task: TaskId): void;
}

/**
 * The hops between a task's compute-task and its report. With a fleet of ours they come from its stamps
 * once the run is over, with real workers from the start and stop that they report, brought to our clock by `offset_ns`.
 */
export class HopBook {
  readonly #tasks: TaskTable;
  /** null: real workers. */
  fleet: FleetHops | null = null;
  /** Add this to a worker's time (ns since the epoch) to get the recorder's clock. */
  offset_ns = 0;
  /**
   * The shortest `written→start` and `stop→read` as they were measured: neither can be below 0 in truth, so a clock
   * that runs with all workers' is ahead of ours by the first at most, and behind by the second. Infinite: none yet.
   */
  written_start_ns_min = Number.POSITIVE_INFINITY;
  stop_read_ns_min = Number.POSITIVE_INFINITY;
  /** When the last report took effect; 0 before the first. */
  last_finished_ns = 0;

  constructor(tasks: TaskTable) {
    this.#tasks = tasks;
  }

  /** A report was read: the hops up to it. Before the report takes effect. */
  read(tracer: Tracer, reader: WorkerReader, row: number, worker: WorkerId, read_ns: number): void {
    const task = reader.task[row]!;
    // A stale report is of a run that was given up: its hops are none of the task's.
    if (this.#tasks.processing_on[task] !== worker) return;
    const written_ns = this.#tasks.stamp_ns[task]!;
    const { fleet } = this;
    const { stamps } = this.#tasks;
    if (stamps !== null) {
      stamps.stamp(task, STAMP.read, read_ns);
      stamps.worker(task, worker);
    }
    if (fleet !== null) {
      fleet.reported(worker, this.#tasks.sequence[task]!, written_ns, read_ns, task);
      return;
    }
    if (reader.start_s[row] === 0 || reader.stop_s[row] === 0) return;
    const start_ns = reader.start_s[row]! * 1e9 + this.offset_ns;
    const stop_ns = reader.stop_s[row]! * 1e9 + this.offset_ns;
    // Compared so that NaN, of a task that was written before the tracing was switched on, changes nothing.
    if (start_ns - written_ns < this.written_start_ns_min) this.written_start_ns_min = start_ns - written_ns;
    if (read_ns - stop_ns < this.stop_read_ns_min) this.stop_read_ns_min = read_ns - stop_ns;
    tracer.hop(HOP.writtenStart, positive(start_ns - written_ns));
    tracer.hop(HOP.startStop, positive(stop_ns - start_ns));
    tracer.hop(HOP.stopRead, positive(read_ns - stop_ns));
    if (stamps === null) return;
    stamps.stamp(task, STAMP.start, start_ns);
    stamps.stamp(task, STAMP.stop, stop_ns);
  }

  /** The packet's reports took effect: the hop from read to finished, and the stamp for the next. */
  finished(tracer: Tracer, reader: WorkerReader, ns: number, finished_ns: number): void {
    const { stamp_ns, stamps } = this.#tasks;
    let count = 0;
    for (let row = 0; row < reader.count; row++) {
      if (reader.what[row] !== FINISHED || reader.task[row]! < 0) continue;
      stamp_ns[reader.task[row]!] = finished_ns;
      if (stamps !== null) stamps.stamp(reader.task[row]!, STAMP.finished, finished_ns);
      count++;
    }
    if (count === 0) return;
    this.last_finished_ns = finished_ns;
    tracer.hops(HOP.readFinished, ns, count);
  }
}

/** Clocks of two threads differ by some tens of nanoseconds: a hop is never shorter than nothing. */
function positive(ns: number): number {
  return Math.max(0, ns);
}
