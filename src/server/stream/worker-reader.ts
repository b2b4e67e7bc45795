import { NONE, type TaskId } from "../../base/ids.ts";
import { grown, IntStack, viewOf } from "../../base/typed-arrays.ts";
import type { Books } from "../../core/books.ts";
import type { FreedKeys } from "../../core/freed-keys.ts";
import type { WorkerBook } from "../../core/worker-book.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import type { FramedMessage } from "../../protocol/frames.ts";
import { isCanonicalKey, keyBytes } from "../../protocol/keys.ts";
import { asBuffer, packValue, unpackValue } from "../../protocol/msgpack.ts";
import { toNumber, type WireMap, type WireValue } from "../../protocol/values.ts";
import { ReportTemplate } from "./report-template.ts";
import type { TypeTable } from "./type-table.ts";
import { arrayCount, firstItem, mapCount, skip, startsWith, unsigned } from "./walk.ts";

/** What a row of the columns reports. */
export const FINISHED = 0;
export const ADDED = 1;
export const DROPPED = 2;
/** A message that is not hot: `task` is its index in the packet's list, and {@link WorkerReader.bounds} has its place. */
export const OTHER = 3;

const HOT: ReadonlyMap<string, number> = new Map([
  ["task-finished", FINISHED],
  ["add-keys", ADDED],
  ["release-worker-data", DROPPED],
]);
const OPS: readonly [Uint8Array, number][] = [...HOT].map(([op, what]) => [Buffer.from(op), what]);

/** Fields that the hot messages may have, by the slot that their value's place is noted in. */
const FIELDS = ["op", "key", "keys", "run_id", "nbytes", "type", "typename", "startstops"] as const;
const OP = 0;
const KEY = 1;
const KEYS = 2;
const RUN_ID = 3;
const NBYTES = 4;
const TYPE = 5;
const TYPENAME = 6;
const STARTSTOPS = 7;
const FIELD_BYTES = FIELDS.map((name) => Buffer.from(name));
/** The candidates for a name of each length: 1 << 4 covers the longest. */
const FIELDS_BY_LENGTH: readonly (readonly number[])[] = Array.from({ length: 16 }, (_, length) =>
  FIELD_BYTES.flatMap((bytes, slot) => (bytes.length === length ? [slot] : [])),
);

/**
 * Reads a worker's packet into columns: one row for each reported key, without an object a message. Fields of
 * the three messages that make up nearly all traffic are walked in their bytes; every other message becomes an
 * OTHER row, and the generic codec reads it. Rows keep the order of the packet.
 */
export class WorkerReader {
  count = 0;
  what = new Uint8Array(1024);
  /** The task, or NONE for a key that the scheduler does not know: then its bytes are in {@link unknownKey}. */
  task = new Int32Array(1024);
  run_id = new Float64Array(1024);
  nbytes = new Float64Array(1024);
  type = new Int32Array(1024);
  /** Start and stop of the compute action, seconds since the epoch by the worker's clock; 0: none. */
  start_s = new Float64Array(1024);
  stop_s = new Float64Array(1024);
  /** How many messages the packet had. */
  messages = 0;
  /** Where each message that is not hot begins and ends: two positions a message, in the order of their rows. */
  readonly bounds = new IntStack(64);

  readonly #books: Books;
  readonly #types: TypeTable;
  readonly #unknown = new Map<number, Uint8Array>();
  /** Start and end of the value of each field of the message at hand; start 0: the field is missing. */
  readonly #starts = new Int32Array(FIELDS.length);
  readonly #ends = new Int32Array(FIELDS.length);
  #guess: TaskId = NONE;
  /** Who was looked up last: keys that were made together have neighbouring ids, and often come together. */
  #last: TaskId = NONE;
  /** What the worker at hand was told to free. */
  #freed: FreedKeys | null = null;
  /** From the one before to the last, where they were neighbours: they come upwards, or downwards. */
  #step: 1 | -1 = 1;
  /** The form of the last task-finished. */
  readonly #finished = new ReportTemplate(FIELDS.length);
  /** The type that is a part of it, and whether start and stop are holes of their own. */
  #finished_type = NONE;
  #start_hole = -1;
  #stop_hole = -1;
  /** The form of the last release-worker-data. */
  readonly #dropped = new ReportTemplate(FIELDS.length);
  #view: DataView = new DataView(new ArrayBuffer(0));

