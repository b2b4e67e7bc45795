import { NONE, type TaskId } from "../base/ids.ts";
import { grown, resized } from "../base/typed-arrays.ts";

/** A list longer than this gets an index, so that a datum with many holders is not searched link by link. */
const WALK_MAX = 24;

/**
 * A many-to-many relation between tasks and owners (workers or clients): replicas (`who_has`/`has_what`), wants
 * (`who_wants`/`wants_what`), needs (`needs_what`). One record a pair, doubly linked on both sides: adding and
 * removing cost a constant, and both sides can be walked.
 */
export class Relation {
  /** By record. */
  task = new Int32Array(256);
  owner = new Int32Array(256);
  next_of_task = new Int32Array(256);
  next_of_owner = new Int32Array(256);
  /** By record: free for the user (needs counts here how many tasks need the pair). */
  tally = new Int32Array(256);
  #previous_of_task = new Int32Array(256);
  #previous_of_owner = new Int32Array(256);

  /** By task and by owner: the first record, or NONE; and by owner how many. */
  first_of_task = new Int32Array(512).fill(NONE);
  first_of_owner = new Int32Array(64).fill(NONE);
  count_of_owner = new Int32Array(64);

  #top = 0;
  #free = NONE;
  #live = 0;
  /** Only for tasks with long lists: owner → record. */
  readonly #index = new Map<TaskId, Map<number, number>>();

  get live(): number {
    return this.#live;
  }

  addTask(task: TaskId): void {
    if (task >= this.first_of_task.length)
      this.first_of_task = grown(this.first_of_task, Math.max(task + 1, task * 2), NONE);
    this.first_of_task[task] = NONE;
  }

  addOwner(owner: number): void {
    if (owner >= this.first_of_owner.length) {
      this.first_of_owner = grown(this.first_of_owner, Math.max(owner + 1, owner * 2), NONE);
      this.count_of_owner = grown(this.count_of_owner, this.first_of_owner.length);
    }
    this.first_of_owner[owner] = NONE;
    this.count_of_owner[owner] = 0;
  }

  /** The record of the pair, or NONE. */
  find(task: TaskId, owner: number): number {
    if (this.#index.size > 0) {
      const index = this.#index.get(task);
      if (index !== undefined) return index.get(owner) ?? NONE;
    }
    let steps = 0;
    let record = this.first_of_task[task]!;
    while (record !== NONE && this.owner[record] !== owner) {
      record = this.next_of_task[record]!;
      steps++;
    }
    if (steps > WALK_MAX) this.#indexTask(task);
    return record;
  }

  has(task: TaskId, owner: number): boolean {
    return this.find(task, owner) !== NONE;
  }

  /** True when exactly one owner has the task. */
  isSingle(task: TaskId): boolean {
    const first = this.first_of_task[task]!;
    return first !== NONE && this.next_of_task[first] === NONE;
  }

  countOfTask(task: TaskId): number {
    let count = 0;
    for (let r = this.first_of_task[task]!; r !== NONE; r = this.next_of_task[r]!) count++;
    return count;
  }

