import type { TaskId, WorkerId } from "../base/ids.ts";
import { grown, viewOf } from "../base/typed-arrays.ts";
import type { Books } from "../core/books.ts";
import type { WorkerBook } from "../core/worker-book.ts";
import { keyText } from "../protocol/keys.ts";
import { STAMP, type Stamp } from "../trace/phases.ts";
import type { StampSink } from "../trace/stamp-sink.ts";
import { TaskRows } from "../trace/task-rows.ts";

const NO_ROW = -1;
/** Of all rows together: a peer's keys may be long, and are kept beyond the tasks' own lives. */
const KEY_BYTES_MAX = 1 << 28;

/**
 * The rows of `--trace tasks`, in the order in which tasks became known. Keys are copied as bytes then, since a task
 * and its key may be forgotten long before the rows are written; text is made of them only at the end.
 */
export class TaskStamps implements StampSink {
  readonly rows = new TaskRows();
  readonly #books: Books;
  readonly #rows_max: number;
  /** By task id. */
  #row_of = new Int32Array(1024).fill(NO_ROW);
  #key_bytes: Uint8Array = new Uint8Array(1 << 16);
  #key_view = viewOf(this.#key_bytes);
  /** Where the key of each row ends; a row's begins where the one before ends. */
  #key_ends = new Float64Array(1024);
  #row_count = 0;
  /** Addresses of workers in the order in which they were first seen. */
  readonly #addresses: string[] = [];
  /** Who has a worker id at present, and the place of its address. */
  readonly #book_of: WorkerBook[] = [];
  readonly #index_of: number[] = [];
  /** Tasks that got no row because there were too many. */
  tasks_left_out = 0;

  /** `rows_expected` are made room for at once; tasks beyond `rows_max` get no row. */
  constructor(books: Books, rows_expected: number, rows_max: number) {
    this.#books = books;
    this.#rows_max = rows_max;
    this.rows.reserve(rows_expected);
  }

  created(task: TaskId): void {
    if (task < this.#row_of.length) this.#row_of[task] = NO_ROW;
  }

  known(tasks: Int32Array, submit_ns: number, known_ns: number): void {
    for (const task of tasks) {
      if (task >= this.#row_of.length) this.#row_of = grown(this.#row_of, this.#room(task), NO_ROW);
      if (this.#row_of[task] !== NO_ROW) continue;
      if (
        this.#row_count >= this.#rows_max ||
        this.#keys_end + this.#books.keys.byteLength(task) > KEY_BYTES_MAX
      ) {
        this.tasks_left_out++;
        continue;
      }
      const row = this.#row_count++;
      this.#row_of[task] = row;
      this.#keepKey(row, task);
      this.rows.stamp(row, STAMP.submit, submit_ns);
      this.rows.stamp(row, STAMP.known, known_ns);
    }
  }

  stamp(task: TaskId, stamp: Stamp, ns: number): void {
    const row = this.rowOf(task);
    if (row !== null) this.rows.stamp(row, stamp, ns);
  }

  worker(task: TaskId, worker: WorkerId): void {
    const row = this.rowOf(task);
    if (row !== null) this.rows.worker(row, this.#indexOf(worker));
  }

  /** The key of a row as Python's `str` shows it. */
  keyOf(row: number): string {
    return keyText(this.#key_bytes.subarray(row === 0 ? 0 : this.#key_ends[row - 1]!, this.#key_ends[row]!));
  }

  /** The address behind a row's worker number. */
  addressOf(index: number): string {
    return this.#addresses[index]!;
  }

  get #keys_end(): number {
    return this.#row_count === 0 ? 0 : this.#key_ends[this.#row_count - 1]!;
  }

  /** null: it has none, since there were too many, or it became known before. */
  rowOf(task: TaskId): number | null {
    const row = task < this.#row_of.length ? this.#row_of[task]! : NO_ROW;
    return row === NO_ROW ? null : row;
  }

  /** Ids of workers that left are given out again, so a place belongs to the worker and not to its id. */
  #indexOf(worker: WorkerId): number {
    const book = this.#books.worker(worker);
    if (this.#book_of[worker] !== book) {
      this.#book_of[worker] = book;
      this.#index_of[worker] = this.#addresses.push(book.address) - 1;
    }
    return this.#index_of[worker]!;
  }

  #room(task: TaskId): number {
    return Math.max(2 * this.#row_of.length, task + 1);
  }

  #growKeys(needed: number): void {
    this.#key_bytes = grown(this.#key_bytes, Math.max(2 * this.#key_bytes.length, needed));
    this.#key_view = viewOf(this.#key_bytes);
  }

  #keepKey(row: number, task: TaskId): void {
    const { keys } = this.#books;
    const start = row === 0 ? 0 : this.#key_ends[row - 1]!;
    const end = start + keys.byteLength(task);
    if (end > this.#key_bytes.length) this.#growKeys(end);
    if (row >= this.#key_ends.length) this.#key_ends = grown(this.#key_ends, 2 * this.#key_ends.length);
    keys.copyTo(task, this.#key_view, start);
    this.#key_ends[row] = end;
  }
}
