import { ProtocolError } from "../../src/protocol/errors.ts";
import { isCanonicalKey } from "../../src/protocol/keys.ts";
import { skipValue } from "../../src/protocol/msgpack.ts";

/** Position after one value; the short forms are done here, the others by the codec. May run past `end`. */
export function skip(bytes: Uint8Array, at: number, end: number): number {
  const head = bytes[at]!;
  if (head < 0x80 || head >= 0xe0 || head === 0xc0 || head === 0xc2 || head === 0xc3) return at + 1;
  if ((head & 0xe0) === 0xa0) return at + 1 + (head & 31);
  if (head === 0x80 || head === 0x90) return at + 1;
  if (head === 0xd9) return at + 2 + bytes[at + 1]!;
  return skipValue(bytes, at, end);
}

/** The shortest msgpack form, which is what a key is compared by. Nearly all keys are texts: two compares. */
export function isPlainKey(bytes: Uint8Array, start: number, end: number): boolean {
  const head = bytes[start]!;
  if ((head & 0xe0) === 0xa0 || (head === 0xd9 && bytes[start + 1]! > 31)) return end <= bytes.length;
  return isCanonicalKey(bytes, start, end);
}

/** What {@link Fields} answers when there is no such field, or the bytes are not a small map of texts. */
export const NO_FIELD = -1;

/** Finds fields of one message in its bytes: for messages that come often and need only one or two of them. */
export class Fields {
  /** After {@link find}: where the value begins and ends. */
  start = 0;
  end = 0;

  /** The number of fields of the map at `at`, whose first must be `op` with one of `ops`; else {@link NO_FIELD}. */
  count(bytes: Uint8Array, at: number, ops: readonly Uint8Array[]): number {
    const head = bytes[at]!;
    if ((head & 0xf0) !== 0x80) return NO_FIELD;
    return ops.some((op) => startsWith(bytes, at + 1, op)) ? head & 15 : NO_FIELD;
  }

  /** Looks for a field by its label (msgpack bytes of a short text) among `count` fields of the map at `at`. */
  find(bytes: Uint8Array, at: number, end: number, count: number, label: Uint8Array): boolean {
    let position = at + 1;
    for (let field = 0; field < count && position < end; field++) {
      const found = startsWith(bytes, position, label);
      const start = skip(bytes, position, end);
      position = skip(bytes, start, end);
      if (position > end) return false;
      if (!found) continue;
      this.start = start;
      this.end = position;
      return true;
    }
    return false;
  }
}

function startsWith(bytes: Uint8Array, at: number, beginning: Uint8Array): boolean {
  for (let i = beginning.length - 1; i >= 0; i--) {
    if (bytes[at + i] !== beginning[i]) return false;
  }
  return true;
}

/** Where the elements of an array begin, and how many they are. */
export interface ArrayHeader {
  readonly at: number;
  readonly count: number;
}

/** Reads an array's header; null if there is none, or if it announces more elements than there are bytes. */
export function arrayHeader(bytes: Uint8Array, start: number, end: number): ArrayHeader | null {
  const header = readHeader(bytes, start, end);
  return header !== null && header.count <= end - header.at ? header : null;
}

function readHeader(bytes: Uint8Array, start: number, end: number): ArrayHeader | null {
  const head = bytes[start]!;
  if (start < end && (head & 0xf0) === 0x90) return { at: start + 1, count: head & 15 };
  if (head === 0xdc && start + 3 <= end) {
    return { at: start + 3, count: (bytes[start + 1]! << 8) | bytes[start + 2]! };
  }
  if (head === 0xdd && start + 5 <= end) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + start + 1, 4);
    return { at: start + 5, count: view.getUint32(0) };
  }
  return null;
}

/** Where the elements of a stream message begin, and how many they are; a bare message counts as a list of one. */
export function elements(bytes: Uint8Array, start: number, end: number): ArrayHeader {
  if (start >= end) throw new ProtocolError("TRUNCATED", "an empty message");
  return arrayHeader(bytes, start, end) ?? { at: start, count: 1 };
}

/** msgpack of `op` and its value, as a message begins. */
export function opBytes(op: string): Uint8Array {
  if (op.length > 31) throw new RangeError(op);
  return Buffer.from(`\xa2op${String.fromCharCode(0xa0 | op.length)}${op}`, "latin1");
}

/** msgpack of a field's name. */
export function labelBytes(name: string): Uint8Array {
  if (name.length > 31) throw new RangeError(name);
  return Buffer.from(String.fromCharCode(0xa0 | name.length) + name, "latin1");
}
