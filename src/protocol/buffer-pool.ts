/** The smallest and the largest buffers that are used again; their sizes are powers of two. */
const SMALLEST_BITS = 16;
const LARGEST_BITS = 22;

/**
 * Buffers that are used again. For V8 a buffer is external memory: 64 MiB of new ones, whatever became of the old ones,
 * make it mark the whole heap. One for every large packet that comes would do that several times a second.
 */
export class BufferPool {
  readonly #kept_bytes_max: number;
  /** By the size's power of two. */
  readonly #free: Buffer[][] = Array.from({ length: LARGEST_BITS + 1 }, () => []);
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
    if (bits < SMALLEST_BITS || bits > LARGEST_BITS) return Buffer.allocUnsafeSlow(bytes_min);
    const buffer = this.#free[bits]!.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(1 << bits);
    this.#kept_bytes -= buffer.length;
    return buffer;
  }

  /** Takes back what nobody reads or writes any more, of {@link take} or not. */
  give(buffer: Buffer): void {
    const bits = sizeBits(buffer.length);
    if (bits < SMALLEST_BITS || bits > LARGEST_BITS || buffer.length !== 1 << bits) return;
    if (this.#kept_bytes + buffer.length > this.#kept_bytes_max) return;
    this.#kept_bytes += buffer.length;
    this.#free[bits]!.push(buffer);
  }
}

/** The power of two that is no less. */
function sizeBits(bytes: number): number {
  return bytes <= 1 ? 0 : 32 - Math.clz32(bytes - 1);
}
