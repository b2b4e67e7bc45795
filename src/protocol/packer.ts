import { InvariantError } from "../base/assert.ts";
import {
  type Pickled,
  RawValue,
  Serialized,
  WireEnum,
  WireFloat,
  WireMap,
  WireSet,
  type WireValue,
} from "./values.ts";

const TWO_32 = 0x1_0000_0000;
/** Strings up to this length are written by a loop while they are ASCII; beyond, the native encoder is faster. */
const LOOP_CHARS_MAX = 40;
/** A buffer that a huge message made is given back by reset(), so that one such message does not stay for ever. */
const KEEP_BYTES_MAX = 1 << 20;

const float_scratch = new DataView(new ArrayBuffer(8));

/**
 * Writes msgpack in the form that Python's packer gives: integers and lengths in their shortest form, floats
 * always as float64, text as str, bytes as bin. Grows as needed; reset() makes it ready for the next use.
 */
export class Packer {
  #bytes: Buffer;
  #position = 0;
  /** Where Serialized and Pickled values put their frames; null: they may not occur. */
  #frames: Uint8Array[] | null;

  /** `frames`: the message's frames, frame 0 among them, that payloads are added to (see encodeMessage). */
  constructor(bytes_initial = 512, frames: Uint8Array[] | null = null) {
    this.#bytes = Buffer.allocUnsafeSlow(bytes_initial);
    this.#frames = frames;
  }

  /** Number of bytes written since the last reset. */
  get position(): number {
    return this.#position;
  }

  /** Forgets what was written, and hands payload frames to `frames` from here on. */
  reset(frames: Uint8Array[] | null = null): void {
    this.#position = 0;
    this.#frames = frames;
    if (this.#bytes.length > KEEP_BYTES_MAX) this.#bytes = Buffer.allocUnsafeSlow(KEEP_BYTES_MAX >> 4);
  }

  /** A copy of what was written; the packer is reset. */
  take(): Uint8Array {
    // Small results come from Node's pool, which is several times cheaper than memory of their own.
    const taken = Buffer.allocUnsafe(this.#position);
    this.#bytes.copy(taken, 0, 0, this.#position);
    this.reset();
    return taken;
  }

  /** What was written, without a copy: valid until the next write or reset. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#position);
  }

  nil(): void {
    this.#byte(0xc0);
  }

  bool(value: boolean): void {
    this.#byte(value ? 0xc3 : 0xc2);
  }

  /** An integer; a bigint must fit in 64 bits. */
  int(value: number | bigint): void {
    if (typeof value === "bigint") {
      if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) this.int(Number(value));
      else this.#int64(value);
    } else if (value >= 0) {
      if (value < 0x80) this.#byte(value);
      else this.#unsigned(value);
    } else this.#negative(value);
  }

  float(value: number): void {
    this.#reserve(9);
    this.#bytes[this.#position] = 0xcb;
    float_scratch.setFloat64(0, value);
    for (let i = 0; i < 8; i++) this.#bytes[this.#position + 1 + i] = float_scratch.getUint8(i);
    this.#position += 9;
  }

  str(value: string): void {
    const length = value.length;
    if (length > LOOP_CHARS_MAX || !this.#shortAscii(value, length)) this.#longString(value);
  }

  bin(value: Uint8Array): void {
    const length = value.length;
    this.#reserve(5 + length);
    if (length < 0x100) this.#put1(0xc4, length);
    else if (length < 0x10000) this.#put2(0xc5, length);
    else this.#put4(0xc6, length);
    this.#bytes.set(value, this.#position);
    this.#position += length;
  }

  /** `count` values must follow. */
  arrayHeader(count: number): void {
    this.#reserve(5);
    if (count < 16) this.#bytes[this.#position++] = 0x90 | count;
    else if (count < 0x10000) this.#put2(0xdc, count);
    else this.#put4(0xdd, count);
  }

  /** `count` keys must follow, each with its value. */
  mapHeader(count: number): void {
    this.#reserve(5);
    if (count < 16) this.#bytes[this.#position++] = 0x80 | count;
    else if (count < 0x10000) this.#put2(0xde, count);
    else this.#put4(0xdf, count);
  }

  /** Bytes that are msgpack already. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** Any value; a number is an integer if it is a safe one, else a float. */
  value(value: WireValue): void {
    if (typeof value === "string") this.str(value);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "boolean") this.bool(value);
    else if (typeof value === "bigint") this.int(value);
    else if (value === null) this.nil();
    else if (Array.isArray(value)) this.#array(value);
    else if (value instanceof WireMap) this.#map(value);
    else if (value instanceof Uint8Array) this.bin(value);
    else if (value instanceof WireFloat) this.float(value.value);
    else this.#special(value);
  }

  #special(value: WireSet | WireEnum | Serialized | Pickled | RawValue): void {
    if (value instanceof RawValue) this.raw(value.bytes);
    else if (value instanceof WireSet) {
      this.mapHeader(2);
      this.str("__Set__");
      this.bool(true);
      this.str("as-list");
      this.#array(value.items);
    } else if (value instanceof WireEnum) {
      this.mapHeader(4);
      this.str("__Enum__");
      this.bool(true);
      this.str("name");
      this.str(value.name);
      this.str("__module__");
      this.str(value.module);
      this.str("__name__");
      this.str(value.qualname);
    } else this.#payload(value);
  }