  constructor(books: Books, types: TypeTable) {
    this.#books = books;
    this.#types = types;
  }

  /** Key bytes of a row whose task is NONE. */
  unknownKey(row: number): Uint8Array {
    return this.#unknown.get(row)!;
  }

  /** Throws ProtocolError if frame 0 is not a list of maps, or a hot message lacks what it must have. */
  read(message: FramedMessage, worker: WorkerBook): void {
    this.count = 0;
    this.bounds.clear();
    if (this.#unknown.size > 0) this.#unknown.clear();
    this.#guess = worker.first_processing;
    this.#freed = worker.freed;
    const { bytes } = message;
    const end = message.frameEnd(0);
    let at = message.frameStart(0);
    if (at >= end) throw new ProtocolError("BAD_STREAM_MESSAGE", "a stream message without content");
    const count = arrayCount(bytes, at, end);
    if (count < 0) throw new ProtocolError("BAD_STREAM_MESSAGE", "a stream message that is not a list");
    at = firstItem(bytes, at);
    this.messages = count;
    // Packets mostly come in one and the same buffer, as slices of different length: the view reaches to its end.
    if (this.#view.buffer !== bytes.buffer || this.#view.byteOffset !== bytes.byteOffset)
      this.#view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let i = 0; i < count; i++) at = this.#message(bytes, at, end, i);
    if (at !== end) throw new ProtocolError("TRAILING_BYTES", `${end - at} bytes after a stream message`);
  }

  /** One message of the list; returns the position behind it. */
  #message(bytes: Buffer, start: number, end: number, index: number): number {
    if (start >= end) throw new ProtocolError("TRUNCATED", "bytes end within a stream message");
    const behind = this.#matchedRow(bytes, start, end);
    if (behind >= 0) return behind;
    const count = mapCount(bytes, start, end);
    if (count < 0) throw new ProtocolError("BAD_STREAM_MESSAGE", "a message of a stream that is not a map");
    let at = firstItem(bytes, start);
    let plain = true;
    this.#starts.fill(0);
    for (let i = 0; i < count; i++) {
      const slot = fieldSlot(bytes, at, end);
      const value = slot < 0 ? skip(bytes, at, end) : at + 1 + FIELD_BYTES[slot]!.length;
      // A field's name may be written with a longer header than it needs.
      if (slot < 0 && isLongText(bytes[at]!)) plain = false;
      at = skip(bytes, value, end);
      if (slot < 0) continue;
      this.#starts[slot] = value;
      this.#ends[slot] = at;
    }
    const what = plain ? this.#row(bytes) : -1;
    if (what < 0) this.#slowRow(bytes, start, at, index);
    else if (what === OTHER) this.#other(start, at, index);
    else if (what === FINISHED && this.#finished.missed()) this.#learnFinished(bytes, start, at);
    else if (what === DROPPED && this.#dropped.missed()) this.#learn(this.#dropped, bytes, start, at);
    return at;
  }

  /** The position behind a message that one of the templates fits, once it is in the columns; −1: neither does. */
  #matchedRow(bytes: Buffer, start: number, end: number): number {
    const dropped = this.#dropped;
    let behind = dropped.match(bytes, this.#view, start, end);
    if (behind >= 0) {
      const hole = dropped.hole_of[KEY]!;
      this.#pushKey(DROPPED, bytes, dropped.starts[hole]!, dropped.ends[hole]!);
      return behind;
    }
    behind = this.#finished.match(bytes, this.#view, start, end);
    return behind >= 0 && this.#matchedFinished(bytes) ? behind : -1;
  }

  /** A task-finished that its template fits: false if one of its values is not of the form that is expected. */
  #matchedFinished(bytes: Buffer): boolean {
    const { starts, ends, hole_of } = this.#finished;
    const nbytes = unsigned(bytes, starts[hole_of[NBYTES]!]!);
    const run_hole = hole_of[RUN_ID]!;
    const run_id = run_hole < 0 ? 0 : unsigned(bytes, starts[run_hole]!);
    if (nbytes < 0 || run_id < 0) return false;
    const start_hole = this.#start_hole;
    const timed = start_hole >= 0;
    if (timed && (bytes[starts[start_hole]!] !== FLOAT || bytes[starts[this.#stop_hole]!] !== FLOAT))
      return false;
    const key = hole_of[KEY]!;
    const row = this.#pushKey(FINISHED, bytes, starts[key]!, ends[key]!);
    this.nbytes[row] = nbytes;
    this.run_id[row] = run_id;
    this.type[row] = this.#finished_type;
    this.start_s[row] = timed ? this.#view.getFloat64(starts[start_hole]! + 1) : 0;
    this.stop_s[row] = timed ? this.#view.getFloat64(starts[this.#stop_hole]! + 1) : 0;
    const list = hole_of[STARTSTOPS]!;
    if (list >= 0) this.#compute(bytes, starts[list]!, ends[list]!, row);
    return true;
  }

  #learnFinished(bytes: Buffer, start: number, end: number): void {
    this.#finished_type = this.type[this.count - 1]!;
    this.#start_hole = -1;
    this.#learn(this.#finished, bytes, start, end);
  }

  /** The message, which {@link #row} has just read, is the template from here on. */
  #learn(template: ReportTemplate, bytes: Buffer, start: number, end: number): void {
    template.learn(bytes, start, end);
    let seen = 0;
    let at = firstItem(bytes, start);
    for (let i = mapCount(bytes, start, end); i > 0; i--) {
      const slot = fieldSlot(bytes, at, end);
      const value = skip(bytes, at, end);
      at = skip(bytes, value, end);
      // Of fields that come twice the last one counts: the template would have to know which hole that is.
      if (slot >= 0 && seen & (1 << slot)) {
        template.forget();
        return;
      }
      if (slot >= 0) seen |= 1 << slot;
      // Of these a program has few: they are a part of the pattern.
      if (slot === OP || slot === TYPE || slot === TYPENAME) continue;
      if (slot === STARTSTOPS && template === this.#finished && this.#isOneCompute(bytes, value, at)) {
        this.#start_hole = template.hole(at - STOP.length - 18, at - STOP.length - 9);
        this.#stop_hole = template.hole(at - 9, at);
        continue;
      }
      const hole = template.hole(value, at);
      if (slot >= 0) template.hole_of[slot] = hole;
    }
    template.learned(end);
  }

  /** `[{"action": "compute", "start": float, "stop": float}]`, in that order: what nearly every report has. */
  #isOneCompute(bytes: Buffer, start: number, end: number): boolean {
    return (
      end - start === ONE_COMPUTE.length + 9 + STOP.length + 9 &&
      startsWith(bytes, start, ONE_COMPUTE) &&
      bytes[end - STOP.length - 18] === FLOAT &&
      startsWith(bytes, end - STOP.length - 9, STOP) &&
      bytes[end - 9] === FLOAT
    );
  }

  /** What the message is, once it is in the columns; −1: not of Dask's form, so that only {@link #slowRow} can tell. */
  #row(bytes: Buffer): number {
    const what = this.#op(bytes);
    if (what === FINISHED) return this.#finishedRow(bytes) ? what : -1;
    if (what === ADDED) return this.#addedRows(bytes) ? what : -1;
    if (what === DROPPED) {
      if (this.#starts[KEY] === 0) return -1;
      this.#pushKey(DROPPED, bytes, this.#starts[KEY]!, this.#ends[KEY]!);
      return what;
    }
    return isLongText(bytes[this.#starts[OP]!]!) ? -1 : what;
  }

  /**
   * A message in another form than Dask's own, such as a size that is a float, or a text with a longer header than it
   * needs: read by the generic codec. Throws ProtocolError for a hot one that lacks what it must have.
   */
  #slowRow(bytes: Buffer, start: number, end: number, index: number): void {
    const fields = unpackValue(bytes, start, end) as WireMap;
    const op = fields.get("op");
    const what = typeof op === "string" ? HOT.get(op) : undefined;
    if (what === undefined) {
      this.#other(start, end, index);
      return;
    }
    const keys = what === ADDED ? fields.get("keys") : [fields.get("key") ?? null];
    if (!Array.isArray(keys)) throw lacking(op);
    if (what === FINISHED) {
      this.#slowFinished(fields);
      return;
    }
    for (const value of keys) {
      const key = asBuffer(keyBytes(value));
      this.#pushKey(what, key, 0, key.length, viewOf(key));
    }
  }

  #slowFinished(fields: WireMap): void {
    const nbytes = toNumber(fields.get("nbytes"));
    const run_id = fields.has("run_id") ? toNumber(fields.get("run_id")) : 0;
    if (nbytes === undefined || !(nbytes >= 0) || run_id === undefined) throw lacking("task-finished");
    const key = asBuffer(keyBytes(fields.get("key") ?? null));
    const type = fields.get("type");
    const typename = fields.get("typename");
    const row = this.#pushKey(FINISHED, key, 0, key.length, viewOf(key));
    this.nbytes[row] = Math.min(Math.floor(nbytes), Number.MAX_SAFE_INTEGER);
    this.run_id[row] = run_id;
    this.type[row] =
      type instanceof Uint8Array
        ? this.#types.internValue(packValue(type), typeof typename === "string" ? typename : "")
        : NONE;
    this.start_s[row] = 0;
    this.stop_s[row] = 0;
    const startstops = packValue(fields.get("startstops") ?? null);
    this.#compute(asBuffer(startstops), 0, startstops.length, row);
  }

  #other(start: number, end: number, index: number): void {
    this.#push(OTHER, index);
    this.bounds.push(start);
    this.bounds.push(end);
  }

  /** Which hot message it is; OTHER for any other op. */
  #op(bytes: Buffer): number {
    const start = this.#starts[OP]!;
    if (start === 0) return OTHER;
    const length = bytes[start]! - 0xa0;
    for (const [name, what] of OPS)
      if (length === name.length && startsWith(bytes, start + 1, name)) return what;
    return OTHER;
  }

  /** False: not of the form that the hot path knows; the generic path judges it. */
  #finishedRow(bytes: Buffer): boolean {
    const starts = this.#starts;
    const ends = this.#ends;
    if (starts[KEY] === 0 || starts[NBYTES] === 0) return false;
    const nbytes = unsigned(bytes, starts[NBYTES]!);
    const run_id = starts[RUN_ID] === 0 ? 0 : unsigned(bytes, starts[RUN_ID]!);
    if (nbytes < 0 || run_id < 0) return false;
    let type = NONE;
    if (starts[TYPE] !== 0) {
      const byte = bytes[starts[TYPE]!]!;
      if (byte < 0xc4 || byte > 0xc6) return false;
      const name = starts[TYPENAME]!;
      const header = name === 0 ? 0 : textHeaderBytes(bytes[name]!);
      type = this.#types.intern(
        bytes,
        starts[TYPE]!,
        ends[TYPE]!,
        name + header,
        header === 0 ? name : ends[TYPENAME]!,
      );
    }
    const row = this.#pushKey(FINISHED, bytes, starts[KEY]!, ends[KEY]!);
    this.nbytes[row] = nbytes;
    this.run_id[row] = run_id;
    this.type[row] = type;
    this.start_s[row] = 0;
    this.stop_s[row] = 0;
    if (starts[STARTSTOPS] !== 0) this.#compute(bytes, starts[STARTSTOPS]!, ends[STARTSTOPS]!, row);
    return true;
  }

  #addedRows(bytes: Buffer): boolean {
    const start = this.#starts[KEYS]!;
    if (start === 0) return false;
    const end = this.#ends[KEYS]!;
    const count = arrayCount(bytes, start, end);
    if (count < 0) return false;
    let at = firstItem(bytes, start);
    for (let i = 0; i < count; i++) {
      const next = skip(bytes, at, end);
      this.#pushKey(ADDED, bytes, at, next);
      at = next;
    }
    return true;
  }

  /** Start and stop of the last compute action. Anything else in the list is of no concern here. */
  #compute(bytes: Buffer, start: number, end: number, row: number): void {
    const count = arrayCount(bytes, start, end);
    if (count < 0) return;
    let at = firstItem(bytes, start);
    for (let i = 0; i < count; i++) {
      const byte = bytes[at]!;
      const next = skip(bytes, at, end);
      if ((byte & 0xf0) === 0x80) this.#startStop(bytes, at + 1, next, byte & 0x0f, row);
      at = next;
    }
  }

  #startStop(bytes: Buffer, from: number, end: number, fields: number, row: number): void {
    let at = from;
    let start_s = 0;
    let stop_s = 0;
    let compute = false;
    for (let i = 0; i < fields; i++) {
      const value = skip(bytes, at, end);
      const next = skip(bytes, value, end);
      if (startsWith(bytes, at, ACTION)) compute = startsWith(bytes, value, COMPUTE);
      else if (bytes[value] === 0xcb && startsWith(bytes, at, START)) start_s = bytes.readDoubleBE(value + 1);
      else if (bytes[value] === 0xcb && startsWith(bytes, at, STOP)) stop_s = bytes.readDoubleBE(value + 1);
      at = next;
    }
    if (!compute) return;
    this.start_s[row] = start_s;
    this.stop_s[row] = stop_s;
  }

  /** A row for the key at `start`, whoever knows it. */
  #pushKey(what: number, bytes: Buffer, start: number, end: number, view = this.#view): number {
    const { keys, tasks } = this.#books;
    const guess = this.#guess;
    // Workers mostly report in the order in which they were asked.
    if (what === FINISHED && guess !== NONE && keys.matches(guess, view, start, end)) {
      this.#guess = tasks.next_processing[guess]!;
      return this.#push(what, guess);
    }
    const task = this.#find(what, view, start, end);
    if (task !== NONE) {
      if (what === FINISHED) this.#guess = tasks.next_processing[task]!;
      return this.#push(what, task);
    }
    // Most data is forgotten here before its worker says that it is dropped: there is nothing to do.
    if (what === DROPPED && isCanonicalKey(bytes, start, end)) return NONE;
    // Perhaps the peer has written a known key in a longer form.
    const key = isCanonicalKey(bytes, start, end)
      ? Uint8Array.from(bytes.subarray(start, end))
      : keyBytes(unpackValue(bytes, start, end));
    const found = keys.findKey(key);
    const row = this.#push(what, found);
    if (found === NONE) this.#unknown.set(row, key);
    return row;
  }

  /** The task that has the key, or NONE: by way of guesses, which cost less than the hash and its table. */
  #find(what: number, view: DataView, start: number, end: number): TaskId {
    const { keys } = this.#books;
    const freed = what === DROPPED ? this.#freed : null;
    if (freed !== null && freed.next !== NONE && keys.matches(freed.next, view, start, end))
      return freed.take();
    let task = this.#last + this.#step;
    if (!keys.matches(task, view, start, end)) {
      task = keys.find(view, start, end);
      if (task === NONE) return NONE;
      if (task === this.#last + 1) this.#step = 1;
      else if (task === this.#last - 1) this.#step = -1;
      freed?.skipTo(task);
    }
    this.#last = task;
    return task;
  }

  #push(what: number, task: number): number {
    const row = this.count++;
    if (row === this.what.length) this.#grow();
    this.what[row] = what;
    this.task[row] = task;
    return row;
  }

  #grow(): void {
    const capacity = this.what.length * 2;
    this.what = grown(this.what, capacity);
    this.task = grown(this.task, capacity);
    this.run_id = grown(this.run_id, capacity);
    this.nbytes = grown(this.nbytes, capacity);
    this.type = grown(this.type, capacity);
    this.start_s = grown(this.start_s, capacity);
    this.stop_s = grown(this.stop_s, capacity);
  }
}

