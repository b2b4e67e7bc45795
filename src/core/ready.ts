import { NONE, type TaskId } from "../base/ids.ts";
import { IntStack } from "../base/typed-arrays.ts";
import type { Policy } from "../schedulers/policy.ts";
import { HOP, STAMP } from "../trace/phases.ts";
import type { Tracer } from "../trace/tracer.ts";
import type { Books } from "./books.ts";
import { QUEUED, WAITING } from "./states.ts";
import { FLAG_READY } from "./task-table.ts";
import type { Transitions } from "./transitions.ts";

const NOTHING = new Int32Array(0);

/**
 * Tasks whose last dependency came in, until they are placed. More than are placed at once wait in the order of their
 * priority; what becomes ready meanwhile goes before them. Tasks may have been released, cancelled or even forgotten since
 * they became ready: FLAG_READY says who is still here.
 */
export class ReadyList {
  readonly #fresh = new IntStack(1024);
  /** Those of a batch that was too large, sorted, from `#next` on. */
  #left: Int32Array = NOTHING;
  #next = 0;

  /** No fewer than are ready: some may not be any more. */
  get length(): number {
    return this.#fresh.length + this.#left.length - this.#next;
  }

  push(task: TaskId): void {
    this.#fresh.push(task);
  }

  /** Whoever is here: for validate(). */
  tasks(): number[] {
    return [...this.#fresh.items.subarray(0, this.#fresh.length), ...this.#left.subarray(this.#next)];
  }

  /** Takes out those that are still to be placed, best priority first, `most` of them at most. */
  take(books: Books, most: number): Int32Array {
    const fresh = this.#fresh;
    if (fresh.length > most) this.#regroup(books);
    const ids = new Int32Array(Math.min(most, this.length));
    let count = 0;
    for (let i = 0; i < fresh.length; i++)
      if (takeFlag(books, fresh.items[i]!)) ids[count++] = fresh.items[i]!;
    fresh.clear();
    while (count < ids.length && this.#next < this.#left.length) {
      const task = this.#left[this.#next++]!;
      if (takeFlag(books, task)) ids[count++] = task;
    }
    if (this.#next === this.#left.length) {
      this.#left = NOTHING;
      this.#next = 0;
    }
    return inOrder(books, ids.subarray(0, count));
  }

  #regroup(books: Books): void {
    const fresh = this.#fresh.items.subarray(0, this.#fresh.length);
    const waiting = this.#left.length - this.#next;
    const all = new Int32Array(waiting + fresh.length);
    all.set(this.#left.subarray(this.#next));
    all.set(fresh, waiting);
    // An id that is here twice, since its task went and came, is placed once, by its flag.
    this.#left = inOrder(books, all);
    this.#next = 0;
    this.#fresh.clear();
  }
}

/** Whether the task is to be placed still; it counts as taken then. */
function takeFlag({ tasks }: Books, task: TaskId): boolean {
  const flags = tasks.flags[task]!;
  if ((flags & FLAG_READY) === 0) return false;
  tasks.flags[task] = flags & ~FLAG_READY;
  const state = tasks.state[task]!;
  return (state === WAITING && tasks.waiting_on[task] === 0) || state === QUEUED;
}

/** Of tasks that all were ready at `ready_ns`, when the turn began, and all were placed just now. */
export function recordPlaced(
  tracer: Tracer,
  { tasks }: Books,
  ids: Int32Array,
  ready_ns: number,
  placed_ns: number,
): void {
  const { stamp_ns, processing_on, stamps } = tasks;
  for (let i = 0; i < ids.length; i++) {
    const task = ids[i]!;
    tracer.hop(HOP.knownReady, ready_ns - stamp_ns[task]!);
    stamp_ns[task] = placed_ns;
    if (stamps === null) continue;
    stamps.stamp(task, STAMP.ready, ready_ns);
    stamps.stamp(task, STAMP.placed, placed_ns);
    if (processing_on[task] !== NONE) stamps.worker(task, processing_on[task]!);
  }
  tracer.hops(HOP.readyPlaced, placed_ns - ready_ns, ids.length);
}

/** The threads that have no task. */
function freeThreads(books: Books): number {
  const { underloaded } = books;
  let threads = 0;
  for (let i = 0; i < underloaded.length; i++) {
    const worker = books.worker(underloaded.items[i]!);
    threads += worker.threads - worker.load;
  }
  return threads;
}

/** Whether a policy that wants to be asked at such times may look at the balance. */
export function mayBalance(books: Books, when: NonNullable<Policy["balances"]>): boolean {
  if (when === "always") return true;
  return books.overloaded.length > 0 && (when === "overloaded" || books.underloaded.length > 0);
}

/** Withheld tasks that may be placed: as many as there are slots (`most` at most), or those that the policy names. */
export function openQueue(books: Books, moves: Transitions, policy: Policy, most: number): void {
  const { queue, ready } = moves;
  if (queue.length === 0 || most <= 0) return;
  if (policy.picks !== undefined) {
    for (const task of policy.picks()) {
      if (books.tasks.state[task] !== QUEUED) continue;
      queue.delete(task);
      books.tasks.flags[task]! |= FLAG_READY;
      ready.push(task);
    }
    return;
  }
  const slots = policy.openSlots?.(books) ?? freeThreads(books);
  for (let left = Math.min(slots, queue.length, most); left > 0; left--) {
    const task = queue.shift();
    books.tasks.flags[task]! |= FLAG_READY;
    ready.push(task);
  }
}

function inOrder(books: Books, ids: Int32Array): Int32Array {
  const { generation, user_priority } = books.tasks;
  let sorted = true;
  let uniform = ids.length < 1 << 21;
  for (let i = 1; i < ids.length; i++) {
    const a = ids[i - 1]!;
    const b = ids[i]!;
    if (generation[a] !== generation[b] || user_priority[a] !== user_priority[b]) uniform = false;
    if (sorted && books.compare(a, b) > 0) sorted = false;
  }
  if (sorted) return ids;
  return uniform ? sortByOrder(books, ids) : ids.sort((a, b) => books.compare(a, b));
}

/**
 * Tasks of one graph differ in their order alone. Order and index packed into one float sort without a comparator,
 * several times faster than with one.
 */
function sortByOrder(books: Books, ids: Int32Array): Int32Array {
  const { order } = books.tasks;
  const span = ids.length;
  const packed = new Float64Array(span);
  for (let i = 0; i < span; i++) packed[i] = order[ids[i]!]! * span + i;
  packed.sort();
  const sorted = new Int32Array(span);
  for (let i = 0; i < span; i++) {
    const value = packed[i]!;
    sorted[i] = ids[value - Math.floor(value / span) * span]!;
  }
  return sorted;
}
