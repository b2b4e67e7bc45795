/** Something that will happen later, until it is cancelled. */
export interface Timer {
  /** It alone is no reason to keep the process. */
  unref(): unknown;
}

/**
 * What a server takes of the machine that it runs on besides its sockets and its clock for measuring: the time of day,
 * timers, and what nobody can guess. A simulation has one of its own.
 */
export interface Machine {
  /** Milliseconds since the epoch. */
  wall_ms(): number;
  /** Milliseconds since some origin; never goes back. */
  now_ms(): number;
  after(delay_ms: number, callback: () => void): Timer;
  every(interval_ms: number, callback: () => void): Timer;
  /** Ends a timer of {@link after} or {@link every}; one that is over already, or null, is left alone. */
  cancel(timer: Timer | null): void;
  /** Once the callbacks of the present poll of the sockets are through. */
  soon(callback: () => void): void;
  sleep(delay_ms: number): Promise<void>;
  uuid(): string;
  /** A secret of 32 bits, signed. */
  secret(): number;
}
