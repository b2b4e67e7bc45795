import type { Clock } from "../../src/base/clock.ts";
import { MonotonicClock } from "../../src/trace/clock.ts";

/** The two clocks of a fleet: one to measure with, one that reports carry. */
export interface FleetClock extends Clock {
  /** Nanoseconds of the machine's monotonic clock: comparable between its threads. */
  now(): number;
  /** Unix time in seconds that belongs to a reading of {@link now}: one clock read serves both. */
  unixSeconds(now_ns: number): number;
}

/** How often the offset to Unix time is taken again, so that it follows the system clock's corrections. */
const RECALIBRATE_NS = 1e9;

/** The real clocks. One for each thread. */
export class SystemFleetClock implements FleetClock {
  readonly #monotonic = new MonotonicClock();
  #unix_offset_s = 0;
  #calibrated_ns = Number.NEGATIVE_INFINITY;

  now(): number {
    return this.#monotonic.now();
  }

  unixSeconds(now_ns: number): number {
    if (now_ns - this.#calibrated_ns > RECALIBRATE_NS) {
      this.#calibrated_ns = now_ns;
      this.#unix_offset_s = Date.now() / 1e3 - this.#monotonic.now() / 1e9;
    }
    return this.#unix_offset_s + now_ns / 1e9;
  }
}
