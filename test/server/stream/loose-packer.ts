import { packValue } from "../../../src/protocol/msgpack.ts";
import { RawValue, WireMap, type WireValue } from "../../../src/protocol/values.ts";

/** Packs a value in other forms than the shortest: `longer()` is asked at each header. */
export function packLoosely(value: WireValue, longer: () => boolean): Uint8Array {
  if (value instanceof RawValue) return value.bytes;
  if (typeof value === "string") {
    const bytes = Buffer.from(value);
    return longer() ? Buffer.concat([header(0xdb, bytes.length), bytes]) : packValue(value);
  }
  if (value instanceof Uint8Array && longer()) return Buffer.concat([header(0xc6, value.length), value]);
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && longer()) return u64(value);
  if (Array.isArray(value)) {
    const items = value.map((item) => packLoosely(item, longer));
    return Buffer.concat([count(0x90, 0xdd, items.length, longer), ...items]);
  }
  if (value instanceof WireMap) {
    const items = value.keys.flatMap((key, i) => [
      packLoosely(key, longer),
      packLoosely(value.values[i]!, longer),
    ]);
    return Buffer.concat([count(0x80, 0xdf, value.size, longer), ...items]);
  }
  return packValue(value);
}

function count(fix: number, type32: number, items: number, longer: () => boolean): Buffer {
  return items > 15 || longer() ? header(type32, items) : Buffer.of(fix | items);
}

function header(type32: number, length: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = type32;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = 0xcf;
  bytes.writeBigUInt64BE(BigInt(value), 1);
  return bytes;
}
