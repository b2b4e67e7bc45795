import { NONE, type TaskId } from "../base/ids.ts";
import { grown } from "../base/typed-arrays.ts";

const CHUNK_BYTES = 1 << 20;
/** A table of up to so many slots (1 MiB) does not shrink: graph after graph would rehash it up and down. */
const SLOTS_KEPT = 1 << 18;

interface Chunk {
  readonly bytes: Uint8Array;
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
  #open: Chunk = { bytes: new Uint8Array(0), used_bytes: 0, live_bytes: 0 };
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

  hash(bytes: Uint8Array, start: number, end: number): number {
    let h = this.#seed ^ (end - start);
    let i = start;
    // Four bytes a step: the multiplication, not the loads, is the chain.
    for (; i + 4 <= end; i += 4) {
      h = Math.imul(
        h ^ (bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)),
        0x9e3779b1,
      );
      h ^= h >>> 15;
    }
    for (; i < end; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    return h ^ (h >>> 13);
  }

  /** The id that has these bytes, or NONE. */
  find(bytes: Uint8Array, start: number, end: number): TaskId {
    return this.#slots[this.#slotOf(this.hash(bytes, start, end), bytes, start, end)]!;
  }

  /** The hash of a key that is in the table. */
  hashOf(id: TaskId): number {
    return this.#hash[id]!;
  }

  /**
   * True when task `id` is in the table with exactly these bytes: the cheap test of a guess before any hashing.
   * `id` may be one that was never given out. A task that was taken out never matches: its key may belong to another by now.
   */
  matches(id: TaskId, bytes: Uint8Array, start: number, end: number): boolean {
    if (id >= this.#length.length || this.#length[id] !== end - start) return false;
    const length = end - start;
    const own = this.#chunks[this.#chunk[id]!]!.bytes;
    const offset = this.#offset[id]!;
    // From the end: keys of one layer differ in their last bytes.
    for (let i = length - 1; i >= 0; i--) if (own[offset + i] !== bytes[start + i]) return false;
    return true;
  }

  /** {@link find}, and when it answers NONE the next event may be {@link insertProbed} of the same bytes. */
  probe(bytes: Uint8Array, start: number, end: number): TaskId {
    if (this.#count * 2 >= this.#mask) this.#rehash((this.#mask + 1) * 2);
    this.#probed_hash = this.hash(bytes, start, end);
    this.#probed_slot = this.#slotOf(this.#probed_hash, bytes, start, end);
    return this.#slots[this.#probed_slot]!;
  }

  /** Gives the bytes that were not found just now to `id`. */
  insertProbed(id: TaskId, bytes: Uint8Array, start: number, end: number): void {
    if (id >= this.#hash.length) this.#growColumns(id + 1);
    this.#slots[this.#probed_slot] = id;
    this.#hash[id] = this.#probed_hash;
    this.#store(id, bytes, start, end);
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

  byteLength(id: TaskId): number {
    const length = this.#length[id]!;
    return length < 0 ? ~length : length;
  }

  /** Copies the key of `id` to `target` at `at`; returns the position behind it. */
  copyTo(id: TaskId, target: Uint8Array, at: number): number {
    const own = this.#chunks[this.#chunk[id]!]!.bytes;
    const offset = this.#offset[id]!;
    const length = this.byteLength(id);
    // A loop beats subarray + set for the few tens of bytes of a key (51 ns against a byte a nanosecond or less).
    if (length > 96) target.set(own.subarray(offset, offset + length), at);
    else for (let i = 0; i < length; i++) target[at + i] = own[offset + i]!;
    return at + length;
  }

  /** A copy of the key's bytes. */
  bytes(id: TaskId): Uint8Array {
    const own = this.#chunks[this.#chunk[id]!]!.bytes;
    return own.slice(this.#offset[id]!, this.#offset[id]! + this.byteLength(id));
  }

  #slotOf(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    const hashes = this.#hash;
    let slot = hash & mask;
    for (;;) {
      const id = slots[slot]!;
      if (id === NONE) return slot;
      if (hashes[id] === hash && this.matches(id, bytes, start, end)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #store(id: TaskId, bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (this.#open.used_bytes + length > this.#open.bytes.length) this.#openChunk(length);
    const chunk = this.#open;
    const at = chunk.used_bytes;
    if (length > 96) chunk.bytes.set(bytes.subarray(start, end), at);
    else for (let i = 0; i < length; i++) chunk.bytes[at + i] = bytes[start + i]!;
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
    this.#open = { bytes: new Uint8Array(Math.max(bytes, length)), used_bytes: 0, live_bytes: 0 };
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

  #growColumns(needed: number): void {
    const capacity = Math.max(needed, this.#hash.length * 2);
    this.#hash = grown(this.#hash, capacity);
    this.#chunk = grown(this.#chunk, capacity);
    this.#offset = grown(this.#offset, capacity);
    this.#length = grown(this.#length, capacity);
  }
}
