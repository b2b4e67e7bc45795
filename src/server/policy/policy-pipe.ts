import { Decoder, Encoder } from "@msgpack/msgpack";

/** A message to the policy, or an answer, may be so long. */
const MESSAGE_BYTES_MAX = 256 << 20;

/** The other side broke the format of the pipe. */
export class PolicyPipeError extends Error {
  override readonly name = "PolicyPipeError";
}

/** A message as it is written: its length as u32, little-endian, then msgpack. */
export function encodePolicyMessage(message: unknown): Uint8Array {
  const packed = new Encoder().encodeSharedRef(message);
  const bytes = Buffer.allocUnsafe(4 + packed.byteLength);
  bytes.writeUInt32LE(packed.byteLength, 0);
  bytes.set(packed, 4);
  return bytes;
}

/** Cuts what the policy writes into messages. */
export class PolicyPipeReader {
  readonly #decoder = new Decoder();
  readonly #onMessage: (message: unknown) => void;
  #length: number | null = null;
  #wanted = Buffer.alloc(4);
  #filled = 0;

  constructor(onMessage: (message: unknown) => void) {
    this.#onMessage = onMessage;
  }

  /** Throws PolicyPipeError, and whatever `onMessage` throws; nothing more may be pushed then. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.byteLength) {
      const count = Math.min(chunk.byteLength - at, this.#wanted.byteLength - this.#filled);
      chunk.copy(this.#wanted, this.#filled, at, at + count);
      this.#filled += count;
      at += count;
      if (this.#filled === this.#wanted.byteLength) this.#complete(this.#wanted);
    }
  }

  #complete(bytes: Buffer): void {
    this.#filled = 0;
    if (this.#length === null) {
      const length = bytes.readUInt32LE(0);
      if (length === 0 || length > MESSAGE_BYTES_MAX)
        throw new PolicyPipeError(
          `a message of ${length} bytes, or something else than messages on its stdout`,
        );
      this.#length = length;
      this.#wanted = Buffer.alloc(length);
      return;
    }
    this.#length = null;
    this.#wanted = Buffer.alloc(4);
    let message: unknown;
    try {
      message = this.#decoder.decode(bytes);
    } catch (error) {
      throw new PolicyPipeError(`a message that is not msgpack (${String(error)})`);
    }
    this.#onMessage(message);
  }
}
