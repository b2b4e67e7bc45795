import type { TaskId, WorkerId } from "../../src/base/ids.ts";
import { grown } from "../../src/base/typed-arrays.ts";
import type { FleetHops } from "../../src/server/hops.ts";
import type { TaskStamps } from "../../src/server/task-stamps.ts";
import type { Histogram } from "../../src/trace/histogram.ts";
import { HOP, STAMP } from "../../src/trace/phases.ts";
import type { WorkerStamps } from "../fleet/stamps.ts";

const NO_ROW = -1;

/**
 * The hops of a zero worker's task, of which the scheduler sees both ends and the fleet the middle. What the
 * scheduler saw is kept here while the run lasts, and put together with the fleet's stamps when it is over: so
 * neither side waits for the other's, and the run does not pay for it.
 */
export class RunHops implements FleetHops {
  readonly #stamps: TaskStamps | null;
  #count = 0;
  #worker: Int32Array;
  #sequence: Float64Array;
  #written_ns: Float64Array;
  #read_ns: Float64Array;
  /** Of `--trace tasks`: a task may be forgotten before the run is over. */
  #row: Int32Array;

  /** `tasks` are made room for at once. */
  constructor(tasks: number, stamps: TaskStamps | null) {
    const room = Math.max(1, tasks);
    this.#stamps = stamps;
    this.#worker = new Int32Array(room);
    this.#sequence = new Float64Array(room);
    this.#written_ns = new Float64Array(room);
    this.#read_ns = new Float64Array(room);
    this.#row = new Int32Array(stamps === null ? 0 : room);
  }

  reported(worker: WorkerId, sequence: number, written_ns: number, read_ns: number, task: TaskId): void {
    const at = this.#count++;
    if (at === this.#worker.length) this.#grow();
    this.#worker[at] = worker;
    this.#sequence[at] = sequence;
    this.#written_ns[at] = written_ns;
    this.#read_ns[at] = read_ns;
    if (this.#stamps !== null) this.#row[at] = this.#stamps.rowOf(task) ?? NO_ROW;
  }

  /** Adds the three hops to the run's histograms, by hop id, and to the rows of its tasks. */
  complete(fleet: ReadonlyMap<WorkerId, WorkerStamps>, histograms: readonly Histogram[]): void {
    for (let at = 0; at < this.#count; at++) {
      const stamps = fleet.get(this.#worker[at]! as WorkerId);
      if (stamps === undefined) continue;
      const pair = 2 * (this.#sequence[at]! - stamps.first);
      // Of a task that was sent before the first stamp, or whose worker has gone in between.
      if (pair < 0 || pair >= stamps.pairs.length) continue;
      const received_ns = stamps.pairs[pair]!;
      const reported_ns = stamps.pairs[pair + 1]!;
      if (reported_ns === 0 || Number.isNaN(this.#written_ns[at]!)) continue;
      histograms[HOP.writtenReceived]!.record(between(this.#written_ns[at]!, received_ns));
      histograms[HOP.receivedReported]!.record(between(received_ns, reported_ns));
      histograms[HOP.reportedRead]!.record(between(reported_ns, this.#read_ns[at]!));
      const row = this.#stamps === null ? NO_ROW : this.#row[at]!;
      if (row === NO_ROW) continue;
      this.#stamps!.rows.stamp(row, STAMP.received, received_ns);
      this.#stamps!.rows.stamp(row, STAMP.reported, reported_ns);
    }
  }

  #grow(): void {
    const room = 2 * this.#worker.length;
    this.#worker = grown(this.#worker, room);
    this.#sequence = grown(this.#sequence, room);
    this.#written_ns = grown(this.#written_ns, room);
    this.#read_ns = grown(this.#read_ns, room);
    if (this.#stamps !== null) this.#row = grown(this.#row, room);
  }
}

/** Clocks of two threads differ by some tens of nanoseconds: a hop is never shorter than nothing. */
function between(from_ns: number, to_ns: number): number {
  return Math.max(0, to_ns - from_ns);
}
