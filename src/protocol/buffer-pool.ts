/** The smallest and the largest buffers of a power of two; larger ones are kept as they are. */
const SMALLEST_BITS = 16;
const LARGEST_BITS = 22;
/** Sizes of larger ones are multiples of this: graphs of one kind differ by little. */
const LARGE_UNIT_BYTES = 1 << 20;

/**
 * Buffers that are used again. For V8 a buffer is external memory: 64 MiB of new ones, whatever became of the old ones,
 * make it mark the whole heap; and each page of a fresh one is a fault when it is first written to. One for every large packet
 * that comes would do that several times a second.
 */
export class BufferPool {
  readonly #kept_bytes_max: number;
  /** By the size's power of two. */
  readonly #free: Buffer[][] = Array.from({ length: LARGEST_BITS + 1 }, () => []);
  /** Beyond the largest power of two, the newest last. */
  #large: Buffer[] = [];
  #kept_bytes = 0;

  /** `kept_bytes_max`: how much may lie here unused. */
  constructor(kept_bytes_max: number) {
    this.#kept_bytes_max = kept_bytes_max;
  }

  get kept_bytes(): number {
    return this.#kept_bytes;
  }

  /** A buffer of at least so many bytes, with whatever is in it. */
  take(bytes_min: number): Buffer {
    const bits = sizeBits(bytes_min);
    if (bits < SMALLEST_BITS) return Buffer.allocUnsafeSlow(bytes_min);
    if (bits > LARGEST_BITS) return this.#takeLarge(bytes_min);
    const buffer = this.#free[bits]!.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(1 << bits);
    this.#kept_bytes -= buffer.length;
    return buffer;
  }

  #takeLarge(bytes_min: number): Buffer {
    const bytes = Math.ceil(bytes_min / LARGE_UNIT_BYTES) * LARGE_UNIT_BYTES;
    // One of twice the size would be missing where it is needed.
    const at = this.#large.findLastIndex(({ length }) => length >= bytes && length < 2 * bytes);
    if (at === -1) return Buffer.allocUnsafeSlow(bytes);
    const [buffer] = this.#large.splice(at, 1);
    this.#kept_bytes -= buffer!.length;
    return buffer!;
  }

  /** Takes back what nobody reads or writes any more, of {@link take} or not. */
  give(buffer: Buffer): void {
    const bits = sizeBits(buffer.length);
    if (bits < SMALLEST_BITS || buffer.length > this.#kept_bytes_max) return;
    if (bits > LARGEST_BITS) this.#dropLarge(this.#kept_bytes_max - buffer.length);
    else if (buffer.length !== 1 << bits) return;
    if (this.#kept_bytes + buffer.length > this.#kept_bytes_max) return;
    this.#kept_bytes += buffer.length;
    (bits > LARGEST_BITS ? this.#large : this.#free[bits]!).push(buffer);
  }

  /** Lets go of the oldest large ones until no more than `bytes` lie here, or none of them is left. */
  #dropLarge(bytes: number): void {
    while (this.#kept_bytes > bytes && this.#large.length > 0)
      this.#kept_bytes -= this.#large.shift()!.length;
  }

  /** Lets go of the large ones: nobody has needed them for a while. */
  trim(): void {
    this.#dropLarge(0);
  }
}

/** The power of two that is no less. */
function sizeBits(bytes: number): number {
  return bytes <= 1 ? 0 : 32 - Math.clz32(bytes - 1);
}