  /** Adds a pair that is not there yet, at the front of both lists; returns its record. */
  add(task: TaskId, owner: number): number {
    const record = this.#allocate();
    this.task[record] = task;
    this.owner[record] = owner;
    this.tally[record] = 1;
    const of_task = this.first_of_task[task]!;
    this.next_of_task[record] = of_task;
    this.#previous_of_task[record] = NONE;
    if (of_task !== NONE) this.#previous_of_task[of_task] = record;
    this.first_of_task[task] = record;
    const of_owner = this.first_of_owner[owner]!;
    this.next_of_owner[record] = of_owner;
    this.#previous_of_owner[record] = NONE;
    if (of_owner !== NONE) this.#previous_of_owner[of_owner] = record;
    this.first_of_owner[owner] = record;
    this.count_of_owner[owner]!++;
    this.#live++;
    if (this.#index.size > 0) this.#index.get(task)?.set(owner, record);
    return record;
  }

  /** Removes a record; it must be live. */
  remove(record: number): void {
    const task = this.task[record]!;
    const owner = this.owner[record]!;
    const after = this.next_of_task[record]!;
    const before = this.#previous_of_task[record]!;
    if (before === NONE) this.first_of_task[task] = after;
    else this.next_of_task[before] = after;
    if (after !== NONE) this.#previous_of_task[after] = before;
    const right = this.next_of_owner[record]!;
    const left = this.#previous_of_owner[record]!;
    if (left === NONE) this.first_of_owner[owner] = right;
    else this.next_of_owner[left] = right;
    if (right !== NONE) this.#previous_of_owner[right] = left;
    this.count_of_owner[owner]!--;
    this.next_of_task[record] = this.#free;
    this.#free = record;
    // All gone: start from 0 again, so that neighbours in time are neighbours in memory.
    if (--this.#live === 0) {
      this.#top = 0;
      this.#free = NONE;
    }
    if (this.#index.size > 0) {
      if (this.first_of_task[task] === NONE) this.#index.delete(task);
      else this.#index.get(task)?.delete(owner);
    }
  }

  /** Gives back what more than `tasks_kept` tasks and as many records needed. Only while there are neither. */
  trim(tasks_kept: number): void {
    this.#top = 0;
    this.#free = NONE;
    if (this.task.length > tasks_kept) this.#resize(tasks_kept);
    if (this.first_of_task.length > tasks_kept) this.first_of_task = resized(this.first_of_task, tasks_kept);
  }

  /** The first breach of its own structure, or null: for validate(), which walks everything. */
  breach(): string | null {
    let free = 0;
    for (let r = this.#free; r !== NONE; r = this.next_of_task[r]!) free++;
    if (free + this.#live !== this.#top) return `${free} free and ${this.#live} live records of ${this.#top}`;
    return (
      this.#breachOf(this.first_of_task, this.next_of_task, this.#previous_of_task, this.task) ??
      this.#breachOf(this.first_of_owner, this.next_of_owner, this.#previous_of_owner, this.owner) ??
      this.#breachOfCounts()
    );
  }

  #breachOf(first: Int32Array, next: Int32Array, previous: Int32Array, column: Int32Array): string | null {
    let live = 0;
    for (let key = 0; key < first.length; key++) {
      let before = NONE;
      for (let r = first[key]!; r !== NONE; r = next[r]!) {
        if (column[r] !== key || previous[r] !== before) return `record ${r} is in the wrong list (${key})`;
        if (++live > this.#live) return `list ${key} has records too many`;
        before = r;
      }
    }
    return live === this.#live ? null : `${live} records in lists, ${this.#live} live`;
  }

  #breachOfCounts(): string | null {
    for (let owner = 0; owner < this.first_of_owner.length; owner++) {
      let count = 0;
      for (let r = this.first_of_owner[owner]!; r !== NONE; r = this.next_of_owner[r]!) count++;
      if (count !== this.count_of_owner[owner]) return `owner ${owner} counts ${this.count_of_owner[owner]}`;
    }
    for (const [task, index] of this.#index) {
      if (index.size !== this.countOfTask(task)) return `the index of task ${task} is off`;
      for (const [owner, record] of index)
        if (this.task[record] !== task || this.owner[record] !== owner)
          return `index of task ${task}: ${owner}`;
    }
    return null;
  }

  /** Records that exist, used or free: what it costs in memory. */
  get pool_records(): number {
    return this.#top;
  }

  #allocate(): number {
    const free = this.#free;
    if (free !== NONE) {
      this.#free = this.next_of_task[free]!;
      return free;
    }
    if (this.#top === this.task.length) {
      this.#resize(this.#top * 2);
    }
    return this.#top++;
  }

  #resize(records: number): void {
    this.task = resized(this.task, records);
    this.owner = resized(this.owner, records);
    this.next_of_task = resized(this.next_of_task, records);
    this.next_of_owner = resized(this.next_of_owner, records);
    this.tally = resized(this.tally, records);
    this.#previous_of_task = resized(this.#previous_of_task, records);
    this.#previous_of_owner = resized(this.#previous_of_owner, records);
  }

  #indexTask(task: TaskId): void {
    const index = new Map<number, number>();
    for (let r = this.first_of_task[task]!; r !== NONE; r = this.next_of_task[r]!)
      index.set(this.owner[r]!, r);
    this.#index.set(task, index);
  }
}
