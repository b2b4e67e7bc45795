import { constants } from "node:buffer";
import { Decoder, Encoder } from "@msgpack/msgpack";
import { PieceReader } from "../base/piece-reader.ts";

/** The map of a message, unchecked; `sections` lists the lengths of the raw sections after it. */
export interface PipeHead {
  readonly [name: string]: unknown;
  readonly op?: unknown;
  readonly id?: unknown;
  /** What the host asks for. */
  readonly what?: unknown;
  readonly sections?: unknown;
  /** Of a hello that is none, and of the other answers; answers.ts reads them. */
  readonly error?: unknown;
  readonly executable?: unknown;
  readonly python?: unknown;
  readonly packages?: unknown;
  readonly exception?: unknown;
  readonly exception_text?: unknown;
  readonly traceback?: unknown;
  readonly traceback_text?: unknown;
  readonly cpu_seconds?: unknown;
}

/** One message from the child; the sections are views of one buffer outside the JS heap. */
export interface PipeMessage {
  readonly head: PipeHead;
  readonly sections: readonly Buffer[];
}

/** The child broke the pipe's format: user code wrote into it, or the two sides are of different releases. */
export class PipeError extends Error {}

const HEAD_BYTES_MAX = 256 << 20;
const SECTION_BYTES_MAX = Math.min(constants.MAX_LENGTH, 0xffff_ffff);

/** `head` must not name its sections; large sections are passed on without a copy. */
export function encodePipeMessage(head: PipeHead, sections: readonly Uint8Array[]): Uint8Array[] {
  const lengths = sections.map((section) => section.byteLength);
  const packed = new Encoder().encodeSharedRef({ ...head, sections: lengths });
  const start = Buffer.allocUnsafe(4 + packed.byteLength);
  start.writeUInt32LE(packed.byteLength, 0);
  start.set(packed, 4);
  return [start, ...sections];
}

/** Cuts the child's output into messages: u32 length, msgpack map, raw sections. */
export class PipeReader {
  readonly #onMessage: (message: PipeMessage) => void;
  readonly #decoder = new Decoder();
  readonly #pieces = new PieceReader(4, (piece) => this.#take(piece));
  /** What the next piece is. */
  #stage: "length" | "head" | "sections" = "length";
  #head: PipeHead = {};
  #lengths: readonly number[] = [];

  constructor(onMessage: (message: PipeMessage) => void) {
    this.#onMessage = onMessage;
  }

  /** Throws PipeError; nothing more may be pushed then. */
  push(chunk: Buffer): void {
    this.#pieces.push(chunk);
  }

  /** Answers how long the next piece is. */
  #take(piece: Buffer): number {
    if (this.#stage === "length") {
      const length = piece.readUInt32LE(0);
      if (length === 0 || length > HEAD_BYTES_MAX) throw new PipeError(`a message head of ${length} bytes`);
      this.#stage = "head";
      return length;
    }
    if (this.#stage === "head") {
      this.#head = this.#decodeHead(piece);
      this.#lengths = sectionLengths(this.#head);
      const size = this.#lengths.reduce((sum, length) => sum + length, 0);
      if (size > SECTION_BYTES_MAX) throw new PipeError(`a message of ${size} bytes`);
      this.#stage = "sections";
      return size;
    }
    this.#stage = "length";
    this.#onMessage({ head: this.#head, sections: split(piece, this.#lengths) });
    return 4;
  }

  #decodeHead(bytes: Buffer): PipeHead {
    try {
      return this.#decoder.decode(bytes) as PipeHead;
    } catch (error) {
      throw new PipeError(`a message head that is not msgpack: ${String(error)}`);
    }
  }
}

function sectionLengths(head: PipeHead): number[] {
  if (typeof head !== "object" || head === null) throw new PipeError("a message that is not a map");
  const lengths = head.sections ?? [];
  const isLength = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!Array.isArray(lengths) || !lengths.every(isLength))
    throw new PipeError("section lengths that are none");
  return lengths;
}

function split(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  let start = 0;
  return lengths.map((length) => {
    const section = bytes.subarray(start, start + length);
    start += length;
    return section;
  });
}
