import { NONE } from "./ids.ts";
import { grown } from "./typed-arrays.ts";

/** A priority queue of small integers: the one with the least key is on top; keys may change, members may leave. */
export class IndexedHeap {
  length = 0;
  #heap = new Int32Array(64);
  #at = new Int32Array(64).fill(NONE);
  #key = new Float64Array(64);

  has(id: number): boolean {
    return id < this.#at.length && this.#at[id] !== NONE;
  }

  /** The member with the least key; NONE: there is none. */
  get top(): number {
    return this.length === 0 ? NONE : this.#heap[0]!;
  }

  /** Adds `id`, or gives it another key. */
  set(id: number, key: number): void {
    if (!this.has(id)) this.#append(id);
    const before = this.#key[id]!;
    this.#key[id] = key;
    if (key < before) this.#rise(this.#at[id]!);
    else this.#sink(this.#at[id]!);
  }

  delete(id: number): void {
    if (!this.has(id)) return;
    const at = this.#at[id]!;
    this.#at[id] = NONE;
    const last = this.#heap[--this.length]!;
    if (last === id) return;
    this.#heap[at] = last;
    this.#at[last] = at;
    this.#rise(at);
    this.#sink(this.#at[last]!);
  }

  #append(id: number): void {
    if (id >= this.#at.length) {
      const capacity = Math.max(id + 1, this.#at.length * 2);
      this.#at = grown(this.#at, capacity, NONE);
      this.#key = grown(this.#key, capacity);
    }
    if (this.length === this.#heap.length) this.#heap = grown(this.#heap, this.length * 2);
    this.#at[id] = this.length;
    this.#key[id] = Number.POSITIVE_INFINITY;
    this.#heap[this.length++] = id;
  }

  #rise(from: number): void {
    const heap = this.#heap;
    const id = heap[from]!;
    const key = this.#key[id]!;
    let at = from;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const above = heap[up]!;
      if (this.#key[above]! <= key) break;
      heap[at] = above;
      this.#at[above] = at;
      at = up;
    }
    heap[at] = id;
    this.#at[id] = at;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const id = heap[from]!;
    const key = this.#key[id]!;
    let at = from;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= this.length) break;
      if (down + 1 < this.length && this.#key[heap[down + 1]!]! < this.#key[heap[down]!]!) down++;
      const below = heap[down]!;
      if (this.#key[below]! >= key) break;
      heap[at] = below;
      this.#at[below] = at;
      at = down;
    }
    heap[at] = id;
    this.#at[id] = at;
  }
}
