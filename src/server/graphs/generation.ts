import { NONE } from "../../base/ids.ts";
import type { Books } from "../../core/books.ts";
import { keyBytes } from "../../protocol/keys.ts";
import { toNumber, type WireValue } from "../../protocol/values.ts";

/**
 * Sub-tasks run before all else of their parent's user priority: Dask takes the first number of the parent's priority
 * for their generation, and generations begin at 1.
 */
const SUBTASK_STEP = 0.01;
const SPAN = /^(\d.*?)([a-z]*)$/i;
const WORDS_MS: readonly (readonly [string, string, number])[] = [
  ["ns", "nanosecond", 1e-6],
  ["us", "microsecond", 1e-3],
  ["ms", "millisecond", 1],
  ["s", "second", 1e3],
  ["m", "minute", 6e4],
  ["h", "hour", 3.6e6],
  ["d", "day", 8.64e7],
  ["w", "week", 6.048e8],
];
const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["", 1e3],
  ...WORDS_MS.flatMap(([short, word, ms]) => [short, word, `${word}s`].map((name) => [name, ms] as const)),
]);

/**
 * The middle number of a priority: graphs that come within `fifo_timeout` of each other share one, later ones run
 * later (distributed.scheduler.Scheduler.update_graph).
 */
export class Generations {
  #generation = 0;
  #last_ms = Number.NEGATIVE_INFINITY;

  next(
    fields: { submitting_task: WireValue; fifo_timeout: WireValue; now_ms: number },
    books: Books,
  ): number {
    // Python's truth: an empty key is none.
    if (fields.submitting_task !== null && fields.submitting_task !== "") {
      const key = keyBytes(fields.submitting_task);
      const parent = books.keys.findKey(key);
      return parent === NONE ? this.#generation : books.tasks.user_priority[parent]! - SUBTASK_STEP;
    }
    if (this.#last_ms + timeoutMs(fields.fifo_timeout) < fields.now_ms) {
      this.#generation++;
      this.#last_ms = fields.now_ms;
    }
    return this.#generation;
  }
}

/**
 * Dask's time spans (dask.utils.parse_timedelta): a number of seconds, or text such as `100 ms` or `5 minutes`. What
 * Dask would not take counts as 0: then each graph is a generation of its own.
 */
export function timeoutMs(value: WireValue): number {
  const seconds = toNumber(value);
  if (seconds !== undefined) return seconds > 0 ? seconds * 1000 : 0;
  if (typeof value !== "string") return 0;
  const packed = value.replaceAll(" ", "");
  // A unit alone is one of it.
  const match = SPAN.exec(/^\d/.test(packed) ? packed : `1${packed}`);
  const number = Number(match?.[1]);
  // Dask knows each unit in small and in capital letters.
  const unit_ms = UNITS_MS.get(match?.[2]?.toLowerCase() ?? "");
  return unit_ms === undefined || Number.isNaN(number) ? 0 : number * unit_ms;
}
