import type { WorkerId } from "../base/ids.ts";
import type { TaskTable } from "../core/task-table.ts";
import { HOP } from "../trace/phases.ts";
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
  readonly #tracer: Tracer;
  /** null: real workers. */
  fleet: FleetStamps | null = null;
  /** Add this to a worker's time (ns since the epoch) to get the recorder's clock. */
  offset_ns = 0;

  constructor(tasks: TaskTable, tracer: Tracer) {
    this.#tasks = tasks;
    this.#tracer = tracer;
  }

  /** A report was read: the hops up to it. Before the report takes effect. */
  read(reader: WorkerReader, row: number, worker: WorkerId, read_ns: number): void {
    const task = reader.task[row]!;
    const tracer = this.#tracer;
    const written_ns = this.#tasks.stamp_ns[task]!;
    const { fleet } = this;
    if (fleet !== null) {
      const sequence = this.#tasks.sequence[task]!;
      const received_ns = fleet.receivedNs(worker, sequence);
      const reported_ns = fleet.reportedNs(worker, sequence);
      if (received_ns === 0 || reported_ns === 0) return;
      tracer.hop(HOP.writtenReceived, positive(received_ns - written_ns));
      tracer.hop(HOP.receivedReported, positive(reported_ns - received_ns));
      tracer.hop(HOP.reportedRead, positive(read_ns - reported_ns));
      return;
    }
    const start_ns = reader.start_s[row]! * 1e9 + this.offset_ns;
    const stop_ns = reader.stop_s[row]! * 1e9 + this.offset_ns;
    if (reader.start_s[row] === 0 || reader.stop_s[row] === 0) return;
    tracer.hop(HOP.writtenStart, positive(start_ns - written_ns));
    tracer.hop(HOP.startStop, positive(stop_ns - start_ns));
    tracer.hop(HOP.stopRead, positive(read_ns - stop_ns));
  }

  /** The packet's reports took effect: the hop from read to finished, and the stamp for the next. */
  finished(reader: WorkerReader, ns: number, finished_ns: number): void {
    const { stamp_ns } = this.#tasks;
    let count = 0;
    for (let row = 0; row < reader.count; row++) {
      if (reader.what[row] !== FINISHED || reader.task[row]! < 0) continue;
      stamp_ns[reader.task[row]!] = finished_ns;
      count++;
    }
    if (count > 0) this.#tracer.hops(HOP.readFinished, ns, count);
  }
}

/** Clocks of two threads differ by some tens of nanoseconds: a hop is never shorter than nothing. */
function positive(ns: number): number {
  return Math.max(0, ns);
}
