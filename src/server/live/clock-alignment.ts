import type { Clock } from "../../base/clock.ts";
import type { HopBook } from "../hops.ts";
import type { ClockAlignment } from "./window.ts";

/** The wall clock may be corrected at any time; in between it runs with the monotonic one. */
const ALIGN_MS = 60_000;
/** A tick that is seen as closely as this is taken. */
const ERROR_NS_GOOD = 10_000;
/** On a busy machine no tick may be seen closely: then the best of so long is taken. */
const READ_MS_MAX = 5;

/** Keeps a window's hops of real workers on the recorder's clock. */
export class ClockAligner {
  readonly #hops: HopBook;
  readonly #clock: Clock;
  readonly #first_ns: number;
  #drift_ns = 0;
  #error_ns = 0;
  readonly #timer: NodeJS.Timeout;

  /** Begins with what the hops know of the workers' clocks forgotten. */
  constructor(hops: HopBook, clock: Clock) {
    this.#hops = hops;
    this.#clock = clock;
    hops.written_start_ns_min = Number.POSITIVE_INFINITY;
    hops.stop_read_ns_min = Number.POSITIVE_INFINITY;
    this.#first_ns = this.#read();
    this.#timer = setInterval(() => this.#align(), ALIGN_MS);
    this.#timer.unref();
  }

  #align(): void {
    this.#drift_ns = Math.max(this.#drift_ns, Math.abs(this.#read() - this.#first_ns));
  }

  #read(): number {
    const { offset_ns, error_ns } = readOffset(this.#clock);
    this.#error_ns = Math.max(this.#error_ns, error_ns);
    this.#hops.offset_ns = offset_ns;
    return offset_ns;
  }

  /**
   * Ends it. `write_ns_max`: the longest that a write took, after which `written` is stamped; a task may start from
   * the write's beginning on.
   */
  stop(write_ns_max: number): ClockAlignment {
    clearInterval(this.#timer);
    this.#align();
    return {
      method:
        "stamps as workers bring them to the scheduler's wall clock by their heartbeats; that was read against the monotonic clock at the window's ends and every minute",
      error_us: this.#error_ns / 1e3,
      drift_us: this.#drift_ns / 1e3,
      ahead_us_max: microsOrNull(this.#hops.written_start_ns_min + write_ns_max),
      behind_us_max: microsOrNull(this.#hops.stop_read_ns_min),
    };
  }
}

/** Null where nothing was measured. */
function microsOrNull(ns: number): number | null {
  return Number.isFinite(ns) ? ns / 1e3 : null;
}

interface Offset {
  /** The monotonic clock less the wall clock. */
  readonly offset_ns: number;
  /** It is right to this. */
  readonly error_ns: number;
}

/**
 * The wall clock tells whole milliseconds only, so its next tick is waited for, in a loop of a millisecond: it lies
 * between two readings of the monotonic clock. Whoever is interrupted between them waits for a further tick.
 */
function readOffset(clock: Clock): Offset {
  let best: Offset = { offset_ns: 0, error_ns: Number.POSITIVE_INFINITY };
  const until_ns = clock.now() + READ_MS_MAX * 1e6;
  let last_ns = clock.now();
  let last_ms = Date.now();
  for (;;) {
    const now_ms = Date.now();
    const now_ns = clock.now();
    if (now_ms !== last_ms) {
      const error_ns = now_ns - last_ns;
      if (error_ns < best.error_ns) best = { offset_ns: now_ns - now_ms * 1e6, error_ns };
    }
    if (best.error_ns < ERROR_NS_GOOD || now_ns > until_ns) return best;
    last_ms = now_ms;
    last_ns = now_ns;
  }
}
