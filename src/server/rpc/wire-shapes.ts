import type { KeyBytes } from "../../protocol/keys.ts";
import { RawValue, WireFloat, WireMap, type WireValue } from "../../protocol/values.ts";

/** A Python float: 2.0 stays a float on the wire. */
export function floatValue(value: number): WireValue {
  return Number.isInteger(value) ? new WireFloat(value) : value;
}

/** Keys as a list, each spliced in as the bytes that it already is. */
export function keyList(keys: readonly KeyBytes[]): WireValue[] {
  return keys.map((key) => new RawValue(key));
}

/** A dict by key, in the order given. */
export function keyMap(entries: Iterable<readonly [KeyBytes, WireValue]>): WireMap {
  const map = new WireMap();
  for (const [key, value] of entries) {
    map.keys.push(new RawValue(key));
    map.values.push(value);
  }
  return map;
}

/**
 * Seconds between heartbeats that we ask of each of `n` peers: 200 a second altogether at the most.
 * Integer and float as Dask's `heartbeat_interval` has them.
 */
export function heartbeatInterval_s(n: number): WireValue {
  if (n <= 10) return 0.5;
  if (n < 50) return 1;
  if (n < 200) return 2;
  return floatValue(n / 200 + 1);
}
