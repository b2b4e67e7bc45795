import type { WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { Handler } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import { Deadline, nameId, TIMED_OUT, Waiters } from "./waiting.ts";

interface Flag {
  set: boolean;
  readonly waiters: Waiters<null>;
}

/** Dask's distributed.Event: a named flag that others wait for. One that is not set and not waited for is forgotten. */
export class Flags {
  readonly #flags = new Map<string, Flag>();

  /** `event_wait {name, timeout?}`: true once it is set, false after the time-out. */
  async wait(request: Request, channel: Channel): Promise<WireValue> {
    const id = nameId(request.value("name"));
    const deadline = new Deadline(request, channel);
    const flag = this.#flag(id);
    if (flag.set) return true;
    try {
      return (await flag.waiters.wait(channel, deadline.remaining_ms)) !== TIMED_OUT;
    } finally {
      this.#mayForget(id, flag);
    }
  }

  /** `event_set {name}` */
  set(request: Request): WireValue {
    const flag = this.#flag(nameId(request.value("name")));
    flag.set = true;
    flag.waiters.wakeAll(null);
    return null;
  }

  /** `event_clear {name}` */
  clear(request: Request): WireValue {
    const id = nameId(request.value("name"));
    const flag = this.#flags.get(id);
    if (flag === undefined) return null;
    flag.set = false;
    this.#mayForget(id, flag);
    return null;
  }

  /** `event_is_set {name}` */
  isSet(request: Request): WireValue {
    return this.#flags.get(nameId(request.value("name")))?.set ?? false;
  }

  #flag(id: string): Flag {
    let flag = this.#flags.get(id);
    if (flag === undefined) {
      flag = { set: false, waiters: new Waiters() };
      this.#flags.set(id, flag);
    }
    return flag;
  }

  #mayForget(id: string, flag: Flag): void {
    if (!flag.set && flag.waiters.length === 0 && this.#flags.get(id) === flag) this.#flags.delete(id);
  }
}

export const FLAG_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["event_wait", (request, context, channel) => context.extensions.flags.wait(request, channel)],
  ["event_set", (request, context) => context.extensions.flags.set(request)],
  ["event_clear", (request, context) => context.extensions.flags.clear(request)],
  ["event_is_set", (request, context) => context.extensions.flags.isSet(request)],
];
