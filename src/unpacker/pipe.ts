import { constants } from "node:buffer";
import { Decoder, Encoder } from "@msgpack/msgpack";

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
  #stage: "length" | "head" | "sections" = "length";
  #wanted = Buffer.alloc(4);
  #filled = 0;
  #head: PipeHead = {};
  #lengths: readonly number[] = [];

  constructor(onMessage: (message: PipeMessage) => void) {
    this.#onMessage = onMessage;
  }

  /** Throws PipeError; nothing more may be pushed then. */
  push(chunk: Buffer): void {
    let position = 0;
    while (position < chunk.byteLength) {
      const count = Math.min(chunk.byteLength - position, this.#wanted.byteLength - this.#filled);
      chunk.copy(this.#wanted, this.#filled, position, position + count);
      this.#filled += count;
      position += count;
      // A stage of no bytes follows at once: a message without sections is complete with its head.
      while (this.#filled === this.#wanted.byteLength) this.#advance();
    }
  }

  #advance(): void {
    const complete = this.#wanted;
    if (this.#stage === "length") {
      const length = complete.readUInt32LE(0);
      if (length === 0 || length > HEAD_BYTES_MAX) throw new PipeError(`a message head of ${length} bytes`);
      this.#expect("head", length);
    } else if (this.#stage === "head") {
      this.#head = this.#decodeHead(complete);
      this.#lengths = sectionLengths(this.#head);
      this.#expect(
        "sections",
        this.#lengths.reduce((sum, length) => sum + length, 0),
      );
    } else {
      this.#expect("length", 4);
      this.#onMessage({ head: this.#head, sections: split(complete, this.#lengths) });
    }
  }

  #decodeHead(bytes: Buffer): PipeHead {
    try {
      return this.#decoder.decode(bytes) as PipeHead;
    } catch (error) {
      throw new PipeError(`a message head that is not msgpack: ${String(error)}`);
    }
  }

  #expect(stage: "length" | "head" | "sections", size: number): void {
    if (size > SECTION_BYTES_MAX) throw new PipeError(`a message of ${size} bytes`);
    this.#stage = stage;
    // A buffer of its own, not from Node's pool: its offset is 0, so that u32 arrays in it are aligned.
    this.#wanted = Buffer.allocUnsafeSlow(size);
    this.#filled = 0;
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
