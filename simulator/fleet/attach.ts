import { TcpTransport } from "../../src/comm/tcp.ts";
import { buildFleetDocument, type FleetDocument, writeFleetFolder } from "../../src/results/fleet.ts";
import { Fleet } from "./fleet.ts";
import { type FlushMode, NO_TRACING } from "./fleet-context.ts";
import type { Release } from "./release.ts";

/** Options of `rsds fleet ADDRESS`. */
export interface AttachOptions {
  /** The scheduler's address, with or without `tcp://`. */
  readonly address: string;
  readonly workers: number;
  readonly release: Release;
  readonly flush: FlushMode;
  /** How long to stay; null: until the scheduler closes or the signal aborts. */
  readonly seconds: number | null;
  /** The folder that results go to; null: none. */
  readonly out: string | null;
  readonly log: (text: string) => void;
  /** Called when every worker is registered. */
  readonly onStarted?: () => void;
}

/** What became of an attached fleet. */
export interface Attached {
  /** `rsds.fleet/1`, as it was written if there is a folder. */
  readonly document: FleetDocument;
  /** Why it ended: "seconds", "interrupted", or what the last worker was told. */
  readonly ended: string;
}

/**
 * Attaches zero workers to any scheduler that speaks the Dask protocol, and stays until the time is over, the
 * scheduler is gone or `signal` aborts; what was seen until then is the result. Rejects if the fleet cannot start.
 */
export async function attachFleet(options: AttachOptions, signal: AbortSignal): Promise<Attached> {
  const { workers, release, flush, log, seconds } = options;
  const address = options.address.includes("://") ? options.address : `tcp://${options.address}`;
  const started_at_ms = Date.now();
  const transport = new TcpTransport();
  const fleet = new Fleet({
    transport,
    address,
    workers,
    release,
    flush,
    stamps: false,
    tracing: NO_TRACING,
    log,
  });
  const abort = (): void => fleet.close("interrupted");
  signal.addEventListener("abort", abort, { once: true });
  let timer: NodeJS.Timeout | null = null;
  try {
    signal.throwIfAborted();
    await fleet.start();
    options.onStarted?.();
    const mark = fleet.mark();
    if (seconds !== null) timer = setTimeout(() => fleet.close("seconds"), seconds * 1e3);
    const ended = await fleet.closed;
    const figures = fleet.figuresSince(mark);
    const { meter } = fleet;
    const document = buildFleetDocument({
      run: { address, workers, release, flush, seconds },
      started_at_ms,
      tasks: meter.tasks_finished,
      first_task_ns: meter.tasks_received > 0 ? meter.first_task_ns : null,
      last_finished_ns: meter.last_finished_ns > 0 ? meter.last_finished_ns : null,
      steals_asked: meter.steals_asked,
      // A zero worker has done a task before it can be asked for it: nothing is ever given away.
      steals_done: 0,
      messages_in: meter.messages_in,
      messages_out: meter.messages_out,
      bytes_in: meter.bytes_in,
      bytes_out: meter.bytes_out,
      batch_in: meter.batch_in,
      batch_out: meter.batch_out,
      report_to_next_task: meter.report_to_next_task,
      cpu_ns: figures.cpu_ns,
    });
    const { out } = options;
    return {
      document: out === null ? document : await writeFleetFolder(out, document, meter.report_to_next_task),
      ended,
    };
  } finally {
    if (timer !== null) clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    fleet.close("the command ended");
  }
}
