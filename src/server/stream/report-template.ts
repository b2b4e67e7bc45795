import { skip } from "./walk.ts";

/** Holes beyond this many: a message of a form that no release writes. */
const HOLES_MAX = 32;
/** So many messages of the kind that do not fit, one after the other, and the next one is learned. */
const MISSES_MAX = 2;

/**
 * The bytes of one message with holes in it. Reports of one kind differ in a few values only (key, size, times), so
 * the next one is mostly told to be of the same form by comparing what lies between the holes, four bytes at a time,
 * without looking any field up. A message that matches holds in each hole one whole msgpack value of any kind.
 */
export class ReportTemplate {
  #bytes = new Uint8Array(512);
  #view = new DataView(this.#bytes.buffer);
  /** Where the bytes before each hole begin, and how many they are; one more entry than holes. */
  readonly #from = new Int32Array(HOLES_MAX + 1);
  readonly #length = new Int32Array(HOLES_MAX + 1);
  #holes = -1;
  #learning_at = 0;
  #learning_start = 0;
  /** Where the value in each hole of the message that matched last begins and ends. */
  readonly starts = new Int32Array(HOLES_MAX);
  readonly ends = new Int32Array(HOLES_MAX);
  /** Which hole has the value of each field, by the reader's number of the field; −1: none. */
  readonly hole_of: Int32Array;
  /** Messages in a row that it did not fit. */
  #misses = 0;

  constructor(fields: number) {
    this.hole_of = new Int32Array(fields);
  }

  /** Notes that a message of its kind did not fit; true if that message should be learned. */
  missed(): boolean {
    return ++this.#misses >= MISSES_MAX;
  }

  /** Takes the bytes of a message as the pattern; {@link hole} follows for each of its holes, then {@link learned}. */
  learn(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length > this.#bytes.length) {
      this.#bytes = new Uint8Array(2 * length);
      this.#view = new DataView(this.#bytes.buffer);
    }
    this.#bytes.set(bytes.subarray(start, end));
    this.hole_of.fill(-1);
    this.#misses = 0;
    this.#holes = 0;
    this.#learning_start = start;
    this.#learning_at = start;
  }

  /** The value at `start` … `end` of the message being learned may be another one. Holes come in their order; its number. */
  hole(start: number, end: number): number {
    const hole = this.#holes++;
    if (hole >= HOLES_MAX) return -1;
    this.#from[hole] = this.#learning_at - this.#learning_start;
    this.#length[hole] = start - this.#learning_at;
    this.#learning_at = end;
    return hole;
  }

  /** The pattern is complete. One of too many holes will match nothing. */
  learned(end: number): void {
    if (this.#holes > HOLES_MAX) {
      this.#holes = -1;
      return;
    }
    this.#from[this.#holes] = this.#learning_at - this.#learning_start;
    this.#length[this.#holes] = end - this.#learning_at;
  }

  /** Matches nothing until the next message is learned. */
  forget(): void {
    this.#holes = -1;
  }

  /** The position behind the message at `start` if it is of this form, else −1. Throws ProtocolError. */
  match(bytes: Buffer, view: DataView, start: number, end: number): number {
    const holes = this.#holes;
    if (holes < 0) return -1;
    let at = start;
    for (let hole = 0; hole < holes; hole++) {
      const length = this.#length[hole]!;
      if (at + length > end || !this.#same(view, at, this.#from[hole]!, length)) return -1;
      at += length;
      const after = skip(bytes, at, end);
      this.starts[hole] = at;
      this.ends[hole] = after;
      at = after;
    }
    const length = this.#length[holes]!;
    if (at + length > end || !this.#same(view, at, this.#from[holes]!, length)) return -1;
    this.#misses = 0;
    return at + length;
  }

  #same(view: DataView, at: number, from: number, length: number): boolean {
    const own = this.#view;
    if (length < 4) {
      for (let i = 0; i < length; i++) if (view.getUint8(at + i) !== own.getUint8(from + i)) return false;
      return true;
    }
    const last = length - 4;
    // Floats of eight bytes took a fifth longer, and their zeros and NaN would have to be looked at twice.
    for (let i = 0; i < last; i += 4)
      if (view.getInt32(at + i, true) !== own.getInt32(from + i, true)) return false;
    return view.getInt32(at + last, true) === own.getInt32(from + last, true);
  }
}
