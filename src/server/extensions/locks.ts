import type { WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { Deadline, nameId, TIMED_OUT, Waiters } from "./waiting.ts";

interface Lock {
  /** Who holds it. */
  holder: string;
  readonly acquirers: Waiters<null>;
}

/**
 * distributed.Lock of 2022's clients; later ones take a semaphore. As in Dask a lock stays with a holder that is gone:
 * a lock names its holder by a number that no connection is tied to.
 */
export class Locks {
  readonly #locks = new Map<string, Lock>();

  /** `lock_acquire {name, id, timeout?}`: whether it was. */
  async acquire(request: Request, channel: Channel): Promise<WireValue> {
    const name = nameId(request.value("name"));
    const holder = nameId(request.value("id"));
    const deadline = new Deadline(request, channel);
    const lock = this.#locks.get(name);
    if (lock === undefined) {
      this.#locks.set(name, { holder, acquirers: new Waiters() });
      return true;
    }
    if ((await lock.acquirers.wait(channel, deadline.remaining_ms)) === TIMED_OUT) return false;
    lock.holder = holder;
    return true;
  }

  /** `lock_release {name, id}` */
  release(request: Request): WireValue {
    const name = nameId(request.value("name"));
    const lock = this.#locks.get(name);
    if (lock === undefined || lock.holder !== nameId(request.value("id")))
      throw new PythonError("ValueError", "This lock has not yet been acquired");
    // Handed over: nobody who comes in between can take it.
    if (lock.acquirers.wake(null)) lock.holder = "";
    else this.#locks.delete(name);
    return null;
  }
}

export const LOCK_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["lock_acquire", (request, context, channel) => context.extensions.locks.acquire(request, channel)],
  ["lock_release", (request, context) => context.extensions.locks.release(request)],
];
