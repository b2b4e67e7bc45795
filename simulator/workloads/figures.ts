import type { RecordedTransfer, Recording } from "./recording.ts";

/** How long things took beside the tasks themselves; times ns on the scheduler's clock, by row. NaN: not known. */
export interface RecordedFigures {
  readonly start_ns: Float64Array;
  readonly duration_ns: Float64Array;
  /** From the moment in which a task's worker had it, its inputs and a free thread until its code began. */
  readonly overhead_ns: Float64Array;
  /** From the moment in which a task's worker had it, and was through with what it fetched before, until it asked for its inputs. */
  readonly fetch_lag_ns: Float64Array;
  /** From its code's end until the scheduler read of it, beyond a message's way. */
  readonly report_ns: Float64Array;
  /** What its worker fetched on its account. */
  readonly transfer_ns: Float64Array;
  readonly transfer_bytes: Float64Array;
  /** The way of a message between scheduler and worker: what no message was quicker than. */
  readonly message_ns: number;
  readonly transfers: TransferFigures;
}

/** Gathers of all workers: the line `latency + bytes / bandwidth` that fits their times best. */
interface TransferFigures {
  readonly count: number;
  readonly bytes: number;
  readonly latency_ns: number;
  /** Bytes a second; null: none was large enough to tell. */
  readonly bandwidth: number | null;
}

/** A worker may say that data has arrived so much before it had, by our reckoning of its clock. */
const EARLY_NS = 2e6;

/** A gather whose keys are known. */
interface Gather {
  readonly start_ns: number;
  readonly stop_ns: number;
  readonly bytes: number;
  /** When the worker was through with what it had fetched from there before. */
  readonly before_ns: number;
}

export function recordedFigures(recording: Recording): RecordedFigures {
  const clocks = alignClocks(recording);
  const gathers = matchGathers(recording, clocks);
  const { rows } = recording;
  const column = (): Float64Array => new Float64Array(rows).fill(Number.NaN);
  const figures = {
    start_ns: column(),
    duration_ns: column(),
    overhead_ns: column(),
    fetch_lag_ns: new Float64Array(rows),
    report_ns: column(),
    transfer_ns: new Float64Array(rows),
    transfer_bytes: new Float64Array(rows),
    message_ns: clocks.message_ns,
    transfers: fitTransfers(gathers.all),
  };
  for (const { row, worker, start_s, stop_s } of recording.transfers) {
    figures.transfer_ns[row]! += (stop_s - start_s) * 1e9;
    figures.transfer_bytes[row]! += gathers.bytes.get(`${worker} ${stop_s}`) ?? 0;
  }
  const free_ns = threadsFree(recording, clocks);
  for (let row = 0; row < rows; row++) {
    const start_s = recording.start_s[row]!;
    if (Number.isNaN(start_s)) continue;
    const worker = recording.worker[row]!;
    const start_ns = clocks.ours(worker, start_s);
    const stop_ns = clocks.ours(worker, recording.stop_s[row]!);
    figures.start_ns[row] = start_ns;
    figures.duration_ns[row] = Math.max(0, (recording.stop_s[row]! - start_s) * 1e9);
    figures.report_ns[row] = Math.max(0, recording.read_ns[row]! - stop_ns - clocks.message_ns);
    const here_ns = recording.assigned_ns[row]! + clocks.message_ns;
    if (Number.isNaN(here_ns)) continue;
    const inputs = gathers.inputsOf(row, here_ns);
    const ready_ns = Math.max(here_ns, free_ns[row]!, inputs.ready_ns);
    figures.overhead_ns[row] = Math.max(0, start_ns - ready_ns);
    figures.fetch_lag_ns[row] = inputs.lag_ns;
  }
  return figures;
}

interface Clocks {
  readonly message_ns: number;
  /** A worker's time, s, as ns of the scheduler's clock. */
  ours(worker: number, time_s: number): number;
}

/** While a worker's clock was the same number of nanoseconds ahead of ours. */
interface ClockSpan {
  /** From this time on, s, as the worker had it. */
  readonly from_s: number;
  readonly offset_ns: number;
}

/**
 * No task starts before it was assigned, and no report is read before its task stopped: each task says between which bounds
 * its worker's clock was ahead of ours. Workers set theirs anew by each heartbeat, by milliseconds on a busy machine. So as
 * many tasks in a row as leave anything open between their bounds are taken for a span in which the clock was one, and it
 * is taken to lie in the middle: then the quickest message took as long in both directions.
 */