  /** A placeholder here, and the payload behind the frames so far: numbered in order of traversal, as Dask does. */
  #payload(value: Serialized | Pickled): void {
    const frames = this.#frames;
    if (frames === null) throw new InvariantError("a serialized payload outside a message");
    this.mapHeader(1);
    this.str(value instanceof Serialized ? "__Serialized__" : "__Pickled__");
    this.int(frames.length);
    frames.push(value.header);
    for (const frame of value.frames) frames.push(frame);
  }

  #array(items: readonly WireValue[]): void {
    this.arrayHeader(items.length);
    for (const item of items) this.value(item);
  }

  #map(map: WireMap): void {
    const { keys, values } = map;
    this.mapHeader(keys.length);
    for (let i = 0; i < keys.length; i++) {
      this.value(keys[i] as WireValue);
      this.value(values[i] as WireValue);
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value)) this.int(value);
    else this.float(value);
  }

  #unsigned(value: number): void {
    this.#reserve(9);
    if (value < 0x100) this.#put1(0xcc, value);
    else if (value < 0x10000) this.#put2(0xcd, value);
    else if (value < TWO_32) this.#put4(0xce, value);
    else {
      this.#put4(0xcf, Math.floor(value / TWO_32));
      this.#word(value % TWO_32);
    }
  }

  #negative(value: number): void {
    this.#reserve(9);
    if (value >= -0x20) this.#bytes[this.#position++] = value & 0xff;
    else if (value >= -0x80) this.#put1(0xd0, value & 0xff);
    else if (value >= -0x8000) this.#put2(0xd1, value & 0xffff);
    else if (value >= -0x8000_0000) this.#put4(0xd2, value >>> 0);
    else {
      const high = Math.floor(value / TWO_32);
      this.#put4(0xd3, high >>> 0);
      this.#word(value - high * TWO_32);
    }
  }

  #int64(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value && BigInt.asIntN(64, value) !== value) {
      throw new InvariantError(`integer beyond 64 bits: ${value}`);
    }
    this.#reserve(9);
    const low = BigInt.asUintN(64, value);
    this.#put4(value < 0n ? 0xd3 : 0xcf, Number(low >> 32n));
    this.#word(Number(low & 0xffff_ffffn));
  }

  /** False, with nothing written, if the string is not ASCII. */
  #shortAscii(value: string, length: number): boolean {
    this.#reserve(2 + LOOP_CHARS_MAX);
    const bytes = this.#bytes;
    const start = this.#position;
    let at = start;
    if (length < 32) bytes[at++] = 0xa0 | length;
    else {
      bytes[at++] = 0xd9;
      bytes[at++] = length;
    }
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return false;
      bytes[at++] = code;
    }
    this.#position = at;
    return true;
  }

  #longString(value: string): void {
    const length = Buffer.byteLength(value);
    this.#reserve(5 + length);
    if (length < 32) this.#bytes[this.#position++] = 0xa0 | length;
    else if (length < 0x100) this.#put1(0xd9, length);
    else if (length < 0x10000) this.#put2(0xda, length);
    else this.#put4(0xdb, length);
    this.#position += this.#bytes.write(value, this.#position, length, "utf8");
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#position++] = byte;
  }

  #put1(type: number, value: number): void {
    this.#bytes[this.#position++] = type;
    this.#bytes[this.#position++] = value;
  }

  #put2(type: number, value: number): void {
    this.#bytes[this.#position++] = type;
    this.#bytes[this.#position++] = value >>> 8;
    this.#bytes[this.#position++] = value;
  }

  #put4(type: number, value: number): void {
    this.#bytes[this.#position++] = type;
    this.#word(value);
  }

  #word(value: number): void {
    const bytes = this.#bytes;
    const at = this.#position;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    this.#position = at + 4;
  }

  #reserve(count: number): void {
    const need = this.#position + count;
    if (need <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(need, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#position);
    this.#bytes = grown;
  }
}
