/**
 * A time as Dask's `parse_timedelta` takes it: seconds, or a number and a unit such as `5 minutes`. Milliseconds; null: it
 * is none.
 */
export function durationMs(text: string): number | null {
  const packed = text.replaceAll(" ", "");
  if (packed === "") return null;
  // What begins with no digit gets a 1 in front: a unit alone is one of it, and `.5 s` is 1.5.
  const match = SPAN.exec(/^\d/.test(packed) ? packed : `1${packed}`);
  // Dask knows each unit in small and in capital letters.
  const unit_ms = UNITS_MS.get((match?.[2] || "s").toLowerCase());
  return match === null || unit_ms === undefined ? null : Number(match[1]) * unit_ms;
}

/** A size as Dask's `parse_bytes` takes it: bytes, or a number and a unit such as `64 MiB`. Null: it is none. */
export function sizeBytes(text: string): number | null {
  const match = /^(\d*\.?\d*)([kmgtp]?)(i?)b?$/i.exec(text.replaceAll(" ", ""));
  if (match === null || match[0] === "") return null;
  const [, digits, prefix = "", binary] = match;
  const amount = Number(digits || 1);
  if (Number.isNaN(amount) || (prefix === "" && binary !== "")) return null;
  const power = prefix === "" ? 0 : "kmgtp".indexOf(prefix.toLowerCase()) + 1;
  return Math.trunc(amount * (binary === "" ? 1000 : 1024) ** power);
}

const SPAN = /^(\d+\.?\d*(?:e[+-]?\d+)?)([a-z]*)$/i;

/** Dask's names of units: one letter, in full, and its plural. */
const UNITS_MS = new Map<string, number>();
for (const [letters, name, unit_ms] of [
  ["w", "week", 604_800_000],
  ["d", "day", 86_400_000],
  ["h", "hour", 3_600_000],
  ["m", "minute", 60_000],
  ["s", "second", 1_000],
  ["ms", "millisecond", 1],
  ["us", "microsecond", 1e-3],
  ["ns", "nanosecond", 1e-6],
] as const) {
  for (const form of [letters, name, `${name}s`]) UNITS_MS.set(form, unit_ms);
}
