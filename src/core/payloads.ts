import { NONE } from "../base/ids.ts";

/** How a task's payload goes out in `compute-task`. */
export const PAYLOAD_NONE = 0;
/** Frames behind a `__Pickled__` placeholder (2024.12 and later). */
export const PAYLOAD_PICKLED = 1;
/** Frames behind a `__Serialized__` placeholder. */
export const PAYLOAD_SERIALIZED = 2;
/** The msgpack map `{function, args, kwargs?}` of 2022.12, inline in frame 0. */
export const PAYLOAD_INLINE = 3;
/** The graph's structure is known, the payload is still on its way from the unpacker. */
export const PAYLOAD_PENDING = 4;

/**
 * The buffers that payloads lie in: messages and chunks as they arrived. A payload is a slice of one, never
 * copied or opened; a buffer is dropped when its last payload is released.
 */
export class Segments {
  readonly #buffers: (Uint8Array | null)[] = [];
  readonly #users: number[] = [];
  /** Called when the last payload is gone; null: the garbage collector is to find out. */
  readonly #onUnused: ((() => void) | null)[] = [];
  readonly #free: number[] = [];

  /**
   * Takes a buffer in, with one user: the caller, who must {@link release} it when all slices are taken. `onUnused` is told
   * when the last user is gone and nobody else refers to any of its bytes ({@link lend}).
   */
  add(buffer: Uint8Array, onUnused: (() => void) | null = null): number {
    const id = this.#free.pop() ?? this.#buffers.length;
    this.#buffers[id] = buffer;
    this.#users[id] = 1;
    this.#onUnused[id] = onUnused;
    return id;
  }

  buffer(id: number): Uint8Array {
    return this.#buffers[id]!;
  }

  retain(id: number): void {
    this.#users[id]!++;
  }

  release(id: number): void {
    if (id === NONE || --this.#users[id]! > 0) return;
    this.#buffers[id] = null;
    this.#free.push(id);
    const onUnused = this.#onUnused[id]!;
    this.#onUnused[id] = null;
    if (onUnused !== null) onUnused();
  }

  /** Views of the buffer go where nobody knows for how long: it must never be used again. */
  lend(id: number): void {
    if (id !== NONE) this.#onUnused[id] = null;
  }

  /** How many hold on to the buffer; 0 for one that is gone. */
  users(id: number): number {
    return this.#users[id]!;
  }

  /** Buffers that exist, used or free. */
  get pool_records(): number {
    return this.#buffers.length;
  }

  /** Bytes of all buffers that some payload still needs. */
  get live_bytes(): number {
    let total = 0;
    for (const buffer of this.#buffers) total += buffer?.byteLength ?? 0;
    return total;
  }
}

/** Where a payload lies: `frame_bytes[0]` is the sub-header for framed kinds; the frames are adjacent. */
export interface Payload {
  readonly kind: number;
  readonly segment: number;
  readonly offset: number;
  /** Length of each frame, in bytes. */
  readonly frame_bytes: readonly number[];
}
