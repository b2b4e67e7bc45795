import type { PolicyWatch } from "../schedulers/policy.ts";
import type { Books } from "./books.ts";
import { FORGOTTEN, MEMORY, RELEASED, WAITING } from "./states.ts";

/** Has the books tell `watch` what happens from here on. Before there is any task or worker. */
export function attachWatch(books: Books, watch: PolicyWatch): void {
  books.watch = watch;
  books.follow((task, from, to) => {
    if (from === WAITING) watch.taskWaited(task);
    else if (from === RELEASED && to === WAITING) watch.taskWaiting(task);
    if (to === MEMORY) watch.taskInMemory(task);
    else if (to === FORGOTTEN) watch.taskForgotten(task);
  });
}
