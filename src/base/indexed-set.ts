import { NONE } from "./ids.ts";
import { grown } from "./typed-arrays.ts";

/** A set of small integers that can be walked densely: add, delete, has and pick each cost a constant. */
export class IndexedSet {
  /** The members, in no order that means anything; only the first `length` count. */
  items = new Int32Array(64);
  length = 0;
  #at = new Int32Array(64).fill(NONE);

  has(id: number): boolean {
    return id < this.#at.length && this.#at[id] !== NONE;
  }

  add(id: number): void {
    if (this.has(id)) return;
    if (id >= this.#at.length) this.#at = grown(this.#at, Math.max(id + 1, this.#at.length * 2), NONE);
    if (this.length === this.items.length) this.items = grown(this.items, this.length * 2);
    this.#at[id] = this.length;
    this.items[this.length++] = id;
  }

  delete(id: number): void {
    if (!this.has(id)) return;
    const at = this.#at[id]!;
    const last = this.items[--this.length]!;
    this.items[at] = last;
    this.#at[last] = at;
    this.#at[id] = NONE;
  }
}
