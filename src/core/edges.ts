import { NONE, type TaskId } from "../base/ids.ts";
import { grown, resized } from "../base/typed-arrays.ts";

/** Blocks up to this many edges are reused by exact size through a linked free list. */
const SMALL = 16;

/**
 * The dependency graph: one record an edge, in columns.
 *
 * The edges of one task to its dependencies are a block of consecutive records (known at once, when the graph
 * comes in); the edges from a dependency to its dependents are a doubly linked list through those records, so
 * that forgetting a task costs its own edges and no more.
 */
export class Edges {
  /** By edge: the dependency that it points to, and the task that depends. */
  dependency = new Int32Array(1024);
  dependent = new Int32Array(1024);
  /** By edge: the neighbours in the list of the dependency's dependents. */
  next = new Int32Array(1024);
  #previous = new Int32Array(1024);

  // Columns by task id.
  /** First edge of the task's block; the block has `count[task]` edges. */
  first = new Int32Array(512);
  count = new Int32Array(512);
  /** First edge in the list of the task's dependents, or NONE. */
  dependents = new Int32Array(512).fill(NONE);

  #top = 0;
  #live = 0;
  readonly #free_small = new Int32Array(SMALL + 1).fill(NONE);
  readonly #free_large = new Map<number, number[]>();

  get live(): number {
    return this.#live;
  }

  /** Makes `task` a task without edges. */
  addTask(task: TaskId): void {
    if (task >= this.first.length) {
      const capacity = Math.max(task + 1, this.first.length * 2);
      this.first = grown(this.first, capacity);
      this.count = grown(this.count, capacity);
      this.dependents = grown(this.dependents, capacity, NONE);
    }
    this.first[task] = 0;
    this.count[task] = 0;
    this.dependents[task] = NONE;
  }

  /** Gives `task` its dependencies, `ids[start … start + count)`, each once. Only while it has none. */
  setDependencies(task: TaskId, ids: ArrayLike<number>, start: number, count: number): void {
    if (count === 0) return;
    const first = this.#allocate(count);
    this.first[task] = first;
    this.count[task] = count;
    const { dependency, dependent, next, dependents } = this;
    const previous = this.#previous;
    for (let i = 0; i < count; i++) {
      const edge = first + i;
      const on = ids[start + i]!;
      dependency[edge] = on;
      dependent[edge] = task;
      const head = dependents[on]!;
      next[edge] = head;
      previous[edge] = NONE;
      if (head !== NONE) previous[head] = edge;
      dependents[on] = edge;
    }
    this.#live += count;
  }

  /** Unlinks all edges of `task` to its dependencies and gives their block back. */
  dropDependencies(task: TaskId): void {
    const count = this.count[task]!;
    if (count === 0) return;
    const first = this.first[task]!;
    const { dependency, next, dependents } = this;
    const previous = this.#previous;
    for (let edge = first; edge < first + count; edge++) {
      const after = next[edge]!;
      const before = previous[edge]!;
      if (before === NONE) dependents[dependency[edge]!] = after;
      else next[before] = after;
      if (after !== NONE) previous[after] = before;
    }
    this.count[task] = 0;
    this.#live -= count;
    this.#free(first, count);
  }

  /** Gives back what more than `tasks_kept` tasks and twice as many edges needed. Only while there are neither. */
  trim(tasks_kept: number): void {
    if (this.dependency.length > 2 * tasks_kept) this.#resize(2 * tasks_kept);
    if (this.first.length <= tasks_kept) return;
    this.first = resized(this.first, tasks_kept);
    this.count = resized(this.count, tasks_kept);
    this.dependents = resized(this.dependents, tasks_kept);
  }

  /** The first breach of its own structure, or null: for validate(), which walks everything. */
  breach(): string | null {
    let owned = 0;
    for (const count of this.count) owned += count;
    if (owned !== this.#live) return `${owned} edges in blocks, ${this.#live} live`;
    let free = 0;
    for (let size = 1; size <= SMALL; size++)
      for (let block = this.#free_small[size]!; block !== NONE; block = this.next[block]!) free += size;
    for (const [size, blocks] of this.#free_large) free += size * blocks.length;
    if (free + owned !== this.#top) return `${free} free and ${owned} live edges of ${this.#top}`;
    return this.#breachOfLists();
  }

  #breachOfLists(): string | null {
    let listed = 0;
    for (let task = 0; task < this.dependents.length; task++) {
      let before = NONE;
      for (let edge = this.dependents[task]!; edge !== NONE; edge = this.next[edge]!) {
        const at = edge - this.first[this.dependent[edge]!]!;
        if (this.dependency[edge] !== task || this.#previous[edge] !== before)
          return `edge ${edge} is in the wrong list (${task})`;
        if (at < 0 || at >= this.count[this.dependent[edge]!]!)
          return `edge ${edge} is not in its task's block`;
        if (++listed > this.#live) return `list ${task} has edges too many`;
        before = edge;
      }
    }
    return listed === this.#live ? null : `${listed} edges in lists, ${this.#live} live`;
  }

  /** Records that exist, used or free: what it costs in memory. */
  get pool_records(): number {
    return this.#top;
  }

  #allocate(count: number): number {
    if (count <= SMALL) {
      const block = this.#free_small[count]!;
      if (block !== NONE) {
        this.#free_small[count] = this.next[block]!;
        return block;
      }
    } else {
      const block = this.#free_large.get(count)?.pop();
      if (block !== undefined) return block;
    }
    const first = this.#top;
    this.#top += count;
    if (this.#top > this.dependency.length) {
      this.#resize(Math.max(this.#top, this.dependency.length * 2));
    }
    return first;
  }

  #resize(edges: number): void {
    this.dependency = resized(this.dependency, edges);
    this.dependent = resized(this.dependent, edges);
    this.next = resized(this.next, edges);
    this.#previous = resized(this.#previous, edges);
  }

  #free(first: number, count: number): void {
    if (this.#live === 0) {
      // Nothing is left: start again from the bottom, so that no pattern of sizes can fragment it for ever.
      this.#top = 0;
      this.#free_small.fill(NONE);
      this.#free_large.clear();
      return;
    }
    if (count <= SMALL) {
      this.next[first] = this.#free_small[count]!;
      this.#free_small[count] = first;
      return;
    }
    const blocks = this.#free_large.get(count);
    if (blocks === undefined) this.#free_large.set(count, [first]);
    else blocks.push(first);
  }
}
