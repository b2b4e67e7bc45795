import { type ClientId, NONE, type TaskId } from "../base/ids.ts";
import type { Books } from "./books.ts";
import type { Outbox } from "./outbox.ts";
import { RELEASED } from "./states.ts";
import type { Transitions } from "./transitions.ts";

/** {@link import("./scheduler.ts").Scheduler.cancelKey} */
export function cancelKey(
  books: Books,
  moves: Transitions,
  outbox: Outbox,
  { client, task, force }: { readonly client: ClientId; readonly task: TaskId; readonly force: boolean },
): void {
  const { wants, edges, tasks } = books;
  const stack = [task];
  const seen = new Set<TaskId>();
  for (let key = stack.pop(); key !== undefined; key = stack.pop()) {
    // A lattice has exponentially many paths: each task once.
    if (seen.has(key)) continue;
    seen.add(key);
    const only = wants.isSingle(key) && wants.has(key, client);
    if (key === task && !force && !only) {
      if (moves.unwant(client, key)) outbox.cancelledKeys(client, key, "cancelled by client");
      continue;
    }
    for (let edge = edges.dependents[key]!; edge !== NONE; edge = edges.next[edge]!)
      if (force || !wantedByOthers(books, edges.dependent[edge]!, client)) stack.push(edges.dependent[edge]!);
    moves.cancelWants(key, "cancelled by client");
    if (tasks.state[key] !== RELEASED && tasks.waiters[key] === 0) moves.release(key);
    moves.mayBeUnneeded(key);
  }
  moves.settle();
}

function wantedByOthers({ wants }: Books, task: TaskId, client: ClientId): boolean {
  for (let want = wants.first_of_task[task]!; want !== NONE; want = wants.next_of_task[want]!)
    if (wants.owner[want] !== client) return true;
  return false;
}
