import type { Clock } from "../../src/base/clock.ts";

/** The two clocks of a fleet: one to measure with, one that reports carry. */
export interface FleetClock extends Clock {
  /** Nanoseconds of `CLOCK_MONOTONIC` (as `process.hrtime`): comparable between the threads of a machine. */
  now(): number;
  /** Unix time in seconds that belongs to a reading of {@link now}: one clock read serves both. */
  unixSeconds(now_ns: number): number;
}

/** How often the offset to Unix time is taken again, so that it follows the system clock's corrections. */
const RECALIBRATE_NS = 1e9;

/**
 * The real clock. `performance.now()` counts from the thread's own origin but is the cheapest read; its distance
 * to `process.hrtime()` is constant and taken once.
 */
export class SystemFleetClock implements FleetClock {
  readonly #origin_ns: number;
  #unix_offset_s = 0;
  #calibrated_ns = Number.NEGATIVE_INFINITY;

  constructor() {
    let origin_ns = 0;
    let window_ns_min = Number.POSITIVE_INFINITY;
    // The pair of reads with the least time between them has the least error.
    for (let i = 0; i < 16; i++) {
      const before_ns = performance.now() * 1e6;
      const [s, ns] = process.hrtime();
      const after_ns = performance.now() * 1e6;
      if (after_ns - before_ns < window_ns_min) {
        window_ns_min = after_ns - before_ns;
        origin_ns = s * 1e9 + ns - (before_ns + after_ns) / 2;
      }
    }
    this.#origin_ns = origin_ns;
  }

  now(): number {
    return performance.now() * 1e6 + this.#origin_ns;
  }

  unixSeconds(now_ns: number): number {
    if (now_ns - this.#calibrated_ns > RECALIBRATE_NS) {
      this.#calibrated_ns = now_ns;
      this.#unix_offset_s = Date.now() / 1e3 - now_ns / 1e9;
    }
    return this.#unix_offset_s + now_ns / 1e9;
  }
}
