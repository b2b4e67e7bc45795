import { ProtocolError } from "../../protocol/errors.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";

/** Another number whenever the form changes: both sides must be of one. */
const BATCH_SCHEMA = "rsds.recording/1";

/** A worker as it is first seen; its index is its place among all that the recording saw. */
export interface RecordedWorker {
  readonly threads: number;
  /** Of Dask: "2026.8". */
  readonly release: string;
}

/**
 * One graph as it came into the books. Its tasks have the rows from `first_row` on; the first `outside` of them are what the
 * graph needs and was there before the recording, or came from a client as data: they have no dependencies.
 */
export interface RecordedGraph {
  readonly submitted_ns: number;
  readonly known_ns: number;
  /** Number of the client among those that the recording saw. */
  readonly client: number;
  readonly first_row: number;
  readonly outside: number;
  /** By task: index of its prefix among all that the recording sent. */
  readonly prefixes: Uint32Array;
  /** By task: Dask's priority, [-user, generation, order]. */
  readonly user_priorities: Float64Array;
  readonly generations: Float64Array;
  readonly orders: Float64Array;
  /** By task: how many of `dependencies` are its own. */
  readonly dependency_counts: Uint32Array;
  /** Rows. */
  readonly dependencies: Uint32Array;
  /** Rows that the client waits for; some may be of earlier graphs. */
  readonly wanted: Uint32Array;
  /** By outside task: its size, −1 while it is not in memory, and a worker that holds it, −1. */
  readonly outside_nbytes: Float64Array;
  readonly outside_workers: Float64Array;
}

/** The kinds of {@link RecordedBatch.events}. */
export const EVENT = { finished: 1, added: 2 } as const;
/** The kinds of actions in a finished task's event. */
export const ACTION = { compute: 0, transfer: 1 } as const;

/** What happened since the last batch: graphs first, then events. */
export interface RecordedBatch {
  readonly workers: readonly RecordedWorker[];
  readonly prefixes: readonly string[];
  readonly graphs: readonly RecordedGraph[];
  /**
   * One after the other, in numbers. A task that finished: EVENT.finished, row, worker, assigned_ns (NaN: before the
   * recording), read_ns, nbytes, thread, 1 if it failed, count of actions, and for each action its kind, start_s, stop_s (the
   * worker's clock), source worker (−1: none). A worker that got data from others: EVENT.added, worker, read_ns, count, rows.
   */
  readonly events: Float64Array;
  /** Row, key as text, and what the worker runs: its form and its bytes. Only where payloads are asked for. */
  readonly payloads: readonly RecordedPayload[];
  /** Set in the last batch: why it is the last. */
  readonly end: string | null;
}

export interface RecordedPayload {
  readonly row: number;
  readonly key: string;
  readonly form: string;
  readonly frames: readonly Uint8Array[];
}

const COLUMNS = {
  prefixes: Uint32Array,
  user_priorities: Float64Array,
  generations: Float64Array,
  orders: Float64Array,
  dependency_counts: Uint32Array,
  dependencies: Uint32Array,
  wanted: Uint32Array,
  outside_nbytes: Float64Array,
  outside_workers: Float64Array,
} as const;
type ColumnKind = { new (buffer: ArrayBuffer): Column; readonly BYTES_PER_ELEMENT: number };
type Column = Float64Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
const COLUMN_NAMES = Object.keys(COLUMNS) as (keyof typeof COLUMNS)[];
/** Columns that have an element for each task of the graph. */
const TASK_COLUMNS = ["prefixes", "user_priorities", "generations", "orders", "dependency_counts"] as const;

/** A batch as a message: columns as little-endian arrays. */
export function batchToWire(batch: RecordedBatch): WireMap {
  return WireMap.of({
    schema: BATCH_SCHEMA,
    workers: batch.workers.map(({ threads, release }) => [threads, release]),
    prefixes: [...batch.prefixes],
    graphs: batch.graphs.map((graph) => [
      bytesOf(Float64Array.of(graph.submitted_ns, graph.known_ns)),
      graph.client,
      graph.first_row,
      graph.outside,
      ...COLUMN_NAMES.map((name) => bytesOf(graph[name])),
    ]),
    events: bytesOf(batch.events),
    payloads: batch.payloads.map(({ row, key, form, frames }) => [row, key, form, [...frames]]),
    end: batch.end,
  });
}

