import { NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import { grown, IntStack } from "../base/typed-arrays.ts";
import type { ClusterView } from "./policy.ts";

/** RSDS looks at the first 512 inputs of a task and the first 32 holders of each: so do we. */
const INPUTS_MAX = 512;
const HOLDERS_MAX = 32;

/**
 * RSDS's transfer cost, in bytes, of a task on a worker (src/scheduler/utils.rs):
 * an input costs 0 where it is held, 1 where it will be fetched anyway, half its size where a worker on the same
 * host holds it, else its size.
 *
 * RSDS computes it for every worker. Only workers that hold or will hold an input can be cheaper than the
 * rest, so this one accumulates what each of those *saves*, and looks at no other.
 */
export class TransferCost {
  /** By worker: bytes saved. Zero outside {@link cheapest}. */
  #saved = new Float64Array(64);
  /** By host: half the bytes of the inputs that some worker of it holds. */
  #saved_by_host = new Float64Array(16);
  readonly #seen = new IntStack();
  readonly #seen_hosts = new IntStack();
  /** Hosts that the input at hand was counted for. */
  readonly #input_hosts = new Set<number>();
  readonly #best = new IntStack();

  /**
   * The workers that are cheapest for the task, of those that run; empty when no worker is cheaper than another.
   * Valid until the next call.
   */
  cheapest(task: TaskId, view: ClusterView): Readonly<IntStack> {
    this.#accumulate(task, view);
    const best = this.#best;
    best.length = 0;
    let most = 0;
    for (let i = 0; i < this.#seen.length; i++) {
      const worker = this.#seen.items[i]!;
      const saved = this.#saved[worker]! + (view.hosts > 1 ? this.#saved_by_host[view.host(worker)]! : 0);
      if (!view.running.has(worker) || saved < most) continue;
      if (saved > most) {
        most = saved;
        best.length = 0;
      }
      if (saved > 0) best.push(worker);
    }
    for (let i = 0; i < this.#seen.length; i++) this.#saved[this.#seen.items[i]!] = 0;
    for (let i = 0; i < this.#seen_hosts.length; i++) this.#saved_by_host[this.#seen_hosts.items[i]!] = 0;
    this.#seen.length = 0;
    this.#seen_hosts.length = 0;
    return best;
  }

  /** The cost of one task on one worker, in bytes. */
  of(task: TaskId, worker: WorkerId, view: ClusterView): number {
    const count = Math.min(view.dependencyCount(task), INPUTS_MAX);
    let cost = 0;
    for (let i = 0; i < count; i++) cost += inputCost(view.dependency(task, i), worker, view);
    return cost;
  }

  #accumulate(task: TaskId, view: ClusterView): void {
    const count = Math.min(view.dependencyCount(task), INPUTS_MAX);
    for (let i = 0; i < count; i++) {
      const input = view.dependency(task, i);
      const size = view.nbytes(input);
      const half = view.hosts > 1 ? size / 2 : 0;
      let looked_at = 0;
      for (let r = view.firstHolder(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextHolder(r)) {
        // What the host saves is added for all its workers below, so a holder's own share is the other half.
        this.#save(view.holder(r), size - half);
        if (half > 0) this.#saveHost(view.host(view.holder(r)), half);
        looked_at++;
      }
      looked_at = 0;
      for (let r = view.firstNeed(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextNeed(r)) {
        const worker = view.need(r);
        // Its host may save half already.
        const by_host = half > 0 && this.#input_hosts.has(view.host(worker)) ? half : 0;
        this.#save(worker, size - 1 - by_host);
        looked_at++;
      }
      if (this.#input_hosts.size > 0) this.#input_hosts.clear();
    }
  }

  #save(worker: WorkerId, bytes: number): void {
    if (worker >= this.#saved.length) this.#saved = grown(this.#saved, Math.max(worker + 1, worker * 2));
    if (this.#saved[worker] === 0) this.#seen.push(worker);
    this.#saved[worker]! += Math.max(bytes, Number.MIN_VALUE);
  }

  /** Several holders on one host save its other workers no more than one does. */
  #saveHost(host: number, bytes: number): void {
    if (this.#input_hosts.has(host)) return;
    this.#input_hosts.add(host);
    if (host >= this.#saved_by_host.length)
      this.#saved_by_host = grown(this.#saved_by_host, Math.max(host + 1, host * 2));
    if (this.#saved_by_host[host] === 0) this.#seen_hosts.push(host);
    this.#saved_by_host[host]! += bytes;
  }
}

function inputCost(input: TaskId, worker: WorkerId, view: ClusterView): number {
  const host = view.host(worker);
  let on_host = false;
  let looked_at = 0;
  for (let r = view.firstHolder(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextHolder(r)) {
    const holder = view.holder(r);
    if (holder === worker) return 0;
    if (view.host(holder) === host) on_host = true;
    looked_at++;
  }
  looked_at = 0;
  for (let r = view.firstNeed(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextNeed(r)) {
    if (view.need(r) === worker) return 1;
    looked_at++;
  }
  const size = view.nbytes(input);
  return on_host ? size / 2 : size;
}
