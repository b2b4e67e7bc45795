import { NONE } from "../../base/ids.ts";
import type { Books } from "../../core/books.ts";
import { keyBytes } from "../../protocol/keys.ts";
import { toNumber, type WireValue } from "../../protocol/values.ts";

/** Sub-tasks run a little before what comes after their parent, as in Dask. */
const SUBTASK_STEP = 0.01;
const UNITS_MS: Readonly<Record<string, number>> = { us: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6, "": 1e3 };

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
    if (fields.submitting_task !== null) {
      const key = keyBytes(fields.submitting_task);
      const parent = books.keys.find(key, 0, key.length);
      return parent === NONE ? this.#generation : books.tasks.generation[parent]! - SUBTASK_STEP;
    }
    if (this.#last_ms + timeoutMs(fields.fifo_timeout) < fields.now_ms) {
      this.#generation++;
      this.#last_ms = fields.now_ms;
    }
    return this.#generation;
  }
}

/** Dask's time spans: a number of seconds, or text such as `100 ms`. What cannot be read counts as 0. */
export function timeoutMs(value: WireValue): number {
  const number = toNumber(value);
  if (number !== undefined) return number * 1000;
  const match = typeof value === "string" ? /^\s*([\d.]+)\s*([a-z]*)\s*$/.exec(value) : null;
  if (match === null) return 0;
  return Number(match[1]) * (UNITS_MS[match[2]!] ?? 0);
}
