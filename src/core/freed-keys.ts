import { NONE, type TaskId } from "../base/ids.ts";

/** How many of the last ones are remembered; a power of two. */
const KEPT = 256;
/** How far ahead an answer that came out of order is looked for. */
const SKIP_MAX = 16;
const EMPTY = new Int32Array(0);

/**
 * The tasks whose keys a worker was told to free, oldest first: it answers each with `release-worker-data`, mostly in
 * that order. No more than a guess: a worker need not answer, and an id may be another task's by then.
 */
export class FreedKeys {
  #ring: Int32Array = EMPTY;
  /** Counted since the beginning, whatever was overwritten. */
  #pushed = 0;
  #taken = 0;

  push(task: TaskId): void {
    if (this.#ring === EMPTY) this.#ring = new Int32Array(KEPT);
    this.#ring[this.#pushed++ & (KEPT - 1)] = task;
    if (this.#pushed - this.#taken > KEPT) this.#taken = this.#pushed - KEPT;
  }

  /** Whose key is probably answered next, or NONE. */
  get next(): TaskId {
    return this.#taken === this.#pushed ? NONE : this.#ring[this.#taken & (KEPT - 1)]!;
  }

  /** {@link next}, which was answered. */
  take(): TaskId {
    return this.#ring[this.#taken++ & (KEPT - 1)]!;
  }

  /** `task` was answered out of order: what is before it will not be. */
  skipTo(task: TaskId): void {
    const end = Math.min(this.#pushed, this.#taken + SKIP_MAX);
    for (let at = this.#taken; at < end; at++) {
      if (this.#ring[at & (KEPT - 1)] !== task) continue;
      this.#taken = at + 1;
      return;
    }
  }
}
