import type { SchedulerServer } from "../server.ts";

/** What a server counted since its start: the ledger of the result documents, whose names these are. */
export interface ServerCounts {
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

/** The parts of a server that count. */
export type CountingParts = Pick<SchedulerServer, "scheduler" | "streams" | "outbox">;

export function serverCounts({ scheduler, streams, outbox }: CountingParts): ServerCounts {
  const { tasks_sent, tasks_finished, steals_asked, steals_done, recomputed } = scheduler.counts;
  return {
    ...{ tasks_sent, tasks_finished, steals_asked, steals_done, recomputed },
    bytes_in: streams.counts.bytes,
    bytes_out: outbox.counts.bytes,
    messages_in: streams.counts.messages,
    messages_out: outbox.counts.messages,
    batches_in: streams.counts.batches,
    batches_out: outbox.counts.batches,
  };
}

/** What was counted between two readings. */
export function countsBetween(before: ServerCounts, after: ServerCounts): ServerCounts {
  const names = Object.keys(after) as (keyof ServerCounts)[];
  return Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as Record<
    keyof ServerCounts,
    number
  >;
}
