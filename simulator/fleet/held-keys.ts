import { PairSet } from "./pair-set.ts";

const NONE = -1;
const FIRST_CAPACITY = 1024;
const FIRST_ARENA_BYTES = 64 * 1024;

/**
 * Which keys each worker of a fleet holds. One table for the whole fleet: a key's bytes are stored once, whoever
 * holds it, because most keys have one holder; the others are pairs in a set of their own.
 * Keys are their canonical msgpack bytes. Ids are reused after the last holder let go.
 */
export class HeldKeys {
  /** Keys held, counted for each worker. */
  readonly counts: Int32Array;
  #total = 0;

  /** Open addressing, linear probing: id + 1, or 0. Always at most half full. */
  #slots = new Int32Array(2 * FIRST_CAPACITY);
  #hashes = new Int32Array(FIRST_CAPACITY);
  #offsets = new Uint32Array(FIRST_CAPACITY);
  #lengths = new Uint32Array(FIRST_CAPACITY);
  #holder = new Int32Array(FIRST_CAPACITY).fill(NONE);
  /** Holders of a key beyond `#holder`. */
  #others = new Int32Array(FIRST_CAPACITY);
  #free: number[] = [];
  #id_count = 0;
  readonly #pairs = new PairSet();

  #arena = new Uint8Array(FIRST_ARENA_BYTES);
  #arena_used = 0;
  #arena_garbage = 0;

  constructor(workers: number) {
    this.counts = new Int32Array(workers);
  }

  /** Sum of {@link counts}. */
  get total(): number {
    return this.#total;
  }

  /** Whether `worker` holds the key. */
  has(worker: number, bytes: Uint8Array, start: number, end: number): boolean {
    const id = this.#find(bytes, start, end, hashKey(bytes, start, end));
    return id !== NONE && this.#isHolder(id, worker);
  }

