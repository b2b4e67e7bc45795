import { NONE, type TaskId } from "../base/ids.ts";
import { resized } from "../base/typed-arrays.ts";
import type { StampSink } from "../trace/stamp-sink.ts";
import { PAYLOAD_NONE, type Payload, Segments } from "./payloads.ts";
import { FORGOTTEN, RELEASED } from "./states.ts";

/** Bits of the `flags` column. */
export const FLAG_RUNNABLE = 1; // has a run_spec: it can be computed (again)
export const FLAG_READY = 2; // stands in the ready list
export const FLAG_ACTOR = 4;
export const FLAG_PINNED = 8; // a steal of it failed: it is running, or as good as
export const FLAG_LONG_RUNNING = 16; // seceded: takes no slot of its worker's
export const FLAG_UNNEEDED = 32; // stands in the list of tasks that nothing may need any more
export const FLAG_RESTRICTED = 64; // has an entry in the scheduler's restrictions
const FLAG_PARKED = 128; // forgotten, but a message that names it waits: its id is not reusable yet

/**
 * The columns of all tasks, by id: a struct of arrays, because ten thousand tasks a turn as objects with sets
 * cost three times as much (docs/decisions/0003-struct-of-arrays.md).
 *
 * Ids are dense and reused, but never within the batch that forgot them, nor while a message that names them
 * waits to be encoded ({@link pin}).
 */
export class TaskTable {
  capacity = 512;
  state = new Uint8Array(512).fill(FORGOTTEN);
  flags = new Uint8Array(512);
  /** Dependencies that are not in memory, for a waiting task. */
  waiting_on = new Int32Array(512);
  /** Dependents that are waiting, queued, processing or without a worker. */
  waiters = new Int32Array(512);
  processing_on = new Int32Array(512);
  /** Neighbours in the list of the worker's processing tasks, oldest first. */
  next_processing = new Int32Array(512);
  previous_processing = new Int32Array(512);
  /** Number of the assignment; 0 before the first. Grows over all tasks. */
  run_id = new Float64Array(512);
  nbytes = new Float64Array(512);
  /** Interned pair of the result's pickled type and its name, or NONE. */
  type = new Int32Array(512);
  /** Dask's priority [-user, generation, order]. */
  user_priority = new Float64Array(512);
  generation = new Float64Array(512);
  order = new Int32Array(512);
  retries = new Int32Array(512);
  suspicious = new Int32Array(512);
  /** When the task's last hop ended, ns; only kept while tracing. */
  stamp_ns = new Float64Array(512);
  /** Whoever keeps all stamps and not just the last (`--trace tasks`), or null. */
  stamps: StampSink | null = null;
  /** Place of its compute-task on the worker's stream (see hops of the fleet). */
  sequence = new Int32Array(512);

  // The payload; lengths of further frames than two are in `more_frames`.
  payload_kind = new Uint8Array(512);
  payload_segment = new Int32Array(512);
  payload_offset = new Float64Array(512);
  payload_header_bytes = new Uint32Array(512);
  payload_body_bytes = new Uint32Array(512);
  payload_frames = new Uint8Array(512);
  readonly more_frames = new Map<TaskId, readonly number[]>();
  readonly segments = new Segments();

  #pins = new Int32Array(512);
  #top = 0;
  #live = 0;
  #free: TaskId[] = [];
  /** Forgotten in this batch: reusable after it. */
  #retired: TaskId[] = [];
  readonly #on_recycle: (task: TaskId) => void;
  /** Told which ids became reusable, in that order; null: nobody. */
  onRecycled: ((tasks: readonly TaskId[]) => void) | null = null;

  constructor(onRecycle: (task: TaskId) => void) {
    this.#on_recycle = onRecycle;
  }

  /** How many tasks there are. */
  get live(): number {
    return this.#live;
  }

  /** Ids are below this. */
  get top(): number {
    return this.#top;
  }

  /** A fresh task in state released, without a run_spec. */
  create(): TaskId {
    const task = this.#free.length > 0 ? this.#free.pop()! : this.#top++;
    if (task >= this.capacity) this.#resize(this.capacity * 2);
    this.state[task] = RELEASED;
    this.flags[task] = 0;
    this.waiting_on[task] = 0;
    this.waiters[task] = 0;
    this.processing_on[task] = NONE;
    this.run_id[task] = 0;
    this.nbytes[task] = -1;
    this.type[task] = NONE;
    this.user_priority[task] = 0;
    this.generation[task] = 0;
    this.order[task] = 0;
    this.retries[task] = 0;
    this.suspicious[task] = 0;
    this.payload_kind[task] = PAYLOAD_NONE;
    this.payload_segment[task] = NONE;
    if (this.stamps !== null) this.stamps.created(task);
    this.#live++;
    return task;
  }

  /** Gives a forgotten task's id back: at the end of the batch, and not while it is pinned. */
  retire(task: TaskId): void {
    this.#live--;
    this.#retired.push(task);
  }

  /** A message that names the task waits to be encoded. */
  pin(task: TaskId): void {
    this.#pins[task]!++;
  }

