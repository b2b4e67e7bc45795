/**
 * A small seeded generator (sfc32, Chris Doty-Humphrey's PractRand): 128 bits of state, passes PractRand.
 * The only source of chance in core, policies and workloads; equal seeds give equal sequences.
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = Math.trunc(seed / 0x1_0000_0000) | 0;
    this.#c = 0x9e3779b9 | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  /** A uniform integer of 32 bits, 0 … 2^32 − 1. */
  u32(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /** A uniform integer, 0 … bound − 1, for bounds up to 2^32 (bias below 2^-20 for bounds up to 4096). */
  below(bound: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * bound);
  }

  /** A uniform float in [0, 1) with 32 bits. */
  unit(): number {
    return this.u32() / 0x1_0000_0000;
  }
}
