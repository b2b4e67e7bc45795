import { ProtocolError } from "../../protocol/errors.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { EventList } from "../../trace/events.ts";
import type { LargeMessageTurn, WindowFigures } from "../../trace/figures.ts";
import { Histogram } from "../../trace/histogram.ts";
import { HOP_COUNT, PHASE_COUNT, STAMP_COUNT, type Stamp } from "../../trace/phases.ts";
import { TaskRows } from "../../trace/task-rows.ts";
import type { LiveFacts, LiveTasks, LiveWindow } from "./window.ts";

/** Another number whenever the form changes: both sides must be of one. */
const WINDOW_SCHEMA = "rsds.window/2";

/** Histograms in their order: phases, hops, and these. */
const SINGLE = ["gc_histogram", "idle_histogram", "turn_histogram"] as const;
const HISTOGRAM_COUNT = PHASE_COUNT + HOP_COUNT + SINGLE.length;
/** Numbers of the figures in their order. */
const NUMBERS = [
  "start_ns",
  "end_ns",
  "gc_ns",
  "idle_ns",
  "unattributed_ns",
  "unclaimed_ns",
  "gc_unplaced_ns",
  "unbalanced",
  "plain_turn_max_ns",
] as const;
const PROBE = ["cost_ns", "count", "total_ns"] as const;

/** A window as a message: numbers as little-endian arrays, of a histogram only the steps that were counted in. */
export function windowToWire({ facts, figures, tasks }: LiveWindow): WireMap {
  const { phase_histograms, hop_histograms, events, probe } = figures;
  const histograms = [...phase_histograms, ...hop_histograms, ...SINGLE.map((name) => figures[name])];
  return WireMap.of({
    schema: WINDOW_SCHEMA,
    facts: JSON.stringify(facts),
    numbers: bytesOf(Float64Array.from([...NUMBERS.map((n) => figures[n]), ...PROBE.map((n) => probe[n])])),
    phase_ns: bytesOf(figures.phase_ns),
    histograms: histograms.map((histogram) => bytesOf(histogram.steps())),
    maxima: bytesOf(Float64Array.from(histograms, (histogram) => histogram.parts().max)),
    large_messages: JSON.stringify(figures.large_messages),
    events: [bytesOf(events.starts), bytesOf(events.ends), events.kinds, events.dropped],
    tasks: tasks === null ? null : tasksToWire(tasks),
  });
}

function tasksToWire({ rows, key, worker }: LiveTasks): WireMap {
  const stamps = new Float64Array(rows.count * STAMP_COUNT);
  const worker_of = new Int32Array(rows.count);
  const keys: string[] = [];
  let workers = 0;
  for (let row = 0; row < rows.count; row++) {
    keys.push(key(row));
    worker_of[row] = rows.workerOf(row);
    workers = Math.max(workers, worker_of[row]! + 1);
    for (let stamp = 0; stamp < STAMP_COUNT; stamp++)
      stamps[row * STAMP_COUNT + stamp] = rows.stampOf(row, stamp as Stamp);
  }
  return WireMap.of({
    keys,
    workers: Array.from({ length: workers }, (_, index) => worker(index)),
    worker_of: bytesOf(worker_of),
    stamps: bytesOf(stamps),
  });
}

/** The inverse; throws ProtocolError for what is no window. */
export function windowFromWire(value: WireValue): LiveWindow {
  if (!(value instanceof WireMap) || value.get("schema") !== WINDOW_SCHEMA)
    throw wrong(`it is not in the form ${WINDOW_SCHEMA}`);
  return {
    facts: fromJson<LiveFacts>(value.get("facts"), "facts"),
    figures: figuresOf(value),
    tasks: tasksOf(value.get("tasks")),
  };
}

/** The schema's number vouches for what is in it. */
function fromJson<T>(value: WireValue | undefined, what: string): T {
  if (typeof value !== "string") throw wrong(`it has no ${what}`);
  try {
    return JSON.parse(value) as T;
  } catch (error) {
    if (error instanceof SyntaxError) throw wrong(`its ${what} are no JSON`);
    throw error;
  }
}

