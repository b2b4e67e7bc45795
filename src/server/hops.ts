import type { WorkerId } from "../base/ids.ts";
import type { TaskTable } from "../core/task-table.ts";
import { HOP, STAMP } from "../trace/phases.ts";
import type { Tracer } from "../trace/tracer.ts";
import { FINISHED, type WorkerReader } from "./stream/worker-reader.ts";

/** Stamps that a fleet in the same process leaves: ns of the same clock, 0 where there is none. */
export interface FleetStamps {
  receivedNs(worker: WorkerId, sequence: number): number;
  reportedNs(worker: WorkerId, sequence: number): number;
}

/**
 * The hops between a task's compute-task and its report. With a fleet in this process they come from its stamps,
 * with real workers from the start and stop that they report, brought to our clock by `offset_ns`.
 */
export class HopBook {
  readonly #tasks: TaskTable;
  /** null: real workers. */
  fleet: FleetStamps | null = null;
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
      const sequence = this.#tasks.sequence[task]!;
      const received_ns = fleet.receivedNs(worker, sequence);
      const reported_ns = fleet.reportedNs(worker, sequence);
      if (received_ns === 0 || reported_ns === 0) return;
      tracer.hop(HOP.writtenReceived, positive(received_ns - written_ns));
      tracer.hop(HOP.receivedReported, positive(reported_ns - received_ns));
      tracer.hop(HOP.reportedRead, positive(read_ns - reported_ns));
      if (stamps === null) return;
      stamps.stamp(task, STAMP.received, received_ns);
      stamps.stamp(task, STAMP.reported, reported_ns);
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
