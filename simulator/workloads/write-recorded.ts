import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { NONE } from "../../src/base/ids.ts";
import { IndexedHeap } from "../../src/base/indexed-heap.ts";
import { type RecordedFigures, recordedFigures } from "./figures.ts";
import type { Recording } from "./recording.ts";

/** Columns behind the first five, which every recorded graph has: what a replay needs, and what was seen. */
const COLUMNS = [
  ...["id", "prefix", "dependencies", "duration_us", "nbytes"],
  ...[
    "graph",
    "client",
    "submit_us",
    "intake_us",
    "think_us",
    "wanted",
    "worker",
    "start_us",
    "overhead_us",
    "fetch_lag_us",
    "report_us",
  ],
  ...["transfer_us", "transfer_bytes"],
];
const PAYLOAD_COLUMNS = ["key", "payload"];

/** What else a recording's header says. */
export interface RecordingFacts {
  readonly name: string;
  readonly version: string;
  /** The scheduler's policy. */
  readonly scheduler: string;
  /** Of the recording's beginning, ISO. */
  readonly started_at: string;
  readonly seconds: number;
  readonly payloads: boolean;
}

/** The header of a recorded graph, as {@link writeRecorded} makes it. */
export interface RecordedHeader {
  readonly name: string;
  readonly dask: string;
  readonly tasks: number;
  readonly deps: number;
  readonly lp: number;
  readonly with_duration: number;
  readonly avg_dur_ms: number;
  readonly avg_size_kib: number;
  /** From the first graph's arrival until the last wanted key that came to an end had. */
  readonly makespan_s: number;
  readonly note: string;
  readonly columns: readonly string[];
  readonly rsds: { readonly version: string };
  readonly started_at: string;
  readonly seconds: number;
  readonly graphs: number;
  readonly clients: number;
  /** Tasks that were data already, and those that failed: both are among `tasks`. */
  readonly data: number;
  readonly failed: number;
  readonly recomputed: number;
  /** Tasks that had not come to an end; they are not in the file. */
  readonly unfinished: number;
  readonly payloads_left_out: number;
  readonly setup: RecordedSetup;
}

/** What the tasks were run by. */
interface RecordedSetup {
  readonly scheduler: string;
  /** Threads of each. */
  readonly workers: readonly number[];
  readonly message_us: number;
  readonly transfers: {
    readonly count: number;
    readonly bytes: number;
    readonly latency_us: number;
    readonly bandwidth: number | null;
  };
}

/**
 * Writes what was recorded as a recorded graph, which {@link readRecorded} reads. Tasks that had not come to an end are left
 * out. Rejects with the system's error; then there is no file.
 */
