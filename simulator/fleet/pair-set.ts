/** Workers are below this, so that a pair is one exact float. */
const WORKER_LIMIT = 65_536;

/** A set of pairs (id, worker) in one flat table: open addressing, linear probing, at most half full. */
export class PairSet {
  /** id × WORKER_LIMIT + worker + 1, or 0 for an empty slot. */
  #slots = new Float64Array(256);
  #size = 0;

  has(id: number, worker: number): boolean {
    return this.#slots[this.#slotOf(id, worker)] !== 0;
  }

  /** The pair must not be in the set. */
  add(id: number, worker: number): void {
    if (2 * (this.#size + 1) > this.#slots.length) this.#grow();
    this.#slots[this.#slotOf(id, worker)] = id * WORKER_LIMIT + worker + 1;
    this.#size++;
  }

  /** False if the pair was not in the set. */
  remove(id: number, worker: number): boolean {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#slotOf(id, worker);
    if (slots[hole] === 0) return false;
    for (let slot = (hole + 1) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const home = hashPair(slots[slot]!) & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      slots[hole] = slots[slot]!;
      hole = slot;
    }
    slots[hole] = 0;
    this.#size--;
    return true;
  }

  /** The slot that holds the pair, or the empty one where it belongs. */
  #slotOf(id: number, worker: number): number {
    const pair = id * WORKER_LIMIT + worker + 1;
    const mask = this.#slots.length - 1;
    let slot = hashPair(pair) & mask;
    while (this.#slots[slot] !== 0 && this.#slots[slot] !== pair) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Float64Array(2 * old.length);
    const mask = this.#slots.length - 1;
    for (const pair of old) {
      if (pair === 0) continue;
      let slot = hashPair(pair) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = pair;
    }
  }
}

function hashPair(pair: number): number {
  const high = Math.floor(pair / 0x1_0000_0000);
  let hash = Math.imul((pair >>> 0) ^ Math.imul(high, 0x27d4eb2d), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return hash ^ (hash >>> 13);
}
