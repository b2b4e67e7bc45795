import type { Clock } from "../../base/clock.ts";
import type { HopBook } from "../hops.ts";
import type { ClockAlignment } from "./window.ts";

/** The wall clock may be corrected at any time; in between it runs with the monotonic one. */
const ALIGN_MS = 60_000;
const TICK_MS_MAX = 20;

/** Keeps a window's hops of real workers on the recorder's clock. */
export class ClockAligner {
  readonly #hops: HopBook;
  readonly #clock: Clock;
  readonly #first_ns: number;
  #drift_ns = 0;
  readonly #timer: NodeJS.Timeout;

  /** Begins with what the hops know of the workers' clocks forgotten. */
  constructor(hops: HopBook, clock: Clock) {
    this.#hops = hops;
    this.#clock = clock;
    hops.written_start_ns_min = Number.POSITIVE_INFINITY;
    hops.stop_read_ns_min = Number.POSITIVE_INFINITY;
    hops.offset_ns = wallClockOffset(clock);
    this.#first_ns = hops.offset_ns;
    this.#timer = setInterval(() => this.#align(), ALIGN_MS);
    this.#timer.unref();
  }

  #align(): void {
    this.#hops.offset_ns = wallClockOffset(this.#clock);
    this.#drift_ns = Math.max(this.#drift_ns, Math.abs(this.#hops.offset_ns - this.#first_ns));
  }

  /** Ends it. */
  stop(): ClockAlignment {
    clearInterval(this.#timer);
    this.#align();
    return {
      method:
        "workers' wall clocks taken as this machine's, which was read at the window's ends and every minute",
      drift_us: this.#drift_ns / 1e3,
      ahead_us_max: microsOrNull(this.#hops.written_start_ns_min),
      behind_us_max: microsOrNull(this.#hops.stop_read_ns_min),
    };
  }
}

/** Null where nothing was measured. */
function microsOrNull(ns: number): number | null {
  return Number.isFinite(ns) ? ns / 1e3 : null;
}

/**
 * The monotonic clock less the wall clock, in ns. The wall clock tells whole milliseconds only, so its next tick is
 * waited for, in a loop of a millisecond at most: right to a microsecond or so unless we are interrupted just then.
 */
function wallClockOffset(clock: Clock): number {
  const first_ms = Date.now();
  const until_ns = clock.now() + TICK_MS_MAX * 1e6;
  for (;;) {
    const now_ms = Date.now();
    const now_ns = clock.now();
    if (now_ms !== first_ms || now_ns > until_ns) return now_ns - now_ms * 1e6;
  }
}
