import { ProtocolError } from "../../protocol/errors.ts";
import { skipValue } from "../../protocol/msgpack.ts";

/**
 * {@link skipValue}, with the values that make up nearly all of the traffic judged here: small enough to be inlined
 * where it is called.
 */
export function skip(bytes: Buffer, at: number, end: number): number {
  if (at < end) {
    const byte = bytes[at]!;
    let after = end + 1;
    if (byte < 0x80 || byte >= 0xe0) after = at + 1;
    else if (byte >= 0xa0 && byte < 0xc0) after = at + 1 + (byte & 0x1f);
    else if (byte === 0xd9 || byte === 0xc4) after = at + 2 + bytes[at + 1]!;
    else if (byte === 0xcb || byte === 0xcf) after = at + 9;
    else if (byte === 0xce) after = at + 5;
    else if (byte === 0xcd) after = at + 3;
    if (after <= end) return after;
  }
  return skipValue(bytes, at, end);
}

/** Number of items of the array or map at `at`, or −1 if there is none. */
export function arrayCount(bytes: Buffer, at: number, end: number): number {
  return containerCount(bytes, at, end, 0x90, 0xdc);
}

export function mapCount(bytes: Buffer, at: number, end: number): number {
  return containerCount(bytes, at, end, 0x80, 0xde);
}

function containerCount(bytes: Buffer, at: number, end: number, fix: number, type16: number): number {
  if (at >= end) return -1;
  const byte = bytes[at]!;
  if (byte >= fix && byte < fix + 16) return byte - fix;
  if (byte === type16 && at + 3 <= end) return bytes.readUInt16BE(at + 1);
  if (byte === type16 + 1 && at + 5 <= end) return bytes.readUInt32BE(at + 1);
  return -1;
}

/** Position of the first item of the array or map whose first byte is at `at`. */
export function firstItem(bytes: Buffer, at: number): number {
  const byte = bytes[at]!;
  if (byte < 0xa0) return at + 1;
  return byte === 0xdc || byte === 0xde ? at + 3 : at + 5;
}

export function startsWith(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

/** The unsigned integer at `at` (its bytes are known to be whole); −1: something else. */
export function unsigned(bytes: Buffer, at: number): number {
  const byte = bytes[at]!;
  if (byte < 0x80) return byte;
  if (byte === 0xcc) return bytes[at + 1]!;
  if (byte === 0xcd) return bytes.readUInt16BE(at + 1);
  if (byte === 0xce) return bytes.readUInt32BE(at + 1);
  if (byte !== 0xcf) return -1;
  const high = bytes.readUInt32BE(at + 1);
  return high < 0x20_0000 ? high * 0x1_0000_0000 + bytes.readUInt32BE(at + 5) : -1;
}

/** Calls `visit` with the bounds of each key and value of the map at `at`; returns the position behind the map. */
function walkMap(
  bytes: Buffer,
  at: number,
  end: number,
  visit: (key: number, value: number, value_end: number) => void,
): number {
  const count = mapCount(bytes, at, end);
  if (count < 0) throw new ProtocolError("BAD_GRAPH", "a map was expected in a graph");
  let position = firstItem(bytes, at);
  for (let i = 0; i < count; i++) {
    const value = skipValue(bytes, position, end);
    const value_end = skipValue(bytes, value, end);
    visit(position, value, value_end);
    position = value_end;
  }
  return position;
}

/** The bounds of a map's value by its name, or null. */
export function field(bytes: Buffer, at: number, end: number, name: Uint8Array): [number, number] | null {
  let found: [number, number] | null = null;
  walkMap(bytes, at, end, (key, value, value_end) => {
    if (value - key === name.length && startsWith(bytes, key, name)) found = [value, value_end];
  });
  return found;
}
