import type { Hop, Phase } from "./phases.ts";

/**
 * What woke a callback of the event loop. libuv works before it calls back, and that gap, less libuv's own idle
 * time in it, is `network.read` before data arrived on a socket, `encoding.unpack` before data arrived on the
 * unpacker's pipe, `network.write` before a write was reported done, and unattributed before anything else.
 */
export type Cause = "read" | "unpack" | "write" | "other";

/** A message so large that the turn of the loop in which it is read or written is a long one whatever is done. */
export interface LargeMessage {
  readonly direction: "in" | "out";
  readonly peer: "client" | "worker";
  /** All of the message, with its lengths. */
  readonly bytes: number;
}

/** From this size on a message is told to {@link Tracer.largeMessage}. */
export const LARGE_MESSAGE_BYTES = 8 * 1024 * 1024;

/**
 * What layers are handed, and ask for its tracer at the beginning of each function: null is "off" and costs a null
 * check. Whoever switches it does so in a callback of the event loop of its own, so that no span is open: within one
 * callback it never changes.
 */
export class Probe {
  tracer: Tracer | null;

  constructor(tracer: Tracer | null = null) {
    this.tracer = tracer;
  }
}

/**
 * All times are nanoseconds of one monotonic clock, as floats. Spans are exclusive: time goes to the phase that
 * was entered last and not yet left. Enter phases for a batch of work, never for one map look-up: an enter and an
 * exit cost two clock reads.
 */
export interface Tracer {
  /** The clock's reading, for stamps that are recorded within the span that they end: recording is that phase's cost. */
  now(): number;
  /**
   * A callback of the event loop starts. May be nested in another callback; then the cause is ignored. With `phase`, a
   * span of that phase starts at the same reading, and ends with the callback.
   */
  begin(cause: Cause, phase?: Phase): number;
  /** The callback that `begin` announced returns to the event loop. */
  end(): number;
  /** From here on, time belongs to `phase`, until its `exit()`. Returns the clock's reading, to be used as a stamp. */
  enter(phase: Phase): number;
  /** Ends the span entered last; time belongs to the one below it again. Returns the clock's reading. */
  exit(): number;
  /** `exit()` and `enter(phase)` at one reading: one step of a batch's work ends where the next begins. */
  swap(phase: Phase): number;
  /** One task took `ns` for a hop; NaN: its beginning was not stamped, and nothing is recorded. */
  hop(hop: Hop, ns: number): void;
  /** `count` tasks took `ns` each: tasks of a batch share their stamps. */
  hops(hop: Hop, ns: number, count: number): void;
  /** In this turn of the loop. */
  largeMessage(message: LargeMessage): void;
}
