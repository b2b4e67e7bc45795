import type { Clock } from "../../src/base/clock.ts";
import type { Machine, Timer } from "../../src/base/machine.ts";
import type { Prng } from "../../src/base/prng.ts";
import { EventHeap } from "./event-heap.ts";

/** The first moment of every simulation, milliseconds since the epoch. */
const EPOCH_MS = Date.UTC(2026, 0, 1);

/** What is booked; cancelled, it is left in the heap and skipped. */
class Booking implements Timer {
  callback: (() => void) | null;

  constructor(callback: () => void) {
    this.callback = callback;
  }

  unref(): this {
    return this;
  }
}

/**
 * The machine of a simulation: time passes when {@link step} is called, to the next thing that is booked. Of what is
 * due at one moment, all else comes before what was booked by {@link soon}, as sockets do before a turn.
 */
export class VirtualMachine implements Machine, Clock {
  now_ns = 0;
  readonly #heap = new EventHeap<Booking>();
  readonly #prng: Prng;
  /** A turn may come so much later than what it is for: then it finds more. */
  readonly #turn_delay_ns: number;
  #uuids = 0;

  constructor(prng: Prng, turn_delay_ns: number) {
    this.#prng = prng;
    this.#turn_delay_ns = turn_delay_ns;
  }

  /** Runs what is due next, with all that follows from it at once. False: nothing is booked up
   * to `until_ns`, which it is then. */
  async step(until_ns: number): Promise<boolean> {
    if (this.#heap.next_ns > until_ns) {
      this.now_ns = Math.max(this.now_ns, until_ns);
      return false;
    }
    const time_ns = this.#heap.next_ns;
    const { callback } = this.#heap.take();
    if (callback === null) return true;
    this.now_ns = time_ns;
    callback();
    // Promises that were settled run to their end before anything else happens.
    await new Promise((resolve) => setImmediate(resolve));
    return true;
  }

  at(time_ns: number, callback: () => void): Timer {
    const booking = new Booking(callback);
    this.#heap.add(Math.max(this.now_ns, time_ns), booking);
    return booking;
  }

  // ---- Clock, Machine

  now(): number {
    return this.now_ns;
  }

  wall_ms(): number {
    return EPOCH_MS + this.now_ns / 1e6;
  }

  now_ms(): number {
    return this.now_ns / 1e6;
  }

  after(delay_ms: number, callback: () => void): Timer {
    return this.at(this.now_ns + Math.max(0, delay_ms) * 1e6, callback);
  }

  every(interval_ms: number, callback: () => void): Timer {
    const again = (): void => {
      this.#heap.add(this.now_ns + Math.max(1, interval_ms) * 1e6, booking);
      callback();
    };
    const booking = new Booking(again);
    this.#heap.add(this.now_ns + Math.max(1, interval_ms) * 1e6, booking);
    return booking;
  }

  cancel(timer: Timer | null): void {
    if (timer instanceof Booking) timer.callback = null;
  }

  soon(callback: () => void): void {
    const delay_ns = this.#turn_delay_ns * this.#prng.unit();
    this.#heap.add(this.now_ns + delay_ns, new Booking(callback), 1);
  }

  sleep(delay_ms: number): Promise<void> {
    return new Promise((resolve) => this.after(delay_ms, resolve));
  }

  uuid(): string {
    return `00000000-0000-4000-8000-${String(++this.#uuids).padStart(12, "0")}`;
  }

  secret(): number {
    return this.#prng.u32() | 0;
  }
}
