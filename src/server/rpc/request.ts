import { type KeyBytes, keyBytes, keyText } from "../../protocol/keys.ts";
import { toNumber, WireMap, WireSet, type WireValue } from "../../protocol/values.ts";
import { PythonError } from "./python-error.ts";

/** Keys are looked up in ordinary maps by these characters, one a byte. */
export type KeyId = string;

/**
 * The fields of one operation, whether asked for by RPC or sent on a stream. The getters raise what Python raises for a wrong argument: a TypeError for the caller, who
 * keeps an RPC connection. An optional field may be absent or None, which Python's signatures treat alike.
 */
export class Request {
  readonly op: string;
  readonly fields: WireMap;

  constructor(op: string, fields: WireMap) {
    this.op = op;
    this.fields = fields;
  }

  value(name: string): WireValue {
    return this.fields.get(name) ?? null;
  }

  string(name: string): string {
    const value = this.fields.get(name);
    if (typeof value !== "string") throw this.#wrong(name, "a string");
    return value;
  }

  optionalString(name: string): string | null {
    return this.value(name) === null ? null : this.string(name);
  }

  optionalNumber(name: string): number | null {
    const value = this.value(name);
    if (value === null) return null;
    const number = toNumber(value);
    if (number === undefined || Number.isNaN(number)) throw this.#wrong(name, "a number");
    return number;
  }

  boolean(name: string, absent: boolean): boolean {
    const value = this.value(name);
    if (value === null) return absent;
    if (typeof value !== "boolean") throw this.#wrong(name, "a bool");
    return value;
  }

  map(name: string): WireMap {
    const value = this.fields.get(name);
    if (!(value instanceof WireMap)) throw this.#wrong(name, "a dict");
    return value;
  }

  optionalList(name: string): readonly WireValue[] | null {
    const value = this.value(name);
    if (value === null) return null;
    if (Array.isArray(value)) return value;
    if (value instanceof WireSet) return value.items;
    throw this.#wrong(name, "a list");
  }

  list(name: string): readonly WireValue[] {
    return this.optionalList(name) ?? this.#missing(name);
  }

  optionalStrings(name: string): readonly string[] | null {
    const list = this.optionalList(name);
    if (list === null) return null;
    return list.map((value) => {
      if (typeof value !== "string") throw this.#wrong(name, "a list of strings");
      return value;
    });
  }

  key(name: string): KeyBytes {
    return toKey(this.fields.get(name) ?? this.#missing(name));
  }

  keys(name: string): KeyBytes[] {
    return this.list(name).map(toKey);
  }

  optionalKeys(name: string): KeyBytes[] | null {
    return this.optionalList(name)?.map(toKey) ?? null;
  }

  #missing(name: string): never {
    throw this.#wrong(name, "given");
  }

  #wrong(name: string, expected: string): PythonError {
    return new PythonError("TypeError", `${this.op}: '${name}' must be ${expected}`);
  }
}

/** A task key from a message; what cannot be one is the caller's TypeError. */
export function toKey(value: WireValue): KeyBytes {
  try {
    return keyBytes(value);
  } catch (error) {
    if (error instanceof Error) throw new PythonError("TypeError", `not a task key: ${error.message}`);
    throw error;
  }
}

/** The key as something that a Map can be indexed with. */
export function keyId(key: KeyBytes): KeyId {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

/** Key texts for a log line: the first few. */
export function keyTexts(keys: readonly KeyBytes[]): string {
  const shown = keys.slice(0, 10).map(keyText).join(", ");
  return keys.length > 10 ? `${shown}, … (${keys.length} keys)` : shown;
}