const ACTION = Buffer.from("\xa6action", "latin1");
const COMPUTE = Buffer.from("\xa7compute", "latin1");
const START = Buffer.from("\xa5start", "latin1");
const STOP = Buffer.from("\xa4stop", "latin1");
const ONE_COMPUTE = Buffer.concat([Uint8Array.of(0x91, 0x83), ACTION, COMPUTE, START]);
/** The type byte of a 64-bit float. */
const FLOAT = 0xcb;

/** Text with a length of its own behind the first byte: the form for more than 31 bytes. */
function isLongText(byte: number): boolean {
  return byte >= 0xd9 && byte <= 0xdb;
}

/** Bytes before a text's first character; 0 for what is no text. */
function textHeaderBytes(byte: number): number {
  if (byte >= 0xa0 && byte < 0xc0) return 1;
  return byte === 0xd9 ? 2 : byte === 0xda ? 3 : byte === 0xdb ? 5 : 0;
}

function lacking(op: WireValue | undefined): ProtocolError {
  return new ProtocolError("BAD_STREAM_MESSAGE", `${String(op)} without the fields that it must have`);
}

/** The slot of the field name at `at`, or −1 for a name (or a key of another kind) that is not in {@link FIELDS}. */
function fieldSlot(bytes: Buffer, at: number, end: number): number {
  const length = bytes[at]! - 0xa0;
  // Behind the end of the buffer the length is NaN.
  if (!(length >= 2 && length <= 15) || at + 1 + length > end) return -1;
  for (const slot of FIELDS_BY_LENGTH[length]!)
    if (startsWith(bytes, at + 1, FIELD_BYTES[slot]!)) return slot;
  return -1;
}
