import { STAMP_COUNT, type Stamp } from "./phases.ts";

/**
 * One row a task for `--trace tasks`: its worker and a stamp at each moment of its life. Rows are numbered by
 * whoever records (tasks in the order in which they became known, say); keys are given at the end, as strings, so
 * that none is made while the clock runs. 112 bytes a task.
 */
export class TaskRows {
  #stamps = new Float64Array(0);
  #workers = new Int32Array(0);
  #capacity = 0;
  #count = 0;

  /** Rows so far: one more than the highest that was written. */
  get count(): number {
    return this.#count;
  }

  /** Makes room for `count` rows, so that no stamp has to. */
  reserve(count: number): void {
    if (count > this.#capacity) this.#grow(count);
  }

  /** The moment at which this happened to the task of `row`; a later stamp of the same moment replaces it. */
  stamp(row: number, stamp: Stamp, ns: number): void {
    if (row >= this.#count) this.#extend(row);
    this.#stamps[row * STAMP_COUNT + stamp] = ns;
  }

  /** The worker that the task was last placed on: its number among the workers. */
  worker(row: number, worker: number): void {
    if (row >= this.#count) this.#extend(row);
    this.#workers[row] = worker;
  }

  /** NaN where the moment was not seen. */
  stampOf(row: number, stamp: Stamp): number {
    return row < this.#count ? this.#stamps[row * STAMP_COUNT + stamp]! : Number.NaN;
  }

  /** -1 where the task was on none. */
  workerOf(row: number): number {
    return row < this.#count ? this.#workers[row]! : -1;
  }

  reset(): void {
    this.#stamps.fill(Number.NaN);
    this.#workers.fill(-1);
    this.#count = 0;
  }

  #extend(row: number): void {
    if (row >= this.#capacity) this.#grow(Math.max(1024, 2 * this.#capacity, row + 1));
    this.#count = row + 1;
  }

  #grow(capacity: number): void {
    const stamps = new Float64Array(capacity * STAMP_COUNT).fill(Number.NaN, this.#capacity * STAMP_COUNT);
    stamps.set(this.#stamps);
    const workers = new Int32Array(capacity).fill(-1, this.#capacity);
    workers.set(this.#workers);
    this.#stamps = stamps;
    this.#workers = workers;
    this.#capacity = capacity;
  }
}
