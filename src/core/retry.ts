import { NONE, type TaskId } from "../base/ids.ts";
import type { Books } from "./books.ts";
import type { Outbox } from "./outbox.ts";
import { ERRED } from "./states.ts";
import type { Transitions } from "./transitions.ts";

/** Computes an erred task again, and the erred tasks below it that it waits for. False: it is not erred. */
export function retryKey(books: Books, moves: Transitions, outbox: Outbox, task: TaskId): boolean {
  const { tasks, edges } = books;
  if (tasks.state[task] !== ERRED) return false;
  const retried: TaskId[] = [];
  const stack = [task];
  for (let key = stack.pop(); key !== undefined; key = stack.pop()) {
    if (tasks.state[key] !== ERRED) continue;
    moves.release(key);
    retried.push(key);
    for (let e = edges.first[key]!, end = e + edges.count[key]!; e < end; e++)
      stack.push(edges.dependency[e]!);
    for (let e = edges.dependents[key]!; e !== NONE; e = edges.next[e]!) stack.push(edges.dependent[e]!);
  }
  // All are told before any is tried: one may fail again with another, for what both of them depend on.
  for (const key of retried)
    for (let want = books.wants.first_of_task[key]!; want !== NONE; want = books.wants.next_of_task[want]!)
      outbox.taskRetried(books.wants.owner[want]!, key);
  for (const key of retried) if (books.isWanted(key)) moves.resume(key);
  moves.settle();
  return true;
}
