import type { WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { Deadline, nameId, nameText, TIMED_OUT, Waiters } from "./waiting.ts";

/** Someone who wants some of several locks. */
interface Claim {
  /** Locks in whose lines it stands, at the head or behind others. */
  readonly locks: Set<string>;
  /** How many it still needs. */
  missing: number;
  readonly waiter: Waiters<null>;
}

/**
 * Dask's distributed.MultiLock: several locks at once, or any few of them. Each lock has a line of claims, whose head
 * holds it; a claim is granted when it heads enough lines.
 */
export class MultiLocks {
  readonly #lines = new Map<string, Claim[]>();
  /** By the id of the client's object. */
  readonly #claims = new Map<string, Claim>();

  /** `multi_lock_acquire {locks, id, timeout?, num_locks?}`: whether it was. */
  async acquire(request: Request, channel: Channel): Promise<WireValue> {
    const names = new Set(request.list("locks").map(nameId));
    const id = nameId(request.value("id"));
    const deadline = new Deadline(request, channel);
    // A lock that is named twice is one lock: Dask would wait for it behind itself.
    const wanted = Math.min(request.optionalNumber("num_locks") ?? names.size, names.size);
    if (wanted <= 0) throw new PythonError("ValueError", "multi_lock_acquire: at least one lock is needed");
    if (this.#claims.has(id))
      throw new PythonError("ValueError", "This MultiLock has been acquired, or waits to be");
    const claim: Claim = { locks: new Set(), missing: wanted, waiter: new Waiters() };
    this.#claims.set(id, claim);
    this.#line(claim, names);
    if (claim.missing === 0) return true;
    let granted = false;
    try {
      granted = (await claim.waiter.wait(channel, deadline.remaining_ms)) !== TIMED_OUT;
      return granted;
    } finally {
      if (!granted) this.#drop(id, claim);
    }
  }

  /** `multi_lock_release {id}` */
  release(request: Request): WireValue {
    const id = nameId(request.value("id"));
    const claim = this.#claims.get(id);
    if (claim === undefined) throw new PythonError("KeyError", nameText(request.value("id")));
    this.#drop(id, claim);
    return null;
  }

  /** Stands in line for the locks, the shortest lines first, until it has enough. */
  #line(claim: Claim, names: ReadonlySet<string>): void {
    const length = (name: string): number => this.#lines.get(name)?.length ?? 0;
    for (const name of [...names].sort((a, b) => length(a) - length(b))) {
      const line = this.#lines.get(name) ?? [];
      this.#lines.set(name, line);
      line.push(claim);
      claim.locks.add(name);
      if (line.length === 1 && --claim.missing === 0) return;
    }
  }

  #drop(id: string, claim: Claim): void {
    this.#claims.delete(id);
    const granted = new Set<Claim>();
    for (const name of claim.locks) {
      const line = this.#lines.get(name)!;
      const at = line.indexOf(claim);
      line.splice(at, 1);
      const next = line[0];
      if (next === undefined) this.#lines.delete(name);
      // One that has enough may head further lines: it holds those too, as in Dask, and gives them back with the rest.
      else if (at === 0 && next.missing > 0 && --next.missing === 0) granted.add(next);
    }
    for (const next of granted) next.waiter.wake(null);
  }
}

export const MULTI_LOCK_HANDLERS: readonly (readonly [string, Handler])[] = [
  [
    "multi_lock_acquire",
    (request, context, channel) => context.extensions.multi_locks.acquire(request, channel),
  ],
  ["multi_lock_release", (request, context) => context.extensions.multi_locks.release(request)],
];
