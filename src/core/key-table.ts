import { NONE, type TaskId } from "../base/ids.ts";
import { resized, viewOf } from "../base/typed-arrays.ts";

const CHUNK_BYTES = 1 << 20;
/** A table of up to so many slots (1 MiB) does not shrink: graph after graph would rehash it up and down. */
const SLOTS_KEPT = 1 << 18;

interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  used_bytes: number;
  live_bytes: number;
}

/**
 * Task keys: canonical msgpack bytes ↔ task id, without a string or an object a key.
 *
 * Open addressing with linear probing over the keys' hashes; bytes live in chunks of 1 MiB that are dropped
 * when their last key is. The hash is seeded, so that a client cannot choose keys that collide.
 * The ids themselves are given out by the task table: this one only says which id has which bytes.
 */
export class KeyTable {
  #slots = new Int32Array(1024).fill(NONE);
  #mask = 1023;
  #count = 0;
  readonly #seed: number;
  /** Of the last {@link probe}. */
  #probed_hash = 0;
  #probed_slot = 0;

  // Columns by task id.
  #hash = new Int32Array(512);
  #chunk = new Int32Array(512);
  #offset = new Int32Array(512);
  /** Complemented (negative) once the key is out of the table, while its bytes are still kept. */
  #length = new Int32Array(512);

  readonly #chunks: (Chunk | null)[] = [];
  readonly #free_chunks: number[] = [];
  #open: Chunk = chunkOf(0);
  #open_index = NONE;

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get size(): number {
    return this.#count;
  }

