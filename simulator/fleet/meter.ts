import { Histogram } from "../../src/trace/histogram.ts";

/**
 * What a fleet did and how long it took, as it saw it. Times in nanoseconds of the fleet's clock; the phases are
 * those of CONTRACT's `fleet.phases` that are measured by spans (`read` and `idle` come from the event loop).
 */
export class FleetMeter {
  decode_ns = 0;
  work_ns = 0;
  encode_ns = 0;
  write_ns = 0;

  /** `compute-task` messages taken; a task that is sent again counts again. */
  tasks_received = 0;
  /** `task-finished` messages written. */
  tasks_finished = 0;
  /** `task-erred` messages written: tasks that a zero worker cannot stand in for. */
  tasks_erred = 0;
  keys_added = 0;
  steals_asked = 0;
  keys_released = 0;

  messages_in = 0;
  messages_out = 0;
  batches_in = 0;
  batches_out = 0;
  /** Framed bytes of the scheduler streams; requests on connections of their own are not in it. */
  bytes_in = 0;
  bytes_out = 0;

  /** The first compute-task was taken, the last report of one was handed over; 0 before. */
  first_task_ns = 0;
  last_finished_ns = 0;

  /** Messages in each batch of a stream. */
  readonly batch_in = new Histogram();
  readonly batch_out = new Histogram();
  /** From a worker's report of a task to the batch that brings its next one, ns. */
  readonly report_to_next_task = new Histogram();

  /** By name: stream operations that no zero worker knows. */
  readonly unknown_ops = new Map<string, number>();

  /** A copy to subtract from later, or to post. */
  counts(): FleetCounts {
    return {
      ...{
        decode_ns: this.decode_ns,
        work_ns: this.work_ns,
        encode_ns: this.encode_ns,
        write_ns: this.write_ns,
      },
      tasks_received: this.tasks_received,
      tasks_finished: this.tasks_finished,
      tasks_erred: this.tasks_erred,
      keys_added: this.keys_added,
      steals_asked: this.steals_asked,
      keys_released: this.keys_released,
      messages_in: this.messages_in,
      messages_out: this.messages_out,
      batches_in: this.batches_in,
      batches_out: this.batches_out,
      bytes_in: this.bytes_in,
      bytes_out: this.bytes_out,
    };
  }
}

/** The counters of a meter at one moment, or between two. */
export interface FleetCounts {
  decode_ns: number;
  work_ns: number;
  encode_ns: number;
  write_ns: number;
  tasks_received: number;
  tasks_finished: number;
  tasks_erred: number;
  keys_added: number;
  steals_asked: number;
  keys_released: number;
  messages_in: number;
  messages_out: number;
  batches_in: number;
  batches_out: number;
  bytes_in: number;
  bytes_out: number;
}

/** `after` − `before`, counter by counter. */
export function countsBetween(before: FleetCounts, after: FleetCounts): FleetCounts {
  const difference = { ...after };
  for (const name of Object.keys(after) as (keyof FleetCounts)[]) difference[name] -= before[name];
  return difference;
}