export async function writeRecorded(
  path: string,
  recording: Recording,
  facts: RecordingFacts,
): Promise<RecordedHeader> {
  const table = new RecordedTable(recording);
  const header = table.header(facts);
  const part = `${path}.part`;
  try {
    await pipeline(Readable.from(table.lines(header)), createGzip(), createWriteStream(part));
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
  return header;
}

/** The tasks of the file, in its order. */
class RecordedTable {
  readonly #recording: Recording;
  readonly #figures: RecordedFigures;
  /** Rows in the order of the file. */
  readonly #order: Int32Array;
  /** By row: its id in the file, NONE: it is not in it. */
  readonly #id: Int32Array;
  readonly #wanted: Uint8Array;
  readonly #first_ns: number;
  /** By graph: how long its client waited with it after all that it wanted before had come to an end; null: it did not. */
  readonly #think_ns: readonly (number | null)[];

  constructor(recording: Recording) {
    this.#recording = recording;
    this.#figures = recordedFigures(recording);
    this.#order = orderOf(recording, keptRows(recording));
    this.#id = new Int32Array(recording.rows).fill(NONE);
    this.#order.forEach((row, id) => {
      this.#id[row] = id;
    });
    this.#wanted = new Uint8Array(recording.rows);
    for (const { wanted } of recording.submissions) for (const row of wanted) this.#wanted[row] = 1;
    this.#first_ns = recording.submissions[0]?.submitted_ns ?? 0;
    this.#think_ns = thinkTimes(recording);
  }

  header(facts: RecordingFacts): RecordedHeader {
    const recording = this.#recording;
    const { duration_ns, message_ns, transfers } = this.#figures;
    const rows = [...this.#order];
    const longest = new Int32Array(recording.rows);
    let deps = 0;
    let end_ns = this.#first_ns;
    for (const row of rows) {
      for (const dependency of this.#dependencies(row)) {
        deps++;
        longest[row] = Math.max(longest[row]!, longest[dependency]! + 1);
      }
      if (this.#wanted[row] === 1 && recording.finished(row))
        end_ns = Math.max(end_ns, recording.read_ns[row]!);
    }
    const timed = rows.filter((row) => !Number.isNaN(duration_ns[row]!));
    const mean = (sum: number, count: number): number => (count === 0 ? 0 : sum / count);
    const data = rows.filter((row) => !recording.finished(row)).length;
    return {
      name: facts.name,
      dask: [...new Set(recording.workers.map(({ release }) => release))].join(", "),
      tasks: rows.length,
      deps,
      lp: rows.reduce((most, row) => Math.max(most, longest[row]!), 0),
      with_duration: timed.length,
      avg_dur_ms: round(mean(timed.reduce((sum, row) => sum + duration_ns[row]!, 0) / 1e6, timed.length), 3),
      avg_size_kib: round(
        mean(rows.reduce((sum, row) => sum + Math.max(0, recording.nbytes[row]!), 0) / 1024, rows.length),
        3,
      ),
      makespan_s: round((end_ns - this.#first_ns) / 1e9, 6),
      note: "recorded by rsds record",
      columns: facts.payloads ? [...COLUMNS, ...PAYLOAD_COLUMNS] : COLUMNS,
      rsds: { version: facts.version },
      started_at: facts.started_at,
      seconds: facts.seconds,
      graphs: recording.submissions.length,
      clients: new Set(recording.submissions.map(({ client }) => client)).size,
      data,
      failed: rows.filter((row) => recording.failed[row]).length,
      recomputed: recording.recomputed,
      unfinished: recording.outside.filter((outside, row) => !outside && !recording.finished(row)).length,
      payloads_left_out: recording.payloads_left_out,
      setup: {
        scheduler: facts.scheduler,
        workers: recording.workers.map(({ threads }) => threads),
        message_us: round(message_ns / 1e3, 1),
        transfers: {
          count: transfers.count,
          bytes: transfers.bytes,
          latency_us: round(transfers.latency_ns / 1e3, 1),
          bandwidth: transfers.bandwidth === null ? null : Math.round(transfers.bandwidth),
        },
      },
    };
  }

  *lines(header: RecordedHeader): Generator<string> {
    yield `${JSON.stringify(header)}\n`;
    const payloads = header.columns.length > COLUMNS.length;
    for (const row of this.#order)
      yield `${JSON.stringify([...this.#row(row), ...(payloads ? this.#payload(row) : [])])}\n`;
  }

  #row(row: number): unknown[] {
    const recording = this.#recording;
    const figures = this.#figures;
    const submission = recording.submission[row]!;
    const { submitted_ns, known_ns, client } = recording.submissions[submission]!;
    const worker = recording.worker[row]!;
    return [
      this.#id[row],
      recording.prefixes[recording.prefix[row]!],
      this.#dependencies(row).map((dependency) => this.#id[dependency]),
      micros(figures.duration_ns[row]!),
      Math.max(0, recording.nbytes[row]!),
      submission,
      client,
      micros(submitted_ns - this.#first_ns),
      micros(known_ns - submitted_ns),
      micros(this.#think_ns[submission] ?? Number.NaN),
      this.#wanted[row],
      worker < 0 ? null : worker,
      micros(figures.start_ns[row]! - this.#first_ns),
      micros(figures.overhead_ns[row]!),
      micros(figures.fetch_lag_ns[row]!),
      micros(figures.report_ns[row]!),
      micros(figures.transfer_ns[row]!),
      figures.transfer_bytes[row],
    ];
  }

  #payload(row: number): unknown[] {
    const payload = this.#recording.payloads.get(row);
    if (payload === undefined) return [null, null];
    const frames = payload.frames.map((frame) => Buffer.from(frame).toString("base64"));
    return [payload.key, [payload.form, ...frames]];
  }

  /** Those in the file. */
  #dependencies(row: number): readonly number[] {
    return this.#recording.dependenciesOf(row).filter((dependency) => this.#id[dependency] !== NONE);
  }
}

/** What came to an end, and the data that it was made of. */
function keptRows(recording: Recording): Uint8Array {
  const kept = new Uint8Array(recording.rows);
  for (let row = 0; row < recording.rows; row++) {
    if (!recording.finished(row)) continue;
    kept[row] = 1;
    for (const dependency of recording.dependenciesOf(row))
      if (recording.outside[dependency] && recording.nbytes[dependency]! >= 0) kept[dependency] = 1;
  }
  return kept;
}

/** By Dask's priority as far as that lets every task come behind what it depends on; data first. */
function orderOf(recording: Recording, kept: Uint8Array): Int32Array {
  const rows = Array.from({ length: recording.rows }, (_, row) => row).filter((row) => kept[row] === 1);
  const data = (row: number): number => (recording.finished(row) ? 1 : 0);
  rows.sort(
    (a, b) =>
      data(a) - data(b) ||
      recording.user_priority[a]! - recording.user_priority[b]! ||
      recording.generation[a]! - recording.generation[b]! ||
      recording.order[a]! - recording.order[b]! ||
      a - b,
  );
  const rank = new Int32Array(recording.rows);
  rows.forEach((row, i) => {
    rank[row] = i;
  });
  const waiting_on = new Int32Array(recording.rows);
  const dependents = new Map<number, number[]>();
  for (const row of rows)
    for (const dependency of recording.dependenciesOf(row)) {
      if (kept[dependency] === 0) continue;
      waiting_on[row]!++;
      const others = dependents.get(dependency);
      if (others === undefined) dependents.set(dependency, [row]);
      else others.push(row);
    }
  const ready = new IndexedHeap();
  for (const row of rows) if (waiting_on[row] === 0) ready.set(row, rank[row]!);
  const order = new Int32Array(rows.length);
  for (let i = 0; i < order.length; i++) {
    const row = ready.top;
    ready.delete(row);
    order[i] = row;
    for (const dependent of dependents.get(row) ?? [])
      if (--waiting_on[dependent]! === 0) ready.set(dependent, rank[dependent]!);
  }
  return order;
}

/** A graph that came when nothing of its client's was wanted any more waited for those results, and then for so long. */
function thinkTimes(recording: Recording): (number | null)[] {
  /** By client: when the last key that it wants will have come to an end. */
  const busy_ns = new Map<number, number>();
  return recording.submissions.map(({ client, submitted_ns, wanted }) => {
    const until_ns = busy_ns.get(client);
    const end_ns = wanted.reduce(
      (last, row) =>
        Math.max(last, recording.finished(row) ? recording.read_ns[row]! : Number.POSITIVE_INFINITY),
      0,
    );
    busy_ns.set(client, Math.max(until_ns ?? 0, end_ns));
    return until_ns === undefined || until_ns > submitted_ns ? null : submitted_ns - until_ns;
  });
}

function micros(ns: number): number | null {
  return Number.isNaN(ns) ? null : Math.round(ns / 1e3);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
