import type { Machine, Timer } from "../../base/machine.ts";
import type { Books } from "../../core/books.ts";
import { trimMessageBuffers } from "../../protocol/frames.ts";

const CHECK_MS = 1000;
/** Tables for so many tasks stay, 2.5 MiB altogether: graphs of that size come one after another and need not wait for them. */
const TASKS_KEPT = 1 << 14;

/** Has a scheduler without tasks give its tables back: when nothing happened between two looks at it. */
export class SpareTables {
  readonly #books: Books;
  readonly #machine: Machine;
  #timer: Timer | null = null;
  #transitions = -1;

  constructor(books: Books, machine: Machine) {
    this.#books = books;
    this.#machine = machine;
  }

  start(): void {
    this.#timer = this.#machine.every(CHECK_MS, () => this.#check());
    this.#timer.unref();
  }

  close(): void {
    this.#machine.cancel(this.#timer);
  }

  #check(): void {
    const { transition_count } = this.#books;
    if (this.#transitions === transition_count && this.#books.trim(TASKS_KEPT)) trimMessageBuffers();
    this.#transitions = transition_count;
  }
}
