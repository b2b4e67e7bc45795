import type { Clock } from "../base/clock.ts";
import type { Machine, Timer } from "../base/machine.ts";
import type { Scheduler } from "../core/scheduler.ts";
import { REAL_MACHINE } from "../trace/machine.ts";
import { PHASE } from "../trace/phases.ts";
import type { Cause, Probe } from "../trace/tracer.ts";
import type { StreamOutbox } from "./stream/outbox.ts";

/**
 * Tasks that one turn places at most, and bytes that it writes: 5 to 15 ms each on a present-day core. A graph of a
 * million tasks goes out in many turns, between which everybody else is heard.
 */
const TURN_TASKS_MAX = 16_384;
const TURN_BYTES_MAX = 6 * 1024 * 1024;
/**
 * How long a worker may keep what it could drop, while nothing else is to be said to it. As long as Dask's scheduler
 * collects messages to workers, whatever they are.
 */
const FREES_WAIT_MS = 5;
/** setTimeout's longest delay. */
const DELAY_MS_MAX = 2 ** 31 - 1;

export interface TurnLoopParts {
  readonly scheduler: Scheduler;
  readonly outbox: StreamOutbox;
  readonly clock: Clock;
  readonly probe: Probe;
  /** Told of what a turn threw, which only a mistake of ours can be. If it throws, the process ends. */
  readonly onBug: (error: unknown) => void;
  /** Absent: this one. */
  readonly machine?: Machine;
  /** So many tasks are placed in one turn at most. */
  readonly tasks_max?: number | undefined;
}

/**
 * The turn: whatever packets one poll of the sockets brought is one batch for the scheduler, and each touched
 * peer gets one packet at its end. Nothing waits when the loop is idle; packets grow when it is not.
 */
export class TurnLoop {
  readonly #scheduler: Scheduler;
  readonly #outbox: StreamOutbox;
  readonly #clock: Clock;
  readonly #probe: Probe;
  readonly #on_bug: (error: unknown) => void;
  #pending = false;
  readonly #machine: Machine;
  #wake: Timer | null = null;
  #hurry: Timer | null = null;
  #closed = false;
  readonly #tasks_max: number;
  #cause: Cause = "other";
  /** Turns taken so far. */
  turns = 0;
  /** Called at the end of each turn; null: nobody. */
  onTurn: (() => void) | null = null;
  readonly #turn = (): void => this.#run();
  readonly #written = (): void => {
    const { tracer } = this.#probe;
    tracer?.begin("write");
    tracer?.end();
  };

  constructor({ tasks_max = TURN_TASKS_MAX, machine = REAL_MACHINE, ...parts }: TurnLoopParts) {
    this.#tasks_max = tasks_max;
    this.#machine = machine;
    this.#on_bug = parts.onBug;
    this.#scheduler = parts.scheduler;
    this.#outbox = parts.outbox;
    this.#clock = parts.clock;
    this.#probe = parts.probe;
  }

  /**
   * Something happened: there will be a turn once the callbacks of this poll are through. `cause`: "read" when a
   * socket's packet is what happened; then what the loop does between that callback and the turn is the end of that
   * read.
   */
  touch(cause: Cause = "other"): void {
    if (cause === "read") this.#cause = "read";
    if (this.#pending || this.#closed) return;
    this.#pending = true;
    this.#machine.soon(this.#turn);
  }

  close(): void {
    this.#closed = true;
    this.#machine.cancel(this.#wake);
    this.#machine.cancel(this.#hurry);
  }

  #run(): void {
    const { tracer } = this.#probe;
    this.#pending = false;
    if (this.#closed) return;
    this.turns++;
    const scheduler = this.#scheduler;
    // What is in no span of its own below is the core's: the end of a batch, ids that become reusable.
    scheduler.now_ns = tracer === null ? this.#clock.now() : tracer.begin(this.#cause, PHASE.transition);
    this.#cause = "other";
    let wrote = false;
    try {
      const again_ns = scheduler.schedule(this.#tasks_max);
      // All that a worker is given goes in one packet: packets cost more than the wait.
      if (!scheduler.placing && this.#outbox.pending) {
        wrote = true;
        this.#outbox.flush(TURN_BYTES_MAX);
      }
      scheduler.endBatch();
      if (this.onTurn !== null) this.onTurn();
      if (scheduler.unfinished || this.#outbox.pending) this.touch();
      if (this.#outbox.waiting && this.#hurry === null) this.#hurrySoon();
      if (again_ns !== Number.POSITIVE_INFINITY) this.#wakeAt(again_ns);
    } catch (error) {
      this.#on_bug(error);
    }
    if (tracer === null) return;
    tracer.end();
    // Node finishes writes in ticks of their own, after this callback and before this one: streams' work, tied to ours.
    if (wrote) process.nextTick(this.#written);
  }

  /** A packet that only frees data costs its write, its reading and its answer: most go with the next one. */
  #hurrySoon(): void {
    this.#hurry = this.#machine.after(FREES_WAIT_MS, () => {
      this.#hurry = null;
      this.#outbox.hurry();
      if (this.#outbox.pending) this.touch();
    });
    this.#hurry.unref();
  }

  /** The policy wants to look again later, even if no message comes. */
  #wakeAt(at_ns: number): void {
    if (this.#wake !== null) return;
    const delay_ms = Math.min(DELAY_MS_MAX, Math.max(1, Math.ceil((at_ns - this.#scheduler.now_ns) / 1e6)));
    this.#wake = this.#machine.after(delay_ms, () => {
      this.#wake = null;
      this.touch();
    });
    // A look at the balance alone is no reason to keep the process.
    this.#wake.unref();
  }
}
