/** Cuts a stream of bytes into pieces of exact sizes, each in a buffer of its own. */
export class PieceReader {
  readonly #onPiece: (piece: Buffer) => number;
  #wanted: Buffer;
  #filled = 0;

  /** `size`: of the first piece, bytes. `onPiece` answers the size of the next, perhaps 0. */
  constructor(size: number, onPiece: (piece: Buffer) => number) {
    this.#wanted = Buffer.allocUnsafeSlow(size);
    this.#onPiece = onPiece;
  }

  /** Throws what `onPiece` throws; nothing more may be pushed then. */
  push(chunk: Buffer): void {
    let position = 0;
    while (position < chunk.byteLength) {
      const count = Math.min(chunk.byteLength - position, this.#wanted.byteLength - this.#filled);
      chunk.copy(this.#wanted, this.#filled, position, position + count);
      this.#filled += count;
      position += count;
      // A piece of no bytes follows at once.
      while (this.#filled === this.#wanted.byteLength) this.#complete();
    }
  }

  #complete(): void {
    const size = this.#onPiece(this.#wanted);
    // Not from Node's pool: its offset is 0, so that u32 arrays in it are aligned.
    this.#wanted = Buffer.allocUnsafeSlow(size);
    this.#filled = 0;
  }
}