  /** Makes `worker` hold the key; false if it held it. */
  add(worker: number, bytes: Uint8Array, start: number, end: number): boolean {
    const hash = hashKey(bytes, start, end);
    let id = this.#find(bytes, start, end, hash);
    if (id === NONE) id = this.#insert(bytes, start, end, hash);
    else if (this.#isHolder(id, worker)) return false;
    if (this.#holder[id] === NONE) this.#holder[id] = worker;
    else {
      this.#pairs.add(id, worker);
      this.#others[id]!++;
    }
    this.counts[worker]!++;
    this.#total++;
    return true;
  }

  /** Makes `worker` let go of the key; false if it did not hold it. */
  remove(worker: number, bytes: Uint8Array, start: number, end: number): boolean {
    const id = this.#find(bytes, start, end, hashKey(bytes, start, end));
    return id !== NONE && this.#removeHolder(id, worker);
  }

  /** Makes `worker` let go of everything. Looks at every key of the fleet. */
  removeAll(worker: number): void {
    if (this.counts[worker] === 0) return;
    for (let id = 0; id < this.#id_count; id++) {
      if (this.#lengths[id] !== 0) this.#removeHolder(id, worker);
    }
  }

  /** Copies of the keys that `worker` holds. Looks at every key of the fleet. */
  keysOf(worker: number): Uint8Array[] {
    const keys: Uint8Array[] = [];
    for (let id = 0; id < this.#id_count && keys.length < this.counts[worker]!; id++) {
      if (this.#lengths[id] === 0 || !this.#isHolder(id, worker)) continue;
      keys.push(this.#arena.slice(this.#offsets[id]!, this.#offsets[id]! + this.#lengths[id]!));
    }
    return keys;
  }

  #isHolder(id: number, worker: number): boolean {
    return this.#holder[id] === worker || (this.#others[id] !== 0 && this.#pairs.has(id, worker));
  }

  #removeHolder(id: number, worker: number): boolean {
    if (this.#holder[id] === worker) this.#holder[id] = NONE;
    else if (this.#others[id] !== 0 && this.#pairs.remove(id, worker)) this.#others[id]!--;
    else return false;
    this.counts[worker]!--;
    this.#total--;
    if (this.#holder[id] === NONE && this.#others[id] === 0) this.#forget(id);
    return true;
  }

  #find(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const length = end - start;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const id = slots[slot]! - 1;
      if (id < 0) return NONE;
      if (this.#hashes[id] !== hash || this.#lengths[id] !== length) continue;
      if (this.#equals(this.#offsets[id]!, bytes, start, length)) return id;
    }
  }

  #equals(offset: number, bytes: Uint8Array, start: number, length: number): boolean {
    const arena = this.#arena;
    // From the back: keys of one kind share their beginning.
    for (let i = length - 1; i >= 0; i--) {
      if (arena[offset + i] !== bytes[start + i]) return false;
    }
    return true;
  }

  #insert(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const id = this.#free.pop() ?? this.#id_count++;
    if (id >= this.#hashes.length) this.#growIds();
    const length = end - start;
    const offset = this.#reserve(length);
    const arena = this.#arena;
    for (let i = 0; i < length; i++) arena[offset + i] = bytes[start + i]!;
    this.#hashes[id] = hash;
    this.#offsets[id] = offset;
    this.#lengths[id] = length;
    this.#holder[id] = NONE;
    this.#others[id] = 0;
    this.#placeSlot(id, hash);
    return id;
  }

  #placeSlot(id: number, hash: number): void {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = id + 1;
  }

  #forget(id: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#hashes[id]! & mask;
    while (slots[hole] !== id + 1) hole = (hole + 1) & mask;
    // Close the gap by moving back whatever a probe could no longer reach across it: no tombstones.
    for (let slot = (hole + 1) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.#hashes[slots[slot]! - 1]! & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      slots[hole] = slots[slot]!;
      hole = slot;
    }
    slots[hole] = 0;
    this.#arena_garbage += this.#lengths[id]!;
    this.#lengths[id] = 0;
    this.#free.push(id);
  }

  #growIds(): void {
    const capacity = 2 * this.#hashes.length;
    this.#hashes = grown(this.#hashes, new Int32Array(capacity));
    this.#offsets = grown(this.#offsets, new Uint32Array(capacity));
    this.#lengths = grown(this.#lengths, new Uint32Array(capacity));
    this.#holder = grown(this.#holder, new Int32Array(capacity).fill(NONE));
    this.#others = grown(this.#others, new Int32Array(capacity));
    this.#slots = new Int32Array(2 * capacity);
    for (let id = 0; id < this.#id_count; id++) {
      if (this.#lengths[id] !== 0) this.#placeSlot(id, this.#hashes[id]!);
    }
  }

  /** Room for `length` bytes: compacts the arena if half of it is garbage, else doubles it. */
  #reserve(length: number): number {
    if (this.#arena_used + length > this.#arena.length) {
      const live = this.#arena_used - this.#arena_garbage;
      let size = this.#arena.length;
      while (2 * (live + length) > size) size *= 2;
      this.#compact(size);
    }
    const offset = this.#arena_used;
    this.#arena_used += length;
    return offset;
  }

  #compact(size: number): void {
    const arena = new Uint8Array(size);
    let used = 0;
    for (let id = 0; id < this.#id_count; id++) {
      const length = this.#lengths[id]!;
      if (length === 0) continue;
      arena.set(this.#arena.subarray(this.#offsets[id]!, this.#offsets[id]! + length), used);
      this.#offsets[id] = used;
      used += length;
    }
    this.#arena = arena;
    this.#arena_used = used;
    this.#arena_garbage = 0;
  }
}

function grown<T extends Int32Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Four bytes a step (a multiply and a rotate each), finished as MurmurHash3 does so that low bits are good. */
function hashKey(bytes: Uint8Array, start: number, end: number): number {
  let hash = end - start;
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    hash = Math.imul(hash ^ word, 0x9e3779b1);
    hash = (hash << 15) | (hash >>> 17);
  }
  for (; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
