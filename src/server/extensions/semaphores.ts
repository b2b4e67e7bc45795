import type { Machine, Timer } from "../../base/machine.ts";
import { pythonRepr } from "../../protocol/python-repr.ts";
import type { WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { Log } from "../peers/log.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { Deadline, nameId, nameText, TIMED_OUT, Waiters } from "./waiting.ts";

/** Dask's `distributed.scheduler.locks.lease-timeout`, for 2022's clients, who do not send theirs. */
const LEASE_TIMEOUT_S = 30;
/** No lease is looked at more often. */
const CHECK_MS_MIN = 100;
const CHECK_MS_MAX = 10_000;

interface Semaphore {
  readonly name: WireValue;
  readonly leases_max: number;
  /** A lease that was not refreshed for so long is over; null: never. */
  readonly lease_timeout_ms: number | null;
  /** When each lease was refreshed last, in milliseconds of the monotonic clock. */
  readonly leases: Map<string, number>;
  readonly acquirers: Waiters<null>;
}

/**
 * Dask's distributed.Semaphore, and Lock, which is one of a single lease since 2023. Holders refresh their leases;
 * those of a holder that is gone run out. Dask looks for such ones every 10 s; here each ends when it is due.
 */
export class Semaphores {
  readonly #log: Log;
  readonly #semaphores = new Map<string, Semaphore>();
  readonly #machine: Machine;
  #timer: Timer | null = null;

  constructor(log: Log, machine: Machine) {
    this.#machine = machine;
    this.#log = log;
  }

  /** `semaphore_register {name, max_leases, lease_timeout}` */
  register(request: Request): WireValue {
    const name = request.value("name");
    const leases_max = request.optionalNumber("max_leases");
    if (leases_max === null || !Number.isInteger(leases_max))
      throw new PythonError("TypeError", "semaphore_register: 'max_leases' must be an int");
    const known = this.#semaphores.get(nameId(name));
    if (known === undefined) {
      const absent = request.fields.get("lease_timeout") === undefined;
      const lease_timeout_s = absent ? LEASE_TIMEOUT_S : request.optionalNumber("lease_timeout");
      this.#semaphores.set(nameId(name), {
        name,
        leases_max,
        // Dask takes 0 for no time-out, too.
        lease_timeout_ms: lease_timeout_s === null || lease_timeout_s === 0 ? null : lease_timeout_s * 1000,
        leases: new Map(),
        acquirers: new Waiters(),
      });
    } else if (known.leases_max !== leases_max)
      throw new PythonError(
        "ValueError",
        `Inconsistent max leases: ${leases_max}, expected: ${known.leases_max}`,
      );
    return null;
  }

  /** `semaphore_acquire {name, timeout?, lease_id}`: whether it was. A lease that is held already is granted again. */
  async acquire(request: Request, channel: Channel): Promise<WireValue> {
    const name = request.value("name");
    const lease_id = request.string("lease_id");
    const deadline = new Deadline(request, channel);
    for (;;) {
      const semaphore = this.#semaphores.get(nameId(name));
      if (semaphore === undefined) throw unknown(name);
      if (semaphore.leases.has(lease_id) || semaphore.leases.size < semaphore.leases_max) {
        semaphore.leases.set(lease_id, this.#machine.now_ms());
        this.#watchLeases();
        return true;
      }
      if ((await semaphore.acquirers.wait(channel, deadline.remaining_ms)) === TIMED_OUT) return false;
    }
  }

  /** `semaphore_release {name, lease_id}` */
  release(request: Request): WireValue {
    const name = request.value("name");
    const lease_id = request.string("lease_id");
    const semaphore = this.#semaphores.get(nameId(name));
    if (semaphore === undefined) {
      const text = `Tried to release Lock or Semaphore \`${nameText(name)}\` but it is not known.`;
      this.#log.writeLimited("WARNING", "semaphore_release", text);
    } else if (semaphore.leases.delete(lease_id)) semaphore.acquirers.wake(null);
    else {
      const text =
        `Tried to release Lock or Semaphore but it was already released: name=${pythonRepr(name)}, ` +
        `lease_id='${lease_id}'. This can happen if the Lock or Semaphore timed out before.`;
      this.#log.writeLimited("WARNING", "semaphore_release", text);
    }
    return null;
  }

  /** `semaphore_refresh_leases {name, lease_ids}`: a lease that has run out is back, even beyond the maximum. */
  refresh(request: Request): WireValue {
    const name = request.value("name");
    const semaphore = this.#semaphores.get(nameId(name));
    // Closed since: there is nothing to refresh, and nothing may be kept for it.
    if (semaphore === undefined) return null;
    for (const lease_id of request.optionalStrings("lease_ids") ?? []) {
      if (!semaphore.leases.has(lease_id))
        this.#log.writeLimited(
          "ERROR",
          "semaphore_refresh_leases",
          `Refreshing an unknown lease ID ${lease_id} for ${nameText(name)}. This might be due to leases timing out ` +
            "and may cause overbooking of the semaphore! This is often caused by long-running GIL-holding in the " +
            "task which acquired the lease.",
        );
      semaphore.leases.set(lease_id, this.#machine.now_ms());
    }
    this.#watchLeases();
    return null;
  }

  /** `semaphore_value {name}`: how many leases are held. */
  value(request: Request): WireValue {
    return this.#semaphores.get(nameId(request.value("name")))?.leases.size ?? 0;
  }

  /** `semaphore_close {name}`: it is gone, whoever holds a lease; who waits for one is told so. */
  close(request: Request): WireValue {
    const name = request.value("name");
    const semaphore = this.#semaphores.get(nameId(name));
    if (semaphore === undefined) return null;
    this.#semaphores.delete(nameId(name));
    if (semaphore.leases.size > 0) {
      const text = `Closing semaphore ${nameText(name)} but there remain unreleased leases`;
      this.#log.writeLimited("WARNING", "semaphore_close", text);
    }
    semaphore.acquirers.fail(unknown(name));
    return null;
  }

  /** Comes back when the first lease may have run out, if any can. */
  #watchLeases(): void {
    if (this.#timer !== null) return;
    const now_ms = this.#machine.now_ms();
    let due_ms = Number.POSITIVE_INFINITY;
    for (const { leases, lease_timeout_ms } of this.#semaphores.values())
      if (lease_timeout_ms !== null)
        for (const refreshed_ms of leases.values())
          due_ms = Math.min(due_ms, refreshed_ms + lease_timeout_ms - now_ms);
    if (due_ms === Number.POSITIVE_INFINITY) return;
    const wait_ms = Math.min(CHECK_MS_MAX, Math.max(CHECK_MS_MIN, Math.ceil(due_ms) + 1));
    this.#timer = this.#machine.after(wait_ms, () => this.#endLeases());
    this.#timer.unref();
  }

  #endLeases(): void {
    this.#timer = null;
    const now_ms = this.#machine.now_ms();
    for (const { name, leases, lease_timeout_ms, acquirers } of this.#semaphores.values()) {
      if (lease_timeout_ms === null) continue;
      for (const [lease_id, refreshed_ms] of leases) {
        if (now_ms - refreshed_ms <= lease_timeout_ms) continue;
        leases.delete(lease_id);
        const text = `Lease ${lease_id} for ${nameText(name)} timed out`;
        this.#log.writeLimited("INFO", "semaphore lease", text);
        acquirers.wake(null);
      }
    }
    this.#watchLeases();
  }
}

function unknown(name: WireValue): PythonError {
  return new PythonError("RuntimeError", `Semaphore or Lock \`${nameText(name)}\` not known.`);
}

export const SEMAPHORE_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["semaphore_register", (request, context) => context.extensions.semaphores.register(request)],
  [
    "semaphore_acquire",
    (request, context, channel) => context.extensions.semaphores.acquire(request, channel),
  ],
  ["semaphore_release", (request, context) => context.extensions.semaphores.release(request)],
  ["semaphore_close", (request, context) => context.extensions.semaphores.close(request)],
  ["semaphore_refresh_leases", (request, context) => context.extensions.semaphores.refresh(request)],
  ["semaphore_value", (request, context) => context.extensions.semaphores.value(request)],
];
