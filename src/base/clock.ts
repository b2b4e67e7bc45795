/** A monotonic clock in nanoseconds since some origin, as a float (exact to a microsecond for 285 years). */
export interface Clock {
  now(): number;
}

/** Tests and the simulator move this by hand. */
export class ManualClock implements Clock {
  now_ns = 0;

  now(): number {
    return this.now_ns;
  }
}
