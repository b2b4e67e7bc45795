import { durationMs, sizeBytes } from "../base/units.ts";
import { MEMORY_MEASURES, type MemoryState } from "../server/diagnostics/memory.ts";
import { ConfigError } from "./collect.ts";
import { type ConfigMap, type ConfigValue, lookUp } from "./tree.ts";

const COUNT_MAX = 10_000_000;

/** In Node's words. */
export type TlsVersion = "TLSv1.2" | "TLSv1.3";

/** Typed reading of keys: an absent key is its default, one that is none of what it should be names itself. */
export class Values {
  readonly #config: ConfigMap;

  constructor(config: ConfigMap) {
    this.#config = config;
  }

  /** Null where the key is null, or absent and no default is given. */
  text(key: string, absent: string | null = null): string | null {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent;
    if (value === null || typeof value === "string") return value;
    throw wrong(key, value, "a text");
  }

  flag(key: string): boolean | null {
    const value = lookUp(this.#config, key) ?? null;
    if (value === null || typeof value === "boolean") return value;
    throw wrong(key, value, "true, false or null");
  }

  tlsVersion(key: string): TlsVersion | null {
    const value = lookUp(this.#config, key) ?? null;
    if (value === null) return null;
    if (value === 1.2) return "TLSv1.2";
    if (value === 1.3) return "TLSv1.3";
    throw wrong(key, value, "1.2, 1.3 or null");
  }

  texts(key: string): readonly string[] | null {
    const value = lookUp(this.#config, key) ?? null;
    if (value === null) return null;
    const items: readonly ConfigValue[] = Array.isArray(value) ? value : [value];
    return items.map((item) => {
      if (typeof item === "string") return item;
      throw wrong(key, value, "a list of texts");
    });
  }

  /** Milliseconds. False is none, as null is. `unit`: of a bare number. */
  duration(key: string, absent_ms: number | null, unit: "s" | "ms" = "s"): number | null {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent_ms;
    if (value === null || value === false) return null;
    const text = typeof value === "number" ? `${value}${unit}` : value;
    const ms = typeof text === "string" ? durationMs(text) : null;
    if (ms === null) throw wrong(key, value, "a time such as 300 or '5 minutes'");
    return ms;
  }

  /** As {@link duration}; null and false stand for the default, too. */
  time(key: string, absent_ms: number, unit: "s" | "ms" = "s"): number {
    return this.duration(key, absent_ms, unit) ?? absent_ms;
  }

  bytes(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    const bytes = typeof value === "string" || typeof value === "number" ? sizeBytes(String(value)) : null;
    if (bytes === null) throw wrong(key, value, "a size such as 1000000 or '8 MiB'");
    return bytes;
  }

  /** Seconds by name. */
  durations_s(key: string, absent: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent;
    if (value === null) return new Map();
    if (!(value instanceof Map)) throw wrong(key, value, "a dict of times");
    const times = new Map<string, number>();
    for (const [name, time] of value) {
      const text = typeof time === "number" || typeof time === "string" ? String(time) : "";
      const ms = durationMs(text);
      if (ms === null) throw wrong(`${key}.${name}`, time, "a time such as 300 or '5 minutes'");
      times.set(String(name), ms / 1_000);
    }
    return times;
  }

  saturation(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    const number = value === "inf" ? Number.POSITIVE_INFINITY : value;
    if (typeof number === "number" && number > 0) return number;
    throw wrong(key, value, "a number above 0, or inf");
  }

  share(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    if (typeof value === "number" && value >= 0 && value <= 1) return value;
    throw wrong(key, value, "a number from 0 to 1");
  }

  /** Whether a share is given; false, null and 0 are none. */
  hasShare(key: string, absent: boolean): boolean {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent;
    return value !== null && value !== false && this.share(key, 0) > 0;
  }

  measure(key: string, absent: keyof MemoryState): keyof MemoryState {
    const value = lookUp(this.#config, key) ?? absent;
    const measure = MEMORY_MEASURES.find((known) => known === value);
    if (measure === undefined) throw wrong(key, value, `one of ${MEMORY_MEASURES.join(", ")}`);
    return measure;
  }

  /** Whether a list of classes, such as policies, names `known`; only that may be named. */
  names(key: string, known: string, absent: boolean): boolean {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent;
    const items: readonly ConfigValue[] = Array.isArray(value) ? value : [];
    const names = items.map((item) => (item instanceof Map ? item.get("class") : null));
    if (!Array.isArray(value) || names.some((name) => name !== known))
      throw wrong(key, value, `a list of {class: ${known}}, the only policy there is`);
    return names.length > 0;
  }

  count(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX)
      return value;
    throw wrong(key, value, `a number from 0 to ${COUNT_MAX}`);
  }
}

function wrong(key: string, value: ConfigValue, expected: string): ConfigError {
  const shown = value instanceof Map ? "a dict" : JSON.stringify(value);
  return new ConfigError(`configuration ${key}: ${shown} is not ${expected}`);
}
