import { isUtf8 } from "node:buffer";
import { ProtocolError } from "./errors.ts";
import { asBuffer, packValue, text, unpackValue } from "./msgpack.ts";
import { pythonRepr } from "./python-repr.ts";
import { WireFloat, type WireValue } from "./values.ts";

/**
 * A task's key: the canonical (shortest) msgpack bytes of a str, bytes, int, float or nested array of those.
 * Two keys are the same task if their bytes are equal; 1 and 1.0 are different (Python's dicts hold them equal, but
 * no collection mixes them).
 */
export type KeyBytes = Uint8Array;

/** Canonical bytes of a key that was decoded; throws ProtocolError if it is nothing that Dask takes as a key. */
export function keyBytes(value: WireValue): KeyBytes {
  checkKey(value);
  return packValue(value);
}

/** The key as a value, to be put in a message. */
export function keyValue(key: KeyBytes): WireValue {
  return unpackValue(key);
}

/**
 * Whether bytes `start` … `end` are exactly one key in canonical form, so that they can be compared and passed on as
 * they are. False also for what is no key, for text that is not UTF-8 and for truncated bytes; never throws.
 */
export function isCanonicalKey(bytes: Uint8Array, start: number, end: number): boolean {
  if (start < 0 || end > bytes.length) return false;
  const after = canonicalEnd(asBuffer(bytes), start, end, KEY_DEPTH_MAX);
  return after === end && end > start;
}

/** The key as Python's `str(key)` shows it. */
export function keyText(key: KeyBytes): string {
  const first = key[0]!;
  if ((first >= 0xa0 && first < 0xc0) || first === 0xd9) {
    return text(asBuffer(key), first === 0xd9 ? 2 : 1, key.length);
  }
  const value = keyValue(key);
  return typeof value === "string" ? value : pythonRepr(value);
}

/** Nesting of tuples in a key. Real ones have one or two. */
const KEY_DEPTH_MAX = 64;
const BAD = -1;

function checkKey(value: WireValue, depth_left = KEY_DEPTH_MAX): void {
  if (Array.isArray(value)) {
    if (depth_left === 0) throw new ProtocolError("BAD_KEY", "a key nested too deep");
    for (const item of value) checkKey(item, depth_left - 1);
    return;
  }
  // A bool is an int to Python; None only ever stands inside a tuple.
  if (value === null ? depth_left < KEY_DEPTH_MAX : isScalar(value)) return;
  throw new ProtocolError("BAD_KEY", "a key that is not str, bytes, int, float or a tuple of those");
}

function isScalar(value: WireValue): boolean {
  return typeof value !== "object" || value instanceof WireFloat || value instanceof Uint8Array;
}

/** Position after the canonical key at `at`, or BAD. */
function canonicalEnd(bytes: Buffer, at: number, end: number, depth_left: number): number {
  if (at >= end) return BAD;
  const byte = bytes[at]!;
  if (byte < 0x80 || byte >= 0xe0) return at + 1;
  if (byte < 0x90) return BAD;
  if (byte < 0xa0) return arrayEnd(bytes, at + 1, end, byte & 0x0f, depth_left);
  if (byte < 0xc0) return textEnd(bytes, at + 1, at + 1 + (byte & 0x1f), end);
  const size = byte - 0xc0;
  const content = at + 1 + LENGTH_BYTES[size]!;
  if (content > end) return BAD;
  const length = readBE(bytes, at + 1, content);
  if (length < LEAST[size]!) return BAD;
  switch (byte) {
    case 0xc0:
      return depth_left < KEY_DEPTH_MAX ? content : BAD;
    case 0xc2:
    case 0xc3:
      return content;
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return content + length > end ? BAD : content + length;
    case 0xcb:
      return content + 8 > end ? BAD : content + 8;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
      return signedEnd(bytes, byte, content, end);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
      return content;
    case 0xd9:
    case 0xda:
    case 0xdb:
      return textEnd(bytes, content, content + length, end);
    case 0xdc:
    case 0xdd:
      return arrayEnd(bytes, content, end, length, depth_left);
    default:
      return BAD;
  }
}

/** For type bytes 0xc0 …: how many bytes of length (or of an unsigned integer) follow. */
const LENGTH_BYTES = Uint8Array.of(
  ...[0, 0, 0, 0, 1, 2, 4, 0, 0, 0, 0, 0, 1, 2, 4, 8],
  ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 0, 0],
);

/** The least value of those bytes that no shorter form could hold. */
const LEAST = Float64Array.of(
  ...[0, 0, 0, 0, 0, 0x100, 0x10000, 0, 0, 0, 0, 0, 0x80, 0x100, 0x10000, 0x1_0000_0000],
  ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0x100, 0x10000, 16, 0x10000, 0, 0],
);

/** The greatest values of the signed forms that no shorter form could hold: all are negative. */
const SIGNED = [
  { bytes: 1, most: -33 },
  { bytes: 2, most: -129 },
  { bytes: 4, most: -32769 },
  { bytes: 8, most: -2147483649 },
] as const;

function signedEnd(bytes: Buffer, byte: number, at: number, end: number): number {
  const form = SIGNED[byte - 0xd0]!;
  if (at + form.bytes > end) return BAD;
  let value = bytes.readInt8(at);
  for (let i = 1; i < form.bytes; i++) value = value * 0x100 + bytes[at + i]!;
  return value <= form.most ? at + form.bytes : BAD;
}

function readBE(bytes: Buffer, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) value = value * 0x100 + bytes[i]!;
  return value;
}

function textEnd(bytes: Buffer, from: number, to: number, end: number): number {
  if (to > end) return BAD;
  for (let i = from; i < to; i++) {
    if (bytes[i]! > 0x7f) return isUtf8(bytes.subarray(i, to)) ? to : BAD;
  }
  return to;
}

function arrayEnd(bytes: Buffer, from: number, end: number, count: number, depth_left: number): number {
  if (depth_left === 0 || count > end - from) return BAD;
  let at = from;
  for (let i = 0; i < count && at !== BAD; i++) at = canonicalEnd(bytes, at, end, depth_left - 1);
  return at;
}
