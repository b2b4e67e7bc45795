import type { Machine, Timer } from "../../base/machine.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { pythonRepr } from "../../protocol/python-repr.ts";
import type { WireValue } from "../../protocol/values.ts";
import { timeoutMs } from "../graphs/generation.ts";
import { type Channel, ChannelClosedError } from "../peers/channel.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";

/** What a wait that lasted too long gives. */
export const TIMED_OUT = Symbol("timed out");
/** setTimeout's longest delay: whoever waits longer than these 25 days waits for ever. */
const DELAY_MS_MAX = 2 ** 31 - 1;

interface Waiter<T> {
  readonly resolve: (value: T | typeof TIMED_OUT) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Requests that wait for something, first come, first served. One whose connection ends waits no longer (in Dask it
 * does, and may be given what nobody takes then).
 */
export class Waiters<T> {
  /** A set keeps the order, and lets go of one in the middle. */
  readonly #waiters = new Set<Waiter<T>>();

  get length(): number {
    return this.#waiters.size;
  }

  /**
   * Waits until {@link wake} gives it something. `timeout_ms` null: for ever; 0 or less: not at all.
   * Rejects with ChannelClosedError once the connection has ended.
   */
  wait(channel: Channel, timeout_ms: number | null): Promise<T | typeof TIMED_OUT> {
    if (channel.closed !== null) return Promise.reject(new ChannelClosedError(channel.closed));
    if (timeout_ms !== null && timeout_ms <= 0) return Promise.resolve(TIMED_OUT);
    return new Promise((resolve, reject) => {
      let timer: Timer | null = null;
      const over = (): void => {
        this.#waiters.delete(waiter);
        channel.watch(null);
        channel.machine.cancel(timer);
      };
      const waiter: Waiter<T> = {
        resolve: (value) => {
          over();
          resolve(value);
        },
        reject: (error) => {
          over();
          reject(error);
        },
      };
      this.#waiters.add(waiter);
      if (timeout_ms !== null && timeout_ms <= DELAY_MS_MAX)
        timer = channel.machine.after(timeout_ms, () => waiter.resolve(TIMED_OUT));
      channel.watch(() => waiter.reject(new ChannelClosedError("the connection ended")));
    });
  }

  /** Gives the value to whoever has waited longest. False: nobody waits. */
  wake(value: T): boolean {
    for (const waiter of this.#waiters) {
      waiter.resolve(value);
      return true;
    }
    return false;
  }

  wakeAll(value: T): void {
    for (const waiter of [...this.#waiters]) waiter.resolve(value);
  }

  /** All of them fail. */
  fail(error: Error): void {
    for (const waiter of [...this.#waiters]) waiter.reject(error);
  }
}

/** How long a request may still wait. */
export class Deadline {
  readonly #machine: Machine;
  readonly #end_ms: number | null;

  /** The field `timeout`, in seconds or as text such as `30 s`; absent or None: no end. */
  constructor(request: Request, channel: Channel) {
    this.#machine = channel.machine;
    const timeout = request.value("timeout");
    if (timeout !== null && typeof timeout !== "string") request.optionalNumber("timeout");
    this.#end_ms = timeout === null ? null : this.#machine.now_ms() + timeoutMs(timeout);
  }

  get remaining_ms(): number | null {
    return this.#end_ms === null ? null : this.#end_ms - this.#machine.now_ms();
  }

  get expired(): boolean {
    return this.#end_ms !== null && this.#machine.now_ms() >= this.#end_ms;
  }
}

/** What names of queues, locks and so on are looked up by: they may be anything that msgpack holds. */
export function nameId(name: WireValue): string {
  return Buffer.from(packValue(name)).toString("latin1");
}

/** The name as Python's `str` has it, for texts and the names of pseudo-clients. */
export function nameText(name: WireValue): string {
  return typeof name === "string" ? name : pythonRepr(name);
}

export function timeoutError(text = ""): PythonError {
  return new PythonError("TimeoutError", text);
}
