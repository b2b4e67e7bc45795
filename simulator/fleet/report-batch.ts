/** u64 outer length, u64 frame count, u64 length of the one frame. */
const PRELUDE_BYTES = 24;
/** The longest msgpack array header. The real one is written in front of the messages, when their number is known. */
const ARRAY_HEADER_BYTES_MAX = 5;
const HEAD_BYTES = PRELUDE_BYTES + ARRAY_HEADER_BYTES_MAX;

/** Larger than most batches, small enough to be cheap to begin anew. */
const SLAB_BYTES = 256 * 1024;

/**
 * One framed message (an array of messages, as Dask's batched streams send it) being written in place, into slabs
 * that are never written twice: a connection may keep what `take()` gave it.
 */
export class ReportBatch {
  bytes: Uint8Array = new Uint8Array(SLAB_BYTES);
  view: DataView = new DataView(this.bytes.buffer);
  /** Where the next byte goes. */
  position = HEAD_BYTES;
  /** Messages in the batch. */
  count = 0;

  #start = 0;

  /** Makes room for `length` more bytes. To be called before each message that is written at `position`. */
  reserve(length: number): void {
    if (this.position + length > this.bytes.length) this.#move(length);
  }

  /** The finished framed message; the next batch begins. There must be at least one message. */
  take(): Uint8Array {
    const header_bytes = this.count < 16 ? 1 : this.count < 65_536 ? 3 : 5;
    const frame = this.#start + HEAD_BYTES - header_bytes;
    const { bytes, view } = this;
    if (header_bytes === 1) bytes[frame] = 0x90 | this.count;
    else if (header_bytes === 3) {
      bytes[frame] = 0xdc;
      view.setUint16(frame + 1, this.count);
    } else {
      bytes[frame] = 0xdd;
      view.setUint32(frame + 1, this.count);
    }
    const start = frame - PRELUDE_BYTES;
    const frame_bytes = this.position - frame;
    writeU64(view, start, 16 + frame_bytes);
    writeU64(view, start + 8, 1);
    writeU64(view, start + 16, frame_bytes);
    const message = bytes.subarray(start, this.position);
    this.#start = this.position;
    this.position += HEAD_BYTES;
    this.count = 0;
    if (this.position > bytes.length) this.#newSlab(SLAB_BYTES);
    return message;
  }

  /** Drops the messages written so far. */
  discard(): void {
    this.position = this.#start + HEAD_BYTES;
    this.count = 0;
  }

  #newSlab(size: number): void {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    this.#start = 0;
    this.position = HEAD_BYTES;
  }

  #move(length: number): void {
    const from = this.bytes.subarray(this.#start, this.position);
    const used = this.position - this.#start;
    this.#newSlab(Math.max(SLAB_BYTES, 2 * (used + length)));
    this.bytes.set(from, 0);
    this.position = used;
  }
}

/** Little-endian; lengths here are far below 2^53. */
function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
