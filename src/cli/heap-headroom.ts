import { getHeapStatistics, setFlagsFromString } from "node:v8";

/** What may be allocated between two full collections, however small the heap is. */
const HEADROOM_BYTES = 256 * 1024 * 1024;
/** A fifth of it would be V8's own choice for a heap that is not small any more. */
const PERCENT_MIN = 20;
const PERCENT_MAX = 400;
const PERIOD_MS = 1000;

/**
 * By how many per cent a heap of `live_bytes` may grow before it is collected as a whole; 0 leaves it to V8. Not
 * counting external memory: V8 takes the percentage of the heap alone, though the growth of both uses it up. `limit_bytes`: what V8 allows the heap in all, less where a container has less memory.
 */
export function growingPercent(live_bytes: number, limit_bytes: number): number {
  const headroom = Math.min(HEADROOM_BYTES, limit_bytes / 8);
  const percent = Math.min(PERCENT_MAX, Math.floor((100 * headroom) / Math.max(1, live_bytes)));
  return percent < PERCENT_MIN ? 0 : percent;
}

/**
 * Lets the heap of this process grow further between two full collections. A scheduler has a small heap of its own
 * and messages of many MiB beside it, which count as growth: V8 would mark the heap anew for every 15 MiB or so, on
 * threads of its own, at a tenth of the scheduler's CPU (docs/decisions/0016-heap-headroom.md). For the life of
 * the process.
 */
export function giveHeapHeadroom(): void {
  let percent = 0;
  const adjust = (): void => {
    const { used_heap_size, heap_size_limit } = getHeapStatistics();
    const wanted = growingPercent(used_heap_size, heap_size_limit);
    if (wanted === percent) return;
    percent = wanted;
    // V8 reads it at the end of each full collection, when it sets the limit for the next.
    setFlagsFromString(`--heap-growing-percent=${percent}`);
  };
  adjust();
  setInterval(adjust, PERIOD_MS).unref();
}
