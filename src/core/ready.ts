import type { IntStack } from "../base/typed-arrays.ts";
import type { Policy } from "../schedulers/policy.ts";
import type { Books } from "./books.ts";
import { QUEUED, WAITING } from "./states.ts";
import { FLAG_READY } from "./task-table.ts";
import type { Transitions } from "./transitions.ts";

/**
 * Empties the ready list into an array of the tasks that are still to be placed, best priority first.
 * Tasks may have been released, cancelled or even forgotten since they became ready: those are left out.
 */
export function takeReady(books: Books, ready: IntStack): { ids: Int32Array; count: number } {
  const { tasks } = books;
  const ids = ready.items;
  let count = 0;
  for (let i = 0; i < ready.length; i++) {
    const task = ids[i]!;
    const flags = tasks.flags[task]!;
    if ((flags & FLAG_READY) === 0) continue;
    tasks.flags[task] = flags & ~FLAG_READY;
    const state = tasks.state[task]!;
    if ((state === WAITING && tasks.waiting_on[task] === 0) || state === QUEUED) ids[count++] = task;
  }
  const taken = ids.slice(0, count);
  ready.clear();
  return { ids: inOrder(books, taken), count };
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

/** Withheld tasks that may be placed: as many as there are slots, or those that the policy names. */
export function openQueue(books: Books, moves: Transitions, policy: Policy): void {
  const { queue, ready } = moves;
  if (queue.length === 0) return;
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
  for (let left = Math.min(slots, queue.length); left > 0; left--) {
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