function figuresOf(value: WireMap): WindowFigures {
  const numbers = floats(value.get("numbers"), NUMBERS.length + PROBE.length);
  const maxima = floats(value.get("maxima"), HISTOGRAM_COUNT);
  const lists = value.get("histograms");
  if (!Array.isArray(lists) || lists.length !== HISTOGRAM_COUNT) throw wrong("it has other histograms");
  const histograms = lists.map((list, i) => {
    const histogram = Histogram.ofSteps(integers(list), maxima[i]!);
    if (histogram === null) throw wrong("a histogram cannot be read");
    return histogram;
  });
  const single = histograms.slice(PHASE_COUNT + HOP_COUNT);
  const named = Object.fromEntries(NUMBERS.map((name, i) => [name, numbers[i]!]));
  const probe = Object.fromEntries(PROBE.map((name, i) => [name, numbers[NUMBERS.length + i]!]));
  return {
    ...(named as Record<(typeof NUMBERS)[number], number>),
    probe: probe as Record<(typeof PROBE)[number], number>,
    phase_ns: floats(value.get("phase_ns"), PHASE_COUNT),
    phase_histograms: histograms.slice(0, PHASE_COUNT),
    hop_histograms: histograms.slice(PHASE_COUNT, PHASE_COUNT + HOP_COUNT),
    gc_histogram: single[0]!,
    idle_histogram: single[1]!,
    turn_histogram: single[2]!,
    large_messages: fromJson<LargeMessageTurn[]>(value.get("large_messages"), "large messages"),
    events: eventsOf(value.get("events")),
  };
}

function eventsOf(value: WireValue | undefined): EventList {
  if (!Array.isArray(value)) throw wrong("it has no events");
  const [starts, ends, kinds, dropped] = value;
  if (!(kinds instanceof Uint8Array) || typeof dropped !== "number") throw wrong("its events cannot be read");
  const count = kinds.length;
  return { starts: floats(starts, count), ends: floats(ends, count), kinds, count, dropped };
}

function tasksOf(value: WireValue | undefined): LiveTasks | null {
  if (value === null) return null;
  if (!(value instanceof WireMap)) throw wrong("its tasks cannot be read");
  const keys = texts(value.get("keys"));
  const workers = texts(value.get("workers"));
  const worker_of = integers(value.get("worker_of"));
  const stamps = floats(value.get("stamps"), keys.length * STAMP_COUNT);
  if (worker_of.length !== keys.length) throw wrong("its tasks are not all there");
  const rows = new TaskRows();
  rows.reserve(keys.length);
  for (let row = 0; row < keys.length; row++) {
    const worker = worker_of[row]! | 0;
    if (worker >= workers.length) throw wrong("a task is on a worker that is not named");
    rows.worker(row, worker);
    for (let stamp = 0; stamp < STAMP_COUNT; stamp++)
      rows.stamp(row, stamp as Stamp, stamps[row * STAMP_COUNT + stamp]!);
  }
  return { rows, key: (row) => keys[row]!, worker: (index) => workers[index]! };
}

/** Written on machines that are little-endian, as all that Node supports but one are. */
function bytesOf(array: Float64Array | Uint32Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function floats(value: WireValue | undefined, length: number): Float64Array {
  if (!(value instanceof Uint8Array) || value.byteLength !== 8 * length)
    throw wrong(`a row of ${length} numbers is of another length`);
  // A copy: what lies in a message may begin anywhere, and a Float64Array may not.
  return new Float64Array(Uint8Array.from(value).buffer);
}

function integers(value: WireValue | undefined): Uint32Array {
  if (!(value instanceof Uint8Array) || value.byteLength % 4 !== 0)
    throw wrong("a row of integers is cut off");
  return new Uint32Array(Uint8Array.from(value).buffer);
}

function texts(value: WireValue | undefined): string[] {
  if (!Array.isArray(value)) throw wrong("a list of texts is missing");
  return value.map((text) => {
    if (typeof text !== "string") throw wrong("a text is none");
    return text;
  });
}

function wrong(what: string): ProtocolError {
  return new ProtocolError("BAD_WINDOW", `the scheduler's window cannot be read: ${what}`);
}
