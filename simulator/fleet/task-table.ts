import { isPlainKey, opBytes, skip } from "./fields.ts";
import type { ReleaseTraits } from "./release.ts";

/** Columns of a row: positions in the message's bytes. */
export const COLUMN = {
  key_start: 0,
  key_end: 1,
  run_start: 2,
  run_end: 3,
  stimulus_start: 4,
  stimulus_end: 5,
  /** First and past-last dependency, as indices into `dependencies` (two entries each). */
  dependency_first: 6,
  dependency_end: 7,
} as const;

export const ROW = 8;

/** What {@link TaskTable.walk} answers when the element is not a plain `compute-task`. */
export const NOT_PLAIN = -1;

const OP_COMPUTE_TASK = opBytes("compute-task");
/** Every P2P shuffle and rechunk has one task whose key begins so (`barrier_key` of distributed.shuffle). */
export const BARRIER_PREFIX = "shuffle-barrier-";
const BARRIER = Buffer.from(BARRIER_PREFIX, "latin1");
const LETTER_K = 0x6b;
const LETTER_R = 0x72;
const LETTER_S = 0x73;
const LETTER_W = 0x77;
const FALSE = 0xc2;

/**
 * The `compute-task` messages of one batch as positions in its bytes: a task costs no object. A first pass fills
 * the table, so that decoding, the worker's own step and encoding are loops of their own and can be timed apart.
 */
export class TaskTable {
  /** ROW entries a task, see {@link COLUMN}. */
  rows = new Int32Array(256 * ROW);
  /** Tasks in the table. */
  count = 0;
  /** Start and end of each dependency's key. */
  dependencies = new Int32Array(1024);
  dependency_count = 0;

  readonly #traits: ReleaseTraits;
  readonly #field_count: number;
  readonly #fingerprint: number;

  constructor(traits: ReleaseTraits) {
    this.#traits = traits;
    this.#field_count = traits.compute_fields.length;
    let sum = 0;
    for (const field of traits.compute_fields) {
      if (field === "op") continue;
      sum += labelPrint(field.length, field.charCodeAt(0), field.charCodeAt(field.length - 1));
    }
    this.#fingerprint = sum;
  }

  clear(): void {
    this.count = 0;
    this.dependency_count = 0;
  }

