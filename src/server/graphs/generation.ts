import { NONE } from "../../base/ids.ts";
import { durationMs } from "../../base/units.ts";
import type { Books } from "../../core/books.ts";
import { keyBytes } from "../../protocol/keys.ts";
import { toNumber, type WireValue } from "../../protocol/values.ts";

/**
 * Sub-tasks run before all else of their parent's user priority: Dask takes the first number of the parent's priority
 * for their generation, and generations begin at 1.
 */
const SUBTASK_STEP = 0.01;

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
  return typeof value === "string" ? (durationMs(value) ?? 0) : 0;
}
