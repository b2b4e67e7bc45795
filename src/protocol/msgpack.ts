import { isUtf8 } from "node:buffer";
import { ProtocolError } from "./errors.ts";
import { Packer } from "./packer.ts";
import { WireFloat, WireMap, type WireValue } from "./values.ts";

export { Packer } from "./packer.ts";

declare global {
  /** Node's readers behind toString("latin1") and toString("utf8"), without their argument checks: half the time. */
  interface Buffer {
    latin1Slice(start: number, end: number): string;
    utf8Slice(start: number, end: number): string;
  }
}

/** What a peer may make us allocate for one value. */
export interface UnpackLimits {
  /** Nesting of arrays and maps. Python's own packer writes no more than 511. */
  readonly depth_max: number;
  /** One for each value, four more for each array or map: about 20 bytes of memory a unit at the worst. */
  readonly memory_units_max: number;
}

export const UNPACK_LIMITS: UnpackLimits = { depth_max: 512, memory_units_max: 1 << 25 };

/** Units of memory that an array or a map costs beside its items. */
const CONTAINER_UNITS = 4;
const TWO_32 = 0x1_0000_0000;

/** Packing calls nobody back, so one packer serves all; what a throw left behind, the next reset drops. */
const packer = new Packer(4096);

/** The msgpack bytes of one value. Serialized and Pickled payloads need a message: encodeMessage. */
export function packValue(value: WireValue): Uint8Array {
  packer.reset();
  packer.value(value);
  return packer.take();
}

/**
 * The one value that bytes `start` … `end` hold. Placeholders stay plain maps. Byte strings are views of `bytes`.
 * Throws ProtocolError for anything else than exactly one value within the limits; text must be valid UTF-8 (as
 * Python's strict decoding has it); extension types are refused, since Dask registers none.
 */
export function unpackValue(
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
  limits: UnpackLimits = UNPACK_LIMITS,
): WireValue {
  return new Unpacker(bytes, start, end, limits, null).whole();
}

/** What a decoder of messages puts in the place of certain maps and of byte strings. */
export interface UnpackHooks {
  map(map: WireMap): WireValue;
  bin(bytes: Buffer, start: number, end: number): Uint8Array;
}

/** Reads values one after the other; see unpackValue for the rules. */
export class Unpacker {
  readonly #bytes: Buffer;
  readonly #end: number;
  readonly #hooks: UnpackHooks | null;
  #position: number;
  #depth_left: number;
  #units_left: number;

  constructor(
    bytes: Uint8Array,
    start: number,
    end: number,
    limits: UnpackLimits,
    hooks: UnpackHooks | null,
  ) {
    this.#bytes = asBuffer(bytes);
    this.#position = start;
    this.#end = Math.min(end, bytes.length);
    this.#depth_left = limits.depth_max;
    this.#units_left = limits.memory_units_max;
    this.#hooks = hooks;
  }

  /** Index of the byte after the last value read. */
  get position(): number {
    return this.#position;
  }

  /** The next value, which must be the last one. */
  whole(): WireValue {
    const value = this.value();
    if (this.#position !== this.#end) {
      throw new ProtocolError("TRAILING_BYTES", `${this.#end - this.#position} bytes after a value`);
    }
    return value;
  }