  unpin(task: TaskId): void {
    if (--this.#pins[task]! > 0 || (this.flags[task]! & FLAG_PARKED) === 0) return;
    this.flags[task]! &= ~FLAG_PARKED;
    this.#retired.push(task);
  }

  /** Makes the ids that were retired reusable. */
  recycle(): void {
    if (this.#retired.length === 0) return;
    const free = this.#free.length;
    for (const task of this.#retired) {
      if (this.#pins[task] !== 0) {
        this.flags[task]! |= FLAG_PARKED;
        continue;
      }
      this.#on_recycle(task);
      this.#free.push(task);
    }
    this.#retired = [];
    if (this.onRecycled !== null && this.#free.length > free) this.onRecycled(this.#free.slice(free));
    if (this.#live === 0 && this.#free.length === this.#top) {
      // All gone: start from 0 again, so that the next graph fills the tables from the front.
      this.#free = [];
      this.#top = 0;
    }
  }

  /** Gives back what more than `tasks_kept` needed, if there is no task at all and no message that names one. */
  trim(tasks_kept: number): boolean {
    if (this.#top > 0 || this.#retired.length > 0) return false;
    if (this.capacity > tasks_kept) this.#resize(tasks_kept);
    return true;
  }

  setPayload(task: TaskId, payload: Payload): void {
    this.dropPayload(task);
    const frames = payload.frame_bytes;
    if (payload.segment !== NONE) this.segments.retain(payload.segment);
    this.payload_kind[task] = payload.kind;
    this.payload_segment[task] = payload.segment;
    this.payload_offset[task] = payload.offset;
    this.payload_frames[task] = Math.min(frames.length, 3);
    this.payload_header_bytes[task] = frames[0] ?? 0;
    this.payload_body_bytes[task] = frames[1] ?? 0;
    if (frames.length > 2) this.more_frames.set(task, frames);
  }

  /** {@link setPayload} for one frame or two, without an object a task. */
  setSlice(
    task: TaskId,
    kind: number,
    segment: number,
    offset: number,
    header_bytes: number,
    body_bytes: number,
  ): void {
    this.segments.retain(segment);
    this.payload_kind[task] = kind;
    this.payload_segment[task] = segment;
    this.payload_offset[task] = offset;
    this.payload_header_bytes[task] = header_bytes;
    this.payload_body_bytes[task] = body_bytes;
    this.payload_frames[task] = body_bytes < 0 ? 1 : 2;
  }

  dropPayload(task: TaskId): void {
    if (this.payload_segment[task] !== NONE) this.segments.release(this.payload_segment[task]!);
    if (this.payload_frames[task] === 3) this.more_frames.delete(task);
    this.payload_segment[task] = NONE;
    this.payload_kind[task] = PAYLOAD_NONE;
    this.payload_frames[task] = 0;
  }

  /** The first breach of the ids' bookkeeping, or null: for validate(). */
  breach(): string | null {
    const seen = new Set<TaskId>();
    for (const task of [...this.#free, ...this.#retired]) {
      if (seen.has(task)) return `id ${task} is free twice`;
      if (task >= this.#top || this.state[task] !== FORGOTTEN) return `id ${task} is free and in use`;
      seen.add(task);
    }
    let live = 0;
    for (let task = 0; task < this.#top; task++) {
      if (this.state[task] !== FORGOTTEN) live++;
      else if (this.flags[task]! & FLAG_PARKED) {
        if (this.#pins[task]! <= 0) return `id ${task} is parked without a pin`;
      } else if (!seen.has(task)) return `id ${task} is forgotten and not free`;
    }
    return live === this.#live ? null : `${live} tasks, counted ${this.#live}`;
  }

  #resize(capacity: number): void {
    this.state = resized(this.state, capacity, FORGOTTEN);
    this.flags = resized(this.flags, capacity);
    this.waiting_on = resized(this.waiting_on, capacity);
    this.waiters = resized(this.waiters, capacity);
    this.processing_on = resized(this.processing_on, capacity);
    this.next_processing = resized(this.next_processing, capacity);
    this.previous_processing = resized(this.previous_processing, capacity);
    this.run_id = resized(this.run_id, capacity);
    this.nbytes = resized(this.nbytes, capacity);
    this.type = resized(this.type, capacity);
    this.user_priority = resized(this.user_priority, capacity);
    this.generation = resized(this.generation, capacity);
    this.order = resized(this.order, capacity);
    this.retries = resized(this.retries, capacity);
    this.suspicious = resized(this.suspicious, capacity);
    this.stamp_ns = resized(this.stamp_ns, capacity);
    this.sequence = resized(this.sequence, capacity);
    this.payload_kind = resized(this.payload_kind, capacity);
    this.payload_segment = resized(this.payload_segment, capacity);
    this.payload_offset = resized(this.payload_offset, capacity);
    this.payload_header_bytes = resized(this.payload_header_bytes, capacity);
    this.payload_body_bytes = resized(this.payload_body_bytes, capacity);
    this.payload_frames = resized(this.payload_frames, capacity);
    this.#pins = resized(this.#pins, capacity);
    this.capacity = capacity;
  }
}
