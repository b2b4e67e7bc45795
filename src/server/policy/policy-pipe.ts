import { Decoder, Encoder } from "@msgpack/msgpack";
import { PieceReader } from "../../base/piece-reader.ts";

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
  readonly #pieces = new PieceReader(4, (piece) => this.#take(piece));
  /** The message itself comes next, not its length. */
  #within = false;

  constructor(onMessage: (message: unknown) => void) {
    this.#onMessage = onMessage;
  }

  /** Throws PolicyPipeError, and whatever `onMessage` throws; nothing more may be pushed then. */
  push(chunk: Buffer): void {
    this.#pieces.push(chunk);
  }

  /** Answers how long the next piece is. */
  #take(piece: Buffer): number {
    this.#within = !this.#within;
    if (this.#within) return checkedLength(piece.readUInt32LE(0));
    this.#onMessage(this.#decoded(piece));
    return 4;
  }

  #decoded(bytes: Buffer): unknown {
    try {
      return this.#decoder.decode(bytes);
    } catch (error) {
      throw new PolicyPipeError(`a message that is not msgpack (${String(error)})`);
    }
  }
}

function checkedLength(length: number): number {
  if (length > 0 && length <= MESSAGE_BYTES_MAX) return length;
  throw new PolicyPipeError(`a message of ${length} bytes, or something else than messages on its stdout`);
}
