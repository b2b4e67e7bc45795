import type { TaskId } from "../base/ids.ts";
import type { Books } from "./books.ts";

/** Entries that were taken from the front and are kept before the rest is moved there. */
const SPENT_MIN = 1024;

/**
 * Tasks that are withheld until a slot opens, in the order of priorities. Mostly they come in order and leave at the
 * front: neither moves the rest.
 */
export class TaskQueue {
  readonly #books: Books;
  #tasks: TaskId[] = [];
  /** Where the first one stands: what is before it has been taken. */
  #head = 0;

  constructor(books: Books) {
    this.#books = books;
  }

  get length(): number {
    return this.#tasks.length - this.#head;
  }

  /** In order; valid until the next change. */
  *[Symbol.iterator](): Iterator<TaskId> {
    for (let i = this.#head; i < this.#tasks.length; i++) yield this.#tasks[i]!;
  }

  insert(task: TaskId): void {
    const at = this.#positionOf(task);
    if (at === this.#head && at > 0) this.#tasks[--this.#head] = task;
    else this.#tasks.splice(at, 0, task);
  }

  delete(task: TaskId): void {
    const at = this.#positionOf(task);
    if (this.#tasks[at] !== task) return;
    if (at === this.#head) this.shift();
    else this.#tasks.splice(at, 1);
  }

  /** Removes the first one; only while there is one. */
  shift(): TaskId {
    const task = this.#tasks[this.#head++]!;
    if (this.#head === this.#tasks.length) {
      this.#tasks = [];
      this.#head = 0;
    } else if (this.#head > SPENT_MIN && this.#head * 2 > this.#tasks.length) {
      this.#tasks = this.#tasks.slice(this.#head);
      this.#head = 0;
    }
    return task;
  }

  /** Where the task stands, or would. The order is strict: ids break ties. */
  #positionOf(task: TaskId): number {
    const books = this.#books;
    let low = this.#head;
    let high = this.#tasks.length;
    if (low < high && books.compare(this.#tasks[high - 1]!, task) < 0) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (books.compare(this.#tasks[middle]!, task) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