  /**
   * Adds the element at `at` if it is a `compute-task` in the form that schedulers send: `op` first, exactly the
   * release's fields, canonical keys, no actor. Returns the position after it, else {@link NOT_PLAIN} with the
   * table unchanged: somebody more patient has to look. May run past `end` if the bytes lie: check the result.
   */
  walk(bytes: Uint8Array, at: number, end: number): number {
    if (bytes[at] !== (0x80 | this.#field_count) || !startsWithOp(bytes, at + 1)) return NOT_PLAIN;
    if ((this.count + 1) * ROW > this.rows.length) this.rows = doubled(this.rows);
    const dependency_first = this.dependency_count;
    const next = this.#walkFields(bytes, at + 1 + OP_COMPUTE_TASK.length, end);
    if (next === NOT_PLAIN) this.dependency_count = dependency_first;
    else this.count++;
    return next;
  }

  #walkFields(bytes: Uint8Array, from: number, end: number): number {
    const row = this.count * ROW;
    let at = from;
    let fingerprint = 0;
    this.rows[row + COLUMN.run_start] = 0;
    this.rows[row + COLUMN.run_end] = 0;
    for (let field = 1; field < this.#field_count; field++) {
      const head = bytes[at]!;
      const length = head & 31;
      if ((head & 0xe0) !== 0xa0 || length === 0 || at + length >= end) return NOT_PLAIN;
      const first = bytes[at + 1]!;
      fingerprint += labelPrint(length, first, bytes[at + length]!);
      const start = at + 1 + length;
      if (length === 7 && first === LETTER_W) at = this.#walkWhoHas(bytes, start, end, row);
      else {
        at = skip(bytes, start, end);
        if (!this.#keep(bytes, row, length, first, start, at)) return NOT_PLAIN;
      }
      if (at === NOT_PLAIN) return NOT_PLAIN;
    }
    return fingerprint === this.#fingerprint ? at : NOT_PLAIN;
  }

  /** Notes the fields that a report needs, by the length and first letter of their names; false: not plain. */
  #keep(bytes: Uint8Array, row: number, length: number, first: number, start: number, end: number): boolean {
    const rows = this.rows;
    if (length === 3 && first === LETTER_K) {
      rows[row + COLUMN.key_start] = start;
      rows[row + COLUMN.key_end] = end;
      return isPlainKey(bytes, start, end) && !isBarrier(bytes, start);
    }
    if (length === 6 && first === LETTER_R) {
      rows[row + COLUMN.run_start] = start;
      rows[row + COLUMN.run_end] = end;
    } else if (length === 11 && first === LETTER_S) {
      rows[row + COLUMN.stimulus_start] = start;
      rows[row + COLUMN.stimulus_end] = end;
    }
    return length !== 5 || bytes[start] === FALSE; // `actor` is the only name of five letters
  }

  #walkWhoHas(bytes: Uint8Array, from: number, end: number, row: number): number {
    let at = from;
    const head = bytes[at]!;
    let count = head & 15;
    if ((head & 0xf0) === 0x80) at += 1;
    else if (head === 0xde) {
      count = (bytes[at + 1]! << 8) | bytes[at + 2]!;
      at += 3;
    } else if (head === 0xdf) {
      count =
        ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
      at += 5;
    } else return NOT_PLAIN;
    // Each entry takes two bytes at least: a count that lies is found before it costs memory.
    if (2 * count > end - at) return NOT_PLAIN;
    this.rows[row + COLUMN.dependency_first] = this.dependency_count;
    for (let i = 0; i < count; i++) {
      const start = at;
      at = skip(bytes, at, end);
      if (!isPlainKey(bytes, start, at)) return NOT_PLAIN;
      if (2 * this.dependency_count + 2 > this.dependencies.length)
        this.dependencies = doubled(this.dependencies);
      this.dependencies[2 * this.dependency_count] = start;
      this.dependencies[2 * this.dependency_count + 1] = at;
      this.dependency_count++;
      at = skip(bytes, at, end);
    }
    this.rows[row + COLUMN.dependency_end] = this.dependency_count;
    return at;
  }

  /** What is wrong with a `compute-task` of these fields, or null: a real worker raises TypeError and closes. */
  fieldFault(fields: readonly string[]): string | null {
    const missing = this.#traits.compute_fields.filter((field) => !fields.includes(field));
    const extra = fields.filter((field) => !this.#traits.compute_fields.includes(field));
    if (missing.length === 0 && extra.length === 0) return null;
    return `compute-task of ${this.#traits.release}: missing [${missing.join(", ")}], unexpected [${extra.join(", ")}]`;
  }
}

/** Equal sums of these mean equal sets of field names, for the names that occur. */
function labelPrint(length: number, first: number, last: number): number {
  return length * 7919 + first * 131 + last;
}

function startsWithOp(bytes: Uint8Array, at: number): boolean {
  for (let i = OP_COMPUTE_TASK.length - 1; i >= 0; i--) {
    if (bytes[at + i] !== OP_COMPUTE_TASK[i]) return false;
  }
  return true;
}

/** Whether a key's text (in the header for 32 … 255 bytes, as these have) is that of a P2P shuffle's barrier. */
function isBarrier(bytes: Uint8Array, start: number): boolean {
  if (bytes[start + 2] !== BARRIER[0] || bytes[start] !== 0xd9) return false;
  for (let i = 1; i < BARRIER.length; i++) {
    if (bytes[start + 2 + i] !== BARRIER[i]) return false;
  }
  return true;
}

function doubled(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}