function alignClocks(recording: Recording): Clocks {
  const rows = Array.from({ length: recording.rows }, (_, row) => row)
    .filter((row) => !Number.isNaN(recording.start_s[row]!))
    .sort((a, b) => recording.read_ns[a]! - recording.read_ns[b]!);
  const behind = (row: number): number => recording.stop_s[row]! * 1e9 - recording.read_ns[row]!;
  // NaN, of a task that was assigned before the recording, is no bound.
  const ahead = (row: number): number => {
    const ns = recording.start_s[row]! * 1e9 - recording.assigned_ns[row]!;
    return Number.isNaN(ns) ? Number.POSITIVE_INFINITY : ns;
  };
  const quickest_ns = rows.reduce(
    (least, row) => Math.min(least, ahead(row) - behind(row)),
    Number.POSITIVE_INFINITY,
  );
  const message_ns = Number.isFinite(quickest_ns) ? Math.max(0, quickest_ns / 2) : 0;
  const spans = recording.workers.map((_, worker) => {
    const own = new ClockSpans(message_ns);
    for (const row of rows)
      if (recording.worker[row] === worker) own.add(recording.start_s[row]!, behind(row), ahead(row));
    return own.end();
  });
  return {
    message_ns,
    ours: (worker, time_s) => time_s * 1e9 - offsetAt(spans[worker]!, time_s),
  };
}

/** The last span that has begun by then, else the first. */
function offsetAt(spans: readonly ClockSpan[], time_s: number): number {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle]!.from_s <= time_s) low = middle + 1;
    else high = middle;
  }
  return spans[Math.max(0, low - 1)]?.offset_ns ?? 0;
}

/** Finds the spans of one worker's clock. */
class ClockSpans {
  readonly #message_ns: number;
  readonly #spans: ClockSpan[] = [];
  #from_s = 0;
  #behind_ns = Number.NEGATIVE_INFINITY;
  #ahead_ns = Number.POSITIVE_INFINITY;

  constructor(message_ns: number) {
    this.#message_ns = message_ns;
  }

