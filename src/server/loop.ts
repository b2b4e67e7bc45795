import type { Clock } from "../base/clock.ts";
import type { Scheduler } from "../core/scheduler.ts";
import type { Tracer } from "../trace/tracer.ts";
import type { StreamOutbox } from "./stream/outbox.ts";

/** setTimeout's longest delay. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/**
 * The turn: whatever packets one poll of the sockets brought is one batch for the scheduler, and each touched
 * peer gets one packet at its end. Nothing waits when the loop is idle; packets grow when it is not.
 */
export class TurnLoop {
  readonly #scheduler: Scheduler;
  readonly #outbox: StreamOutbox;
  readonly #clock: Clock;
  readonly #tracer: Tracer | null;
  #pending = false;
  #wake: NodeJS.Timeout | null = null;
  #closed = false;
  /** Turns taken so far. */
  turns = 0;
  readonly #turn = (): void => this.#run();

  constructor(scheduler: Scheduler, outbox: StreamOutbox, clock: Clock, tracer: Tracer | null) {
    this.#scheduler = scheduler;
    this.#outbox = outbox;
    this.#clock = clock;
    this.#tracer = tracer;
  }

  /** Something happened: there will be a turn once the callbacks of this poll are through. */
  touch(): void {
    if (this.#pending || this.#closed) return;
    this.#pending = true;
    setImmediate(this.#turn);
  }

  close(): void {
    this.#closed = true;
    if (this.#wake !== null) clearTimeout(this.#wake);
  }

  #run(): void {
    const tracer = this.#tracer;
    this.#pending = false;
    if (this.#closed) return;
    this.turns++;
    const scheduler = this.#scheduler;
    scheduler.now_ns = tracer === null ? this.#clock.now() : tracer.begin("other");
    const again_ns = scheduler.schedule();
    this.#outbox.flush();
    scheduler.endBatch();
    if (again_ns !== Number.POSITIVE_INFINITY) this.#wakeAt(again_ns);
    if (tracer !== null) tracer.end();
  }

  /** The policy wants to look again later, even if no message comes. */
  #wakeAt(at_ns: number): void {
    if (this.#wake !== null) return;
    const delay_ms = Math.min(DELAY_MS_MAX, Math.max(1, Math.ceil((at_ns - this.#scheduler.now_ns) / 1e6)));
    this.#wake = setTimeout(() => {
      this.#wake = null;
      this.touch();
    }, delay_ms);
    // A look at the balance alone is no reason to keep the process.
    this.#wake.unref();
  }
}
