import { grown, viewOf } from "../../base/typed-arrays.ts";
import type { KeyTable } from "../../core/key-table.ts";

/** Payloads from this size on are written as they lie in the message that brought them; smaller ones are gathered. */
export const GATHER_BYTES_MAX = 16 * 1024;
/** Packets up to this size are cut from a common slab: an allocation of its own costs a microsecond. */
const SLAB_PACKET_BYTES_MAX = 32 * 1024;
const SLAB_BYTES = 512 * 1024;
/** Larger ones are built in buffers of the next power of two, which are kept up to this. */
const SCRATCH_BYTES_MAX = 2 * 1024 * 1024;
/** Room that one large message has made is given back before the next packet. */
const KEEP_BYTES_MAX = 4 * 1024 * 1024;
const TWO_32 = 0x1_0000_0000;
const NO_BYTES = new Uint8Array(0);

const float = new DataView(new ArrayBuffer(8));

/**
 * Writes one packet for a stream: frame 0 as msgpack, field by field, and the frames behind it. No value tree in
 * between. Used again for each packet; what {@link finish} returns is the packet's own.
 */
export class PacketWriter {
  /** Frame 0 so far: `bytes[0 … at)`. */
  bytes = new Uint8Array(1 << 16);
  #view = viewOf(this.bytes);
  at = 0;
  /** Lengths of the frames behind frame 0. */
  #lengths = new Float64Array(256);
  #frames = 0;
  /** Small frames gathered, and the large ones between them with their place. */
  #body = new Uint8Array(1 << 16);
  #body_at = 0;
  /** The small frames gathered last, which lie one behind the other where they came from: copied in one go, later. */
  #run: Uint8Array = NO_BYTES;
  #run_start = 0;
  #run_end = 0;
  readonly #large: { at: number; bytes: Uint8Array }[] = [];
  #large_bytes = 0;
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #slab_at = 0;
  /** Buffers for large packets, by the logarithm of their size. */
  readonly #scratch: (Buffer | undefined)[] = [];
  /** The scratch buffer that the packet at hand lies in, or −1. */
  #scratch_used = -1;
  /** Where the packet at hand begins in the slab, or −1. */
  #slab_used = -1;

  /** How many messages the packet's list holds. */
  count = 0;

  /** Starts a packet: a list whose length is filled in at the end. */
  start(): void {
    if (this.bytes.length > KEEP_BYTES_MAX) this.#use(new Uint8Array(1 << 16));
    this.bytes[0] = 0xdd;
    this.at = 5;
    this.count = 0;
    this.#frames = 0;
    this.#body_at = 0;
    this.#large.length = 0;
    this.#large_bytes = 0;
    this.#dropRun();
  }

  /** Bytes of the packet so far, roughly. */
  get size(): number {
    return this.at + this.#body_at + (this.#run_end - this.#run_start) + this.#large_bytes;
  }

  /** Index that the next frame will have: what a placeholder refers to. */
  get next_frame(): number {
    return this.#frames + 1;
  }

  /** Makes room for `count` more bytes of frame 0. To be called before the unchecked writes below. */
  reserve(count: number): void {
    if (this.at + count > this.bytes.length)
      this.#use(grown(this.bytes, Math.max(this.at + count, this.bytes.length * 2)));
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
  }

  /** Ready msgpack bytes. Needs room reserved. */
  raw(source: Uint8Array): void {
    this.bytes.set(source, this.at);
    this.at += source.length;
  }

  /** A task's key. Reserves for itself. */
  key(keys: KeyTable, task: number): void {
    this.reserve(keys.byteLength(task) + 16);
    this.at = keys.copyTo(task, this.#view, this.at);
  }

  mapHeader(count: number): void {
    this.#header(count, 0x80, 0xde);
  }

  arrayHeader(count: number): void {
    this.#header(count, 0x90, 0xdc);
  }

  #header(count: number, fix: number, type16: number): void {
    const { bytes } = this;
    if (count < 16) bytes[this.at++] = fix | count;
    else if (count < 0x10000) {
      bytes[this.at++] = type16;
      bytes[this.at++] = count >>> 8;
      bytes[this.at++] = count;
    } else {
      bytes[this.at++] = type16 + 1;
      this.#u32(count);
    }
  }

