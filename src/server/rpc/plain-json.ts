import { keyText } from "../../protocol/keys.ts";
import { RawValue, WireMap, WireSet } from "../../protocol/values.ts";

/** A value of the wire as plain data for JSON, for people and tools; what JSON cannot hold is left to its text. */
export function plainJson(value: unknown): unknown {
  if (value instanceof WireMap) {
    return Object.fromEntries(
      value.keys.map((key, i) => [String(plainJson(key)), plainJson(value.values[i])]),
    );
  }
  if (Array.isArray(value)) return value.map(plainJson);
  if (value instanceof WireSet) return value.items.map(plainJson);
  if (value instanceof RawValue) return keyText(value.bytes);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "object" && value !== null && "value" in value) return value.value;
  return value;
}