  /** The bounds that a task sets; tasks come in the order of their reports. */
  add(start_s: number, behind_ns: number, ahead_ns: number): void {
    const behind = Math.max(this.#behind_ns, behind_ns);
    const ahead = Math.min(this.#ahead_ns, ahead_ns);
    const fits = behind <= ahead;
    if (!fits) this.end();
    if (!fits || !Number.isFinite(this.#behind_ns)) this.#from_s = start_s;
    this.#behind_ns = fits ? behind : behind_ns;
    this.#ahead_ns = fits ? ahead : ahead_ns;
  }

  /** Tasks that stood in a queue leave much open on one side: then the quickest report took as long as messages do. */
  end(): readonly ClockSpan[] {
    if (!Number.isFinite(this.#behind_ns)) return this.#spans;
    const middle_ns = (this.#behind_ns + this.#ahead_ns) / 2;
    this.#spans.push({
      from_s: this.#from_s,
      offset_ns: Math.min(middle_ns, this.#behind_ns + this.#message_ns),
    });
    return this.#spans;
  }
}

/** By row: when the thread that ran it was through with what it ran before; −Infinity: nothing. */
function threadsFree(recording: Recording, clocks: Clocks): Float64Array {
  const free_ns = new Float64Array(recording.rows).fill(Number.NEGATIVE_INFINITY);
  const started = Array.from({ length: recording.rows }, (_, row) => row)
    .filter((row) => !Number.isNaN(recording.start_s[row]!))
    .sort((a, b) => recording.start_s[a]! - recording.start_s[b]!);
  const last_stop_ns = new Map<string, number>();
  for (const row of started) {
    const worker = recording.worker[row]!;
    const thread = `${worker} ${recording.thread[row]}`;
    free_ns[row] = last_stop_ns.get(thread) ?? Number.NEGATIVE_INFINITY;
    last_stop_ns.set(thread, clocks.ours(worker, recording.stop_s[row]!));
  }
  return free_ns;
}

interface Gathers {
  readonly all: readonly Gather[];
  /** By worker and end of the transfer: its bytes. */
  readonly bytes: ReadonlyMap<string, number>;
  /**
   * When the last input that a row's worker fetched was there, and how long it took the worker, which had the task at
   * `here_ns`, to ask for the first of those that it asked for since.
   */
  inputsOf(row: number, here_ns: number): { readonly ready_ns: number; readonly lag_ns: number };
}

/** A gather's report has its times and not its keys, and the worker's `add-keys` that follows has its keys. */
function matchGathers(recording: Recording, clocks: Clocks): Gathers {
  const all: Gather[] = [];
  const bytes = new Map<string, number>();
  /** By worker and row: the gather that brought it, or when it was there. */
  const arrived = recording.workers.map(() => new Map<number, Gather | number>());
  for (let worker = 0; worker < recording.workers.length; worker++) {
    const ended = recording.transfers.filter((one) => one.worker === worker).sort(byStop);
    const arrivals = recording.arrivals.filter((one) => one.worker === worker);
    const through_ns = new Map<number, number>();
    let at = 0;
    const unmatched = (until_ns: number): void => {
      for (; at < arrivals.length && arrivals[at]!.read_ns < until_ns; at++)
        for (const row of arrivals[at]!.rows)
          arrived[worker]!.set(row, arrivals[at]!.read_ns - clocks.message_ns);
    };
    for (const transfer of ended) {
      const stop_ns = clocks.ours(worker, transfer.stop_s);
      unmatched(stop_ns - EARLY_NS);
      const arrival = arrivals[at++];
      if (arrival === undefined) break;
      const gather = {
        start_ns: clocks.ours(worker, transfer.start_s),
        stop_ns,
        before_ns: through_ns.get(transfer.source) ?? Number.NEGATIVE_INFINITY,
        bytes: arrival.rows.reduce((sum, row) => sum + Math.max(0, recording.nbytes[row]!), 0),
      };
      through_ns.set(transfer.source, stop_ns);
      all.push(gather);
      bytes.set(`${worker} ${transfer.stop_s}`, gather.bytes);
      for (const row of arrival.rows) arrived[worker]!.set(row, gather);
    }
    unmatched(Number.POSITIVE_INFINITY);
  }
  return { all, bytes, inputsOf: (row, here_ns) => inputsOf(recording, arrived, row, here_ns) };
}

function byStop(one: RecordedTransfer, other: RecordedTransfer): number {
  return one.stop_s - other.stop_s;
}

function inputsOf(
  recording: Recording,
  arrived: readonly ReadonlyMap<number, Gather | number>[],
  row: number,
  here_ns: number,
): { ready_ns: number; lag_ns: number } {
  let ready_ns = Number.NEGATIVE_INFINITY;
  let first: Gather | null = null;
  const own = arrived[recording.worker[row]!]!;
  for (const dependency of recording.dependenciesOf(row)) {
    const how = own.get(dependency);
    if (how === undefined) continue;
    ready_ns = Math.max(ready_ns, typeof how === "number" ? how : how.stop_ns);
    if (typeof how === "number" || how.start_ns < here_ns) continue;
    if (first === null || how.start_ns < first.start_ns) first = how;
  }
  const lag_ns = first === null ? 0 : first.start_ns - Math.max(here_ns, first.before_ns);
  return { ready_ns, lag_ns: Math.max(0, lag_ns) };
}

/** What is smaller says nothing of the bandwidth: Dask's workers take theirs from as large ones, too. */
const LARGE_BYTES = 1e6;

/** Least squares, which keeps the sum of all times; neither part below zero. */
function fitTransfers(gathers: readonly Gather[]): TransferFigures {
  const count = gathers.length;
  let bytes = 0;
  let ns = 0;
  for (const one of gathers) {
    bytes += one.bytes;
    ns += one.stop_ns - one.start_ns;
  }
  if (count === 0) return { count, bytes, latency_ns: 0, bandwidth: null };
  const [mean_bytes, mean_ns] = [bytes / count, ns / count];
  let spread = 0;
  let both = 0;
  let squares = 0;
  let products = 0;
  for (const one of gathers) {
    const took_ns = one.stop_ns - one.start_ns;
    spread += (one.bytes - mean_bytes) ** 2;
    both += (one.bytes - mean_bytes) * (took_ns - mean_ns);
    squares += one.bytes ** 2;
    products += one.bytes * took_ns;
  }
  const slope = gathers.some((one) => one.bytes >= LARGE_BYTES) ? both / spread : 0;
  if (!(slope > 0)) return { count, bytes, latency_ns: mean_ns, bandwidth: null };
  const latency_ns = mean_ns - slope * mean_bytes;
  if (latency_ns >= 0) return { count, bytes, latency_ns, bandwidth: 1e9 / slope };
  return { count, bytes, latency_ns: 0, bandwidth: 1e9 / (products / squares) };
}