  /** Bytes that the live keys take, without the table around them. */
  get key_bytes(): number {
    let total = 0;
    for (const chunk of this.#chunks) total += chunk?.live_bytes ?? 0;
    return total;
  }

  /** Of the bytes `start` … `end` of `view`, as all look-ups take them. */
  hash(view: DataView, start: number, end: number): number {
    let h = this.#seed ^ (end - start);
    let i = start;
    // Four bytes a step: the multiplication, not the loads, is the chain.
    for (; i + 4 <= end; i += 4) {
      h = Math.imul(h ^ view.getInt32(i, true), 0x9e3779b1);
      h ^= h >>> 15;
    }
    for (; i < end; i++) h = Math.imul(h ^ view.getUint8(i), 0x01000193);
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    return h ^ (h >>> 13);
  }

  /** The id that has these bytes, or NONE. */
  find(view: DataView, start: number, end: number): TaskId {
    return this.#slots[this.#slotOf(this.hash(view, start, end), view, start, end)]!;
  }

  /** {@link find} of a key that stands alone. */
  findKey(key: Uint8Array): TaskId {
    return this.find(viewOf(key), 0, key.length);
  }

  /** The hash of a key that is in the table. */
  hashOf(id: TaskId): number {
    return this.#hash[id]!;
  }

  /**
   * True when task `id` is in the table with exactly these bytes: the cheap test of a guess before any hashing.
   * `id` may be one that was never given out. A task that was taken out never matches: its key may belong to another by now.
   */
  matches(id: TaskId, view: DataView, start: number, end: number): boolean {
    if (id >= this.#length.length || this.#length[id] !== end - start) return false;
    const own = this.#chunks[this.#chunk[id]!]!.view;
    const offset = this.#offset[id]!;
    // From the end: keys of one layer differ in their last bytes.
    let left = end - start;
    for (; left >= 4; left -= 4)
      if (own.getInt32(offset + left - 4, true) !== view.getInt32(start + left - 4, true)) return false;
    for (; left > 0; left--)
      if (own.getUint8(offset + left - 1) !== view.getUint8(start + left - 1)) return false;
    return true;
  }

  /** {@link find}, and when it answers NONE the next event may be {@link insertProbed} of the same bytes. */
  probe(view: DataView, start: number, end: number): TaskId {
    if (this.#count * 2 >= this.#mask) this.#rehash((this.#mask + 1) * 2);
    this.#probed_hash = this.hash(view, start, end);
    this.#probed_slot = this.#slotOf(this.#probed_hash, view, start, end);
    return this.#slots[this.#probed_slot]!;
  }

  /** Gives the bytes that were not found just now to `id`. */
  insertProbed(id: TaskId, view: DataView, start: number, end: number): void {
    if (id >= this.#hash.length) this.#resizeColumns(Math.max(id + 1, this.#hash.length * 2));
    this.#slots[this.#probed_slot] = id;
    this.#hash[id] = this.#probed_hash;
    this.#store(id, view, start, end);
    this.#count++;
  }

  /** Takes the key of `id` out of the table; its bytes stay readable until {@link releaseBytes}. */
  unlink(id: TaskId): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = this.#hash[id]! & mask;
    while (slots[hole] !== id) hole = (hole + 1) & mask;
    // Backward shift: no tombstones, so look-ups stay short however long the server lives.
    for (let i = (hole + 1) & mask; slots[i] !== NONE; i = (i + 1) & mask) {
      const home = this.#hash[slots[i]!]! & mask;
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        slots[hole] = slots[i]!;
        hole = i;
      }
    }
    slots[hole] = NONE;
    this.#length[id] = ~this.#length[id]!;
    this.#count--;
    if (mask >= SLOTS_KEPT && this.#count * 16 < mask) this.#rehash((mask + 1) / 4);
  }

  /** Gives the bytes of an unlinked key back. */
  releaseBytes(id: TaskId): void {
    const index = this.#chunk[id]!;
    const chunk = this.#chunks[index]!;
    chunk.live_bytes -= this.byteLength(id);
    if (chunk.live_bytes > 0) return;
    if (index === this.#open_index) {
      chunk.used_bytes = 0;
    } else {
      this.#chunks[index] = null;
      this.#free_chunks.push(index);
    }
  }

  /** Gives back what more than `keys_kept` keys needed. Only while there are none, and no bytes of any. */
  trim(keys_kept: number): void {
    if (this.#hash.length > keys_kept) this.#resizeColumns(keys_kept);
    if (this.#mask >= 4 * keys_kept) this.#rehash(4 * keys_kept);
  }

  byteLength(id: TaskId): number {
    const length = this.#length[id]!;
    return length < 0 ? ~length : length;
  }

  /** Copies the key of `id` to `target` at `at`; returns the position behind it. */
  copyTo(id: TaskId, target: DataView, at: number): number {
    const length = this.byteLength(id);
    copy(this.#chunks[this.#chunk[id]!]!.view, this.#offset[id]!, target, at, length);
    return at + length;
  }

  /** A copy of the key's bytes. */
  bytes(id: TaskId): Uint8Array {
    const own = this.#chunks[this.#chunk[id]!]!.bytes;
    return own.slice(this.#offset[id]!, this.#offset[id]! + this.byteLength(id));
  }

  #slotOf(hash: number, view: DataView, start: number, end: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    const hashes = this.#hash;
    let slot = hash & mask;
    for (;;) {
      const id = slots[slot]!;
      if (id === NONE) return slot;
      if (hashes[id] === hash && this.matches(id, view, start, end)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #store(id: TaskId, view: DataView, start: number, end: number): void {
    const length = end - start;
    if (this.#open.used_bytes + length > this.#open.bytes.length) this.#openChunk(length);
    const chunk = this.#open;
    const at = chunk.used_bytes;
    copy(view, start, chunk.view, at, length);
    this.#chunk[id] = this.#open_index;
    this.#offset[id] = at;
    this.#length[id] = length;
    chunk.used_bytes = at + length;
    chunk.live_bytes += length;
  }

  #openChunk(length: number): void {
    if (this.#open_index !== NONE && this.#open.live_bytes === 0) {
      this.#chunks[this.#open_index] = null;
      this.#free_chunks.push(this.#open_index);
    }
    // A small server should not hold a megabyte for three keys: the first chunk is small.
    const bytes = this.#chunks.length === 0 ? 1 << 16 : CHUNK_BYTES;
    this.#open = chunkOf(Math.max(bytes, length));
    this.#open_index = this.#free_chunks.pop() ?? this.#chunks.length;
    this.#chunks[this.#open_index] = this.#open;
  }

  #rehash(capacity: number): void {
    const old = this.#slots;
    this.#slots = new Int32Array(capacity).fill(NONE);
    this.#mask = capacity - 1;
    for (const id of old) {
      if (id === NONE) continue;
      let slot = this.#hash[id]! & this.#mask;
      while (this.#slots[slot] !== NONE) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = id;
    }
  }

  #resizeColumns(capacity: number): void {
    this.#hash = resized(this.#hash, capacity);
    this.#chunk = resized(this.#chunk, capacity);
    this.#offset = resized(this.#offset, capacity);
    this.#length = resized(this.#length, capacity);
  }
}

function chunkOf(size: number): Chunk {
  const bytes = new Uint8Array(size);
  return { bytes, view: viewOf(bytes), used_bytes: 0, live_bytes: 0 };
}

/** For the few tens of bytes of a key a loop beats `subarray` and `set`. */
function copy(from: DataView, start: number, to: DataView, at: number, length: number): void {
  let i = 0;
  for (; i + 4 <= length; i += 4) to.setInt32(at + i, from.getInt32(start + i, true), true);
  for (; i < length; i++) to.setUint8(at + i, from.getUint8(start + i));
}
