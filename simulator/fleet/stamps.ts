/**
 * Stamps that a fleet in the same process leaves for the scheduler's side, in shared memory: when the n-th
 * `compute-task` of a worker was received, and when its report was handed to the connection. Both sides count the
 * `compute-task` messages of each worker's stream, so nothing needs to be sent.
 *
 * A slot is [sequence, received, reported] as floats. The report's bytes cross a socket after the stores, so a
 * reader that has the report sees them; the sequence number shows when a slot was overwritten since.
 */

const SLOT_FLOATS = 3;
const SEQUENCE = 0;
const RECEIVED = 1;
const REPORTED = 2;

/** The memory of a ring, as it is posted between threads. */
export interface StampMemory {
  readonly buffer: SharedArrayBuffer;
  readonly workers: number;
  /** Slots a worker: a power of two. */
  readonly capacity: number;
}

/**
 * Memory for `workers` × `capacity` slots. `capacity` (a power of two) bounds how many tasks of one worker may lie
 * between its report and the scheduler's look at it before stamps are lost.
 */
export function createStampMemory(workers: number, capacity: number): StampMemory {
  if (workers < 1 || capacity < 1 || (capacity & (capacity - 1)) !== 0) {
    throw new RangeError(`stamp ring of ${workers} workers × ${capacity} slots`);
  }
  return { buffer: new SharedArrayBuffer(workers * capacity * SLOT_FLOATS * 8), workers, capacity };
}

/** A capacity that holds `tasks` spread over `workers` four times over, but at most 2^17 (3 MiB) a worker. */
export function stampCapacity(workers: number, tasks: number): number {
  const wanted = Math.max(1024, Math.min((4 * tasks) / workers, 2 ** 17));
  return 2 ** Math.ceil(Math.log2(wanted));
}

/** The fleet's side: writes stamps. */
export class StampRing {
  readonly #slots: Float64Array;
  readonly #capacity: number;
  readonly #mask: number;

  constructor(memory: StampMemory) {
    this.#slots = new Float64Array(memory.buffer);
    this.#capacity = memory.capacity;
    this.#mask = memory.capacity - 1;
  }

  /** The compute-tasks `first` … `last - 1` of `worker` were received at `now_ns`. */
  received(worker: number, first: number, last: number, now_ns: number): void {
    for (let sequence = first; sequence < last; sequence++) {
      const slot = (worker * this.#capacity + (sequence & this.#mask)) * SLOT_FLOATS;
      this.#slots[slot + SEQUENCE] = sequence + 1; // 0 is "never written"
      this.#slots[slot + RECEIVED] = now_ns;
      this.#slots[slot + REPORTED] = 0;
    }
  }

  /** The reports of the compute-tasks `first` … `last - 1` of `worker` are handed over at `now_ns`. */
  reported(worker: number, first: number, last: number, now_ns: number): void {
    for (let sequence = first; sequence < last; sequence++) {
      const slot = (worker * this.#capacity + (sequence & this.#mask)) * SLOT_FLOATS;
      this.#slots[slot + REPORTED] = now_ns;
    }
  }
}

/** The scheduler's side: looks stamps up. */
export class StampReader {
  readonly #slots: Float64Array;
  readonly #capacity: number;
  readonly #mask: number;
  readonly #workers: number;

  constructor(memory: StampMemory) {
    this.#slots = new Float64Array(memory.buffer);
    this.#capacity = memory.capacity;
    this.#mask = memory.capacity - 1;
    this.#workers = memory.workers;
  }

  /** When `worker` received its compute-task number `sequence` (from 0), in ns; 0 if not yet, or overwritten. */
  receivedNs(worker: number, sequence: number): number {
    const slot = this.#slot(worker, sequence);
    return slot < 0 ? 0 : this.#slots[slot + RECEIVED]!;
  }

  /** When `worker` handed its report to the connection, in ns; 0 if not yet, or overwritten. */
  reportedNs(worker: number, sequence: number): number {
    const slot = this.#slot(worker, sequence);
    return slot < 0 ? 0 : this.#slots[slot + REPORTED]!;
  }

  #slot(worker: number, sequence: number): number {
    if (worker < 0 || worker >= this.#workers || sequence < 0) return -1;
    const slot = (worker * this.#capacity + (sequence & this.#mask)) * SLOT_FLOATS;
    return this.#slots[slot + SEQUENCE] === sequence + 1 ? slot : -1;
  }
}