  value(): WireValue {
    const type = this.#take(1);
    const byte = this.#bytes[type]!;
    if (byte < 0x80) return byte;
    if (byte < 0x90) return this.#map(byte & 0x0f);
    if (byte < 0xa0) return this.#array(byte & 0x0f);
    if (byte < 0xc0) return this.#str(byte & 0x1f);
    if (byte >= 0xe0) return byte - 0x100;
    if (byte >= 0xca && byte < 0xd4) return this.#number(byte);
    switch (byte) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#bin(this.#u8());
      case 0xc5:
        return this.#bin(this.#u16());
      case 0xc6:
        return this.#bin(this.#u32());
      case 0xd9:
        return this.#str(this.#u8());
      case 0xda:
        return this.#str(this.#u16());
      case 0xdb:
        return this.#str(this.#u32());
      case 0xdc:
        return this.#array(this.#u16());
      case 0xdd:
        return this.#array(this.#u32());
      case 0xde:
        return this.#map(this.#u16());
      case 0xdf:
        return this.#map(this.#u32());
      default:
        throw badType(byte);
    }
  }

  #number(byte: number): WireValue {
    switch (byte) {
      case 0xca:
        return float(this.#bytes.readFloatBE(this.#take(4)));
      case 0xcb:
        return float(this.#bytes.readDoubleBE(this.#take(8)));
      case 0xcc:
        return this.#u8();
      case 0xcd:
        return this.#u16();
      case 0xce:
        return this.#u32();
      case 0xcf:
        return integer(this.#u32(), this.#u32());
      case 0xd0:
        return (this.#u8() << 24) >> 24;
      case 0xd1:
        return (this.#u16() << 16) >> 16;
      case 0xd2:
        return this.#u32() | 0;
      default:
        return integer(this.#u32() | 0, this.#u32());
    }
  }

  #str(length: number): string {
    const start = this.#take(length);
    return text(this.#bytes, start, start + length);
  }

  #bin(length: number): Uint8Array {
    const start = this.#take(length);
    if (this.#hooks !== null) return this.#hooks.bin(this.#bytes, start, start + length);
    return this.#bytes.subarray(start, start + length);
  }

  #array(count: number): WireValue[] {
    this.#enter(count, count);
    const items: WireValue[] = [];
    for (let i = 0; i < count; i++) items.push(this.value());
    this.#depth_left++;
    return items;
  }

  #map(count: number): WireValue {
    this.#enter(2 * count, count);
    const keys: WireValue[] = [];
    const values: WireValue[] = [];
    for (let i = 0; i < count; i++) {
      keys.push(this.value());
      values.push(this.value());
    }
    this.#depth_left++;
    const map = new WireMap(keys, values);
    return this.#hooks === null ? map : this.#hooks.map(map);
  }

  /** Checks a container's promise before anything is allocated for it: each of its values has at least a byte. */
  #enter(values: number, count: number): void {
    if (values > this.#end - this.#position) {
      throw new ProtocolError("TRUNCATED", `a container of ${count} in ${this.#end - this.#position} bytes`);
    }
    if (--this.#depth_left < 0) throw new ProtocolError("TOO_DEEP", "containers nested too deep");
    this.#units_left -= values + CONTAINER_UNITS;
    if (this.#units_left < 0) throw new ProtocolError("TOO_MANY_VALUES", "a message of too many values");
  }

  /** Steps over `count` bytes and gives the index of the first. */
  #take(count: number): number {
    const at = this.#position;
    if (count > this.#end - at) throw truncated();
    this.#position = at + count;
    return at;
  }

  #u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  #u16(): number {
    const at = this.#take(2);
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  #u32(): number {
    return readU32(this.#bytes, this.#take(4));
  }
}

/**
 * The position after the value that starts at `position`, without decoding it: structure, nesting and lengths are
 * checked as unpackValue does, text's UTF-8 is not. Throws ProtocolError.
 */
export function skipValue(bytes: Uint8Array, position: number, end: number): number {
  return skip(bytes, position, Math.min(end, bytes.length), UNPACK_LIMITS.depth_max);
}

function skip(bytes: Uint8Array, position: number, end: number, depth_left: number): number {
  if (position >= end) throw truncated();
  const byte = bytes[position]!;
  const after = position + 1;
  if (byte < 0x80 || byte >= 0xe0) return after;
  if (byte >= 0xa0 && byte < 0xc0) return step(after, byte & 0x1f, end);
  if (byte < 0x90) return skipMany(bytes, after, end, 2 * (byte & 0x0f), depth_left);
  if (byte < 0xa0) return skipMany(bytes, after, end, byte & 0x0f, depth_left);
  // What follows the type byte: the value itself, or a length and then the content.
  const width = WIDTH[byte - 0xc0]!;
  if (width < 0) throw badType(byte);
  const content = step(after, width, end);
  if (byte >= 0xdc) {
    const count = byte === 0xdc || byte === 0xde ? readU16(bytes, after) : readU32(bytes, after);
    return skipMany(bytes, content, end, byte >= 0xde ? 2 * count : count, depth_left);
  }
  if (byte < 0xc4 || (byte > 0xc6 && byte < 0xd9)) return content;
  if (width === 1) return step(content, bytes[after]!, end);
  return step(content, width === 2 ? readU16(bytes, after) : readU32(bytes, after), end);
}

function skipMany(
  bytes: Uint8Array,
  position: number,
  end: number,
  count: number,
  depth_left: number,
): number {
  if (depth_left === 0) throw new ProtocolError("TOO_DEEP", "containers nested too deep");
  if (count > end - position) throw truncated();
  let at = position;
  for (let i = 0; i < count; i++) at = skip(bytes, at, end, depth_left - 1);
  return at;
}

/** Bytes after each type byte 0xc0 … 0xdf that a value (numbers) or its length (others) takes; -1: refused. */
const WIDTH = Int8Array.of(
  ...[0, -1, 0, 0, 1, 2, 4, -1, -1, -1, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, -1, -1, -1, -1, -1, 1, 2, 4, 2, 4, 2, 4],
);

function step(position: number, count: number, end: number): number {
  if (count > end - position) throw truncated();
  return position + count;
}

/** Text of strict UTF-8 at bytes `start` … `end`; throws ProtocolError. */
export function text(bytes: Buffer, start: number, end: number): string {
  for (let i = start; i < end; i++) {
    if (bytes[i]! > 0x7f) return utf8Text(bytes, start, end);
  }
  return bytes.latin1Slice(start, end);
}

function utf8Text(bytes: Buffer, start: number, end: number): string {
  if (!isUtf8(bytes.subarray(start, end))) throw new ProtocolError("BAD_UTF8", "text that is not UTF-8");
  return bytes.utf8Slice(start, end);
}

/** The same memory as a Buffer, for its native readers. */
export function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function float(value: number): number | WireFloat {
  return Number.isInteger(value) ? new WireFloat(value) : value;
}

function integer(high: number, low: number): number | bigint {
  const value = high * TWO_32 + low;
  if (Number.isSafeInteger(value)) return value;
  return (BigInt(high) << 32n) | BigInt(low);
}

function truncated(): ProtocolError {
  return new ProtocolError("TRUNCATED", "bytes end within a value");
}

function badType(byte: number): ProtocolError {
  return new ProtocolError("BAD_TYPE_BYTE", `type byte 0x${byte.toString(16)}`);
}
