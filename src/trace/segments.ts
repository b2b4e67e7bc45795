import { PHASE_COUNT } from "./phases.ts";

/** Classes of time beside the span phases: in a callback but in no span; libuv's waiting has no class, see `idle`. */
export const UNCLAIMED = PHASE_COUNT;

/** Classes of time that segments can have: the span phases and {@link UNCLAIMED}. */
export const CLASS_COUNT = PHASE_COUNT + 1;

/** `start` is where the visited part of the segment begins. */
export type SegmentVisitor = (kind: number, busy: number, idle: number, start: number) => void;

/**
 * What the thread did lately: consecutive segments of time, each of one class, in a bounded ring. Collections are
 * reported some 110 ms late and a window's ends become known only after it, so time must be taken back from the
 * class that it was booked on.
 *
 * The first segments after a reset stay, since the window's true beginning lies among them; behind them the ring
 * turns. A segment may hold some of libuv's waiting; it is taken to lie at the segment's beginning, since libuv
 * waits first and then reads what it waited for.
 */
export class Segments {
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #idles: Float64Array;
  readonly #classes: Uint8Array;
  readonly #head: number;
  #next = 0;
  #wrapped = false;

  /** `capacity` segments, of which the first 1/16 after a reset are never overwritten. */
  constructor(capacity: number) {
    this.#starts = new Float64Array(capacity);
    this.#ends = new Float64Array(capacity);
    this.#idles = new Float64Array(capacity);
    this.#classes = new Uint8Array(capacity);
    this.#head = capacity >> 4;
  }

  reset(): void {
    this.#next = 0;
    this.#wrapped = false;
  }

  push(start: number, end: number, idle: number, kind: number): void {
    const i = this.#next;
    this.#starts[i] = start;
    this.#ends[i] = end;
    this.#idles[i] = idle;
    this.#classes[i] = kind;
    if (i + 1 < this.#starts.length) {
      this.#next = i + 1;
    } else {
      this.#next = this.#head;
      this.#wrapped = true;
    }
  }

  /**
   * Calls `visit` with how much busy and idle time each segment has between `from` and `to`, newest first.
   * Returns how much of that time no kept segment covers.
   */
  within(from: number, to: number, visit: SegmentVisitor): number {
    let uncovered = to - from;
    // Newest first: late reports concern the newest segments, so the walk ends early.
    const count = this.#wrapped ? this.#starts.length : this.#next;
    for (let back = 1; back <= count; back++) {
      const i = this.#at(back);
      const start = this.#starts[i]!;
      const end = this.#ends[i]!;
      if (end <= from) break;
      const low = Math.max(start, from);
      const high = Math.min(end, to);
      if (high <= low) continue;
      const waited_until = start + this.#idles[i]!;
      const idle = Math.max(0, Math.min(high, waited_until) - low);
      uncovered -= high - low;
      visit(this.#classes[i]!, high - low - idle, idle, low);
    }
    return Math.max(0, uncovered);
  }

  /** The place of the segment that was pushed `back` pushes ago (1 = the newest), as far as it is kept. */
  #at(back: number): number {
    const turning = this.#starts.length - this.#head;
    if (!this.#wrapped || back > turning) return (this.#wrapped ? this.#starts.length : this.#next) - back;
    const i = this.#next - back;
    return i >= this.#head ? i : i + turning;
  }
}