/** The inverse; throws ProtocolError for what is no batch. */
export function batchFromWire(value: WireValue): RecordedBatch {
  if (!(value instanceof WireMap) || value.get("schema") !== BATCH_SCHEMA)
    throw wrong(`it is not in the form ${BATCH_SCHEMA}`);
  const end = value.get("end") ?? null;
  if (end !== null && typeof end !== "string") throw wrong("its end is no text");
  return {
    workers: list(value.get("workers")).map((item) => {
      const [threads, release] = list(item);
      return { threads: count(threads), release: text(release) };
    }),
    prefixes: list(value.get("prefixes")).map(text),
    graphs: list(value.get("graphs")).map(graphOf),
    events: columnOf(value.get("events"), Float64Array),
    payloads: list(value.get("payloads")).map(payloadOf),
    end,
  };
}

function graphOf(value: WireValue): RecordedGraph {
  const [times, client, first_row, outside, ...packed] = list(value);
  const [submitted_ns, known_ns] = columnOf(times, Float64Array);
  if (submitted_ns === undefined || known_ns === undefined) throw wrong("a graph has no times");
  const columns = Object.fromEntries(
    COLUMN_NAMES.map((name, i) => [name, columnOf<Column>(packed[i], COLUMNS[name] as ColumnKind)]),
  ) as unknown as Pick<RecordedGraph, (typeof COLUMN_NAMES)[number]>;
  const graph = { submitted_ns, known_ns, ...numbers(client, first_row, outside), ...columns };
  const tasks = graph.prefixes.length;
  const dependencies = graph.dependency_counts.reduce((sum, each) => sum + each, 0);
  if (
    TASK_COLUMNS.some((name) => graph[name].length !== tasks) ||
    dependencies !== graph.dependencies.length ||
    graph.outside > tasks ||
    graph.outside_nbytes.length !== graph.outside ||
    graph.outside_workers.length !== graph.outside
  )
    throw wrong("a graph's columns are of different length");
  return graph;
}

function numbers(
  client: WireValue | undefined,
  first_row: WireValue | undefined,
  outside: WireValue | undefined,
): { client: number; first_row: number; outside: number } {
  return { client: count(client), first_row: count(first_row), outside: count(outside) };
}

function payloadOf(value: WireValue): RecordedPayload {
  const [row, key, form, frames] = list(value);
  return {
    row: count(row),
    key: text(key),
    form: text(form),
    frames: list(frames).map((frame) => {
      if (!(frame instanceof Uint8Array)) throw wrong("a payload's frame is no bytes");
      // A copy: the message that it lies in holds much else.
      return Uint8Array.from(frame);
    }),
  };
}

/** Written on machines that are little-endian, as all that Node supports but one are. */
function bytesOf(array: Float64Array | Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function columnOf<T extends Column>(
  value: WireValue | undefined,
  kind: { new (buffer: ArrayBuffer): T; readonly BYTES_PER_ELEMENT: number },
): T {
  if (!(value instanceof Uint8Array) || value.byteLength % kind.BYTES_PER_ELEMENT !== 0)
    throw wrong("a column is cut off");
  // A copy: what lies in a message may begin anywhere, and an array of numbers may not.
  return new kind(Uint8Array.from(value).buffer);
}

function list(value: WireValue | undefined): readonly WireValue[] {
  if (!Array.isArray(value)) throw wrong("a list is missing");
  return value;
}

function text(value: WireValue | undefined): string {
  if (typeof value !== "string") throw wrong("a text is missing");
  return value;
}

function count(value: WireValue | undefined): number {
  const number = toNumber(value);
  if (number === undefined || !Number.isInteger(number) || number < 0) throw wrong("a number is missing");
  return number;
}

function wrong(what: string): ProtocolError {
  return new ProtocolError("BAD_RECORDING", `what the scheduler recorded cannot be read: ${what}`);
}