  #u32(value: number): void {
    const { bytes } = this;
    bytes[this.at++] = value >>> 24;
    bytes[this.at++] = value >>> 16;
    bytes[this.at++] = value >>> 8;
    bytes[this.at++] = value;
  }

  /** A number as Python would pack it: integers in the shortest form, others as float64. Needs 9 bytes reserved. */
  number(value: number): void {
    if (!Number.isInteger(value)) this.float(value);
    else if (value >= 0) this.#unsigned(value);
    else if (value >= -32) this.bytes[this.at++] = value & 0xff;
    else if (value >= -0x80000000) {
      this.bytes[this.at++] = 0xd2;
      this.#u32(value);
    } else {
      this.bytes[this.at++] = 0xd3;
      this.#u32(Math.floor(value / TWO_32));
      this.#u32(value >>> 0);
    }
  }

  #unsigned(value: number): void {
    const { bytes } = this;
    if (value < 0x80) bytes[this.at++] = value;
    else if (value < 0x100) {
      bytes[this.at++] = 0xcc;
      bytes[this.at++] = value;
    } else if (value < 0x10000) {
      bytes[this.at++] = 0xcd;
      bytes[this.at++] = value >>> 8;
      bytes[this.at++] = value;
    } else if (value < TWO_32) {
      bytes[this.at++] = 0xce;
      this.#u32(value);
    } else {
      bytes[this.at++] = 0xcf;
      this.#u32(Math.floor(value / TWO_32));
      this.#u32(value >>> 0);
    }
  }

  float(value: number): void {
    float.setFloat64(0, value);
    this.bytes[this.at++] = 0xcb;
    for (let i = 0; i < 8; i++) this.bytes[this.at++] = float.getUint8(i);
  }

  /** A frame that lies in `buffer` from `start` on. */
  frame(buffer: Uint8Array, start: number, length: number): void {
    if (this.#frames === this.#lengths.length) this.#lengths = grown(this.#lengths, this.#frames * 2);
    this.#lengths[this.#frames++] = length;
    if (length > GATHER_BYTES_MAX) {
      this.#copyRun();
      this.#large.push({ at: this.#body_at, bytes: buffer.subarray(start, start + length) });
      this.#large_bytes += length;
      return;
    }
    this.#gather(buffer, start, length);
  }

  /** Two frames that lie one behind the other: mostly a small payload with its header, copied in one go. */
  framePair(buffer: Uint8Array, start: number, first: number, second: number): void {
    const length = first + second;
    if (length > GATHER_BYTES_MAX || this.#frames + 2 > this.#lengths.length) {
      this.frame(buffer, start, first);
      this.frame(buffer, start + first, second);
      return;
    }
    this.#lengths[this.#frames++] = first;
    this.#lengths[this.#frames++] = second;
    this.#gather(buffer, start, length);
  }

  #gather(buffer: Uint8Array, start: number, length: number): void {
    // Neighbours in a graph mostly go to one worker, so their payloads lie in the graph's message as they will here.
    if (start !== this.#run_end || buffer !== this.#run) {
      this.#copyRun();
      this.#run = buffer;
      this.#run_start = start;
      this.#run_end = start;
    }
    this.#run_end += length;
  }

  #copyRun(): void {
    const length = this.#run_end - this.#run_start;
    if (length === 0) return;
    if (this.#body_at + length > this.#body.length)
      this.#body = grown(this.#body, Math.max(this.#body_at + length, this.#body.length * 2));
    this.#body.set(this.#run.subarray(this.#run_start, this.#run_end), this.#body_at);
    this.#body_at += length;
    this.#dropRun();
  }

  /** The graph's message must not be kept for this. */
  #dropRun(): void {
    this.#run = NO_BYTES;
    this.#run_start = 0;
    this.#run_end = 0;
  }

  /**
   * The framed packet, as chunks for a connection: payloads passed on as they lie, and views of one buffer between
   * them. With `shared` that is a part of memory that is used again, and {@link reuse} must follow; it stays as long as
   * any packet in it does.
   */
  finish(shared = true): Uint8Array[] {
    const { bytes, at } = this;
    bytes[1] = this.count >>> 24;
    bytes[2] = this.count >>> 16;
    bytes[3] = this.count >>> 8;
    bytes[4] = this.count;
    const frames = this.#frames + 1;
    const prelude = 16 + 8 * frames;
    const body_end = prelude + at + this.#body_at;
    const run_bytes = this.#run_end - this.#run_start;
    const gathered = body_end + run_bytes;
    const packet = shared ? this.#take(gathered) : Buffer.allocUnsafeSlow(gathered);
    writeU64(packet, 0, gathered - 8 + this.#large_bytes);
    writeU64(packet, 8, frames);
    writeU64(packet, 16, at);
    for (let i = 0; i < this.#frames; i++) writeU64(packet, 24 + 8 * i, this.#lengths[i]!);
    packet.set(bytes.subarray(0, at), prelude);
    if (this.#body_at > 0) packet.set(this.#body.subarray(0, this.#body_at), prelude + at);
    if (run_bytes > 0) packet.set(this.#run.subarray(this.#run_start, this.#run_end), body_end);
    this.#dropRun();
    return this.#large.length === 0 ? [packet] : this.#split(packet, prelude + at);
  }

  /** Puts the large frames between the gathered ones. */
  #split(packet: Uint8Array, body_start: number): Uint8Array[] {
    const chunks: Uint8Array[] = [];
    let from = 0;
    for (const { at, bytes } of this.#large) {
      if (body_start + at > from) chunks.push(packet.subarray(from, body_start + at));
      chunks.push(bytes);
      from = body_start + at;
    }
    if (from < packet.length) chunks.push(packet.subarray(from));
    return chunks;
  }

  /** `written`: nobody needs the bytes of the last packet any more, and the next may be built in their place. */
  reuse(written: boolean): void {
    if (written) {
      if (this.#slab_used >= 0) this.#slab_at = this.#slab_used;
    } else if (this.#scratch_used >= 0) this.#scratch[this.#scratch_used] = undefined;
  }

  #take(length: number): Buffer {
    this.#scratch_used = -1;
    this.#slab_used = -1;
    if (length > SCRATCH_BYTES_MAX) return Buffer.allocUnsafeSlow(length);
    if (length > SLAB_PACKET_BYTES_MAX) {
      // Fresh memory of this size costs as much in page faults as all the copying, and collections to give it back.
      const size = 32 - Math.clz32(length - 1);
      this.#scratch_used = size;
      this.#scratch[size] ??= Buffer.allocUnsafeSlow(1 << size);
      return this.#scratch[size].subarray(0, length);
    }
    if (this.#slab_at + length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slab_at = 0;
    }
    this.#slab_used = this.#slab_at;
    const packet = this.#slab.subarray(this.#slab_at, this.#slab_at + length);
    this.#slab_at += length;
    return packet;
  }
}

function writeU64(target: Uint8Array, at: number, value: number): void {
  const low = value >>> 0;
  const high = Math.floor(value / TWO_32);
  target[at] = low;
  target[at + 1] = low >>> 8;
  target[at + 2] = low >>> 16;
  target[at + 3] = low >>> 24;
  target[at + 4] = high;
  target[at + 5] = high >>> 8;
  target[at + 6] = high >>> 16;
  target[at + 7] = high >>> 24;
}
