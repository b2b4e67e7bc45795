import { InvariantError } from "../base/assert.ts";
import { BufferPool } from "./buffer-pool.ts";
import { ProtocolError } from "./errors.ts";
import { asBuffer } from "./msgpack.ts";

/** What a peer may announce; checked before anything is allocated for it. */
export interface FrameLimits {
  readonly frame_count_max: number;
  /** One message with its lengths, bytes. */
  readonly message_bytes_max: number;
}

/** Dask itself has no limits. Ours bound one peer's memory: 2 GiB is what a buffer holds on every platform. */
export const FRAME_LIMITS: FrameLimits = { frame_count_max: 1 << 22, message_bytes_max: 2 ** 31 - 1 };

const TWO_32 = 0x1_0000_0000;
/** The outer length and the number of frames. */
const PRELUDE_BYTES = 16;
/** Frames from this size on go to the socket as they are; smaller ones are copied together. */
const JOIN_BYTES_MAX = 64 * 1024;
/** A message in pieces from this size on gets a buffer of its own, which its receiver may keep. */
const OWN_BYTES_MIN = 64 * 1024;
/** A larger buffer goes back to the pool once it is empty. */
const KEEP_BYTES_MAX = 64 * 1024;
/** What messages in pieces are put together in, for all readers of the process. */
const POOL = new BufferPool(64 * 1024 * 1024);
/**
 * The buffer of a message in pieces may be this many times what has arrived: at first few times, since the peer may not
 * mean it; then so many that a graph of tens of MiB is not copied from one buffer to the next. It takes no memory but
 * for address space before it is written to.
 */
const GROWTH = 4;
const GROWTH_LARGE = 64;
const LARGE_BYTES_MIN = 1024 * 1024;
/** Bytes of a message that are missing, from which on they are worth reads of their own; and those that are in. */
const ROOM_BYTES_MIN = 128 * 1024;
const ROOM_HELD_BYTES_MIN = 64 * 1024;
/**
 * What one such read may take. libuv reads up to 32 times before it looks at another socket, as long as there is no less
 * than it asks for: 16 MiB, in 10 to 15 ms, most of which are the first touches of fresh memory.
 */
const ROOM_BYTES_MAX = 512 * 1024;

/** One message as it stands in a buffer: `outer u64 | count u64 | length u64 … | frames`. */
export class FramedMessage {
  /** The buffer that the message lies in; there may be others before and after it. */
  readonly bytes: Buffer;
  /** Index in `bytes` of the message's first byte, and of the byte after its last. */
  readonly start: number;
  readonly end: number;
  readonly frame_count: number;
  readonly #transient: boolean;
  /** The buffer is of the {@link POOL}, and nothing but this message is in it. */
  #pooled: boolean;
  #kept = false;
  /** Index in `bytes` of the end of each frame. */
  readonly #ends: ArrayLike<number>;
  readonly #first: number;

  /**
   * Only FrameReader and own() make one: the lengths at `start` must have been checked.
   * `transient`: the bytes are used again once the handler has returned, in any case; else only if nobody keeps them.
   * `pooled`: they may be given back by whoever keeps them.
   */
  constructor(bytes: Buffer, start: number, ends: ArrayLike<number>, transient: boolean, pooled = false) {
    this.bytes = bytes;
    this.start = start;
    this.frame_count = ends.length;
    this.#first = start + PRELUDE_BYTES + 8 * ends.length;
    this.end = ends[ends.length - 1] ?? this.#first;
    this.#ends = ends;
    this.#transient = transient;
    this.#pooled = pooled;
  }

  /** Somebody asked for an {@link own} one, and got this one: its bytes are his. */
  get kept(): boolean {
    return this.#kept;
  }

  frameStart(i: number): number {
    return i === 0 ? this.#first : this.#ends[i - 1]!;
  }

  frameEnd(i: number): number {
    return this.#ends[i]!;
  }

  /** A view. */
  frame(i: number): Buffer {
    return this.bytes.subarray(this.frameStart(i), this.frameEnd(i));
  }

  /** What stays valid when the handler has returned, which the message itself does not: it, or a copy. */
  own(): FramedMessage {
    if (!this.#transient) {
      this.#kept = true;
      return this;
    }
    const copy = Buffer.allocUnsafeSlow(this.end - this.start);
    this.bytes.copy(copy, 0, this.start, this.end);
    return new FramedMessage(
      copy,
      0,
      Float64Array.from(this.#ends, (end) => end - this.start),
      false,
    );
  }

  /**
   * Of an {@link own} message: nobody holds on to any of its bytes any more, and the next message may come in their place.
   * To be left to the garbage collector where that is not certain.
   */
  giveBack(): void {
    if (!this.#pooled || !this.#kept) return;
    this.#pooled = false;
    POOL.give(this.bytes);
  }
}

/** Gives up the memory that large messages came in and the next ones could have come in again. */
export function trimMessageBuffers(): void {
  POOL.trim();
}

/**
 * Cuts a stream into messages. Whole messages in a chunk are handed out as views of it. A message in pieces is
 * put together in a buffer that grows with what has really arrived, never with what a length promises.
 * push() throws ProtocolError if the stream is not Dask's or breaks a limit; it can not be used after that.
 */
export class FrameReader {
  /** May be changed between messages: a connection widens them after its handshake. */
  limits: FrameLimits;
  readonly #onMessage: (message: FramedMessage) => void;
  /** Bytes that wait: the start of a message, or, while paused, all that came. */
  #held: Buffer = EMPTY;
  #held_start = 0;
  #held_end = 0;
  /** Size of the first held message once its lengths are in, else 0: a peer may announce millions of frames. */
  #held_size = 0;
  /** Bytes that the message announces which begins in the present chunk and does not end in it; 0: none. */
  #announced = 0;
  #paused = false;
  #closed = false;
  #delivering = false;

  constructor(limits: FrameLimits, onMessage: (message: FramedMessage) => void) {
    this.limits = limits;
    this.#onMessage = onMessage;
  }

  /** True within a call of onMessage. */
  get delivering(): boolean {
    return this.#delivering;
  }

  /** Bytes that came and were not handed out yet. */
  get pending_bytes(): number {
    return this.#held_end - this.#held_start;
  }

  /**
   * Takes the next bytes of the stream; onMessage is called before it returns.
   * `transient`: the chunk's memory is used again afterwards, so what is kept of it must be copied.
   */
  push(chunk: Uint8Array, transient: boolean): void {
    if (this.#delivering) throw new InvariantError("push() from within onMessage");
    this.#delivering = true;
    try {
      this.#consume(asBuffer(chunk), transient);
    } finally {
      this.#delivering = false;
    }
  }

  /**
   * Where the next bytes of the stream may be written, so that a large message is put together without a copy:
   * followed by {@link filled}. null while no such message is missing bytes.
   */
  room(): Buffer | null {
    const held = this.pending_bytes;
    if (held < ROOM_HELD_BYTES_MIN || this.#stopped()) return null;
    const missing = this.#promised() - held;
    if (this.#held_size === 0 || missing < ROOM_BYTES_MIN) return null;
    if (this.#held.length - this.#held_end < ROOM_BYTES_MIN) this.#grow(ROOM_BYTES_MIN);
    const end = Math.min(this.#held_start + this.#held_size, this.#held_end + ROOM_BYTES_MAX);
    return this.#held.subarray(this.#held_end, end);
  }

  /** The next `count` bytes of the stream are in the last {@link room}. */
  filled(count: number): void {
    if (this.#closed) return;
    this.#held_end += count;
    this.push(EMPTY, true);
  }

  /** No message is handed out until resume(), not even those of the present chunk. */
  pause(): void {
    this.#paused = true;
  }

  /** What waited is handed out after the present message, else by the next push(), of no bytes if need be. */
  resume(): void {
    this.#paused = false;
  }

  /** Nothing is handed out from here on; what waits is forgotten. */
  close(): void {
    this.#closed = true;
    this.#drop();
  }

  #consume(chunk: Buffer, transient: boolean): void {
    this.#announced = 0;
    let position = 0;
    while (!this.#stopped() && this.#held_end > this.#held_start) {
      const need = this.#missing();
      if (need === 0) continue;
      if (position === chunk.length) return;
      position += this.#hold(chunk, position, Math.min(chunk.length, position + need));
    }
    if (!this.#stopped()) position = this.#deliver(chunk, position, transient);
    if (!this.#closed && position < chunk.length) this.#hold(chunk, position, chunk.length);
  }

  #stopped(): boolean {
    return this.#paused || this.#closed;
  }

  /** Hands out the whole messages of a chunk; the position after the last of them. */
  #deliver(chunk: Buffer, start: number, transient: boolean): number {
    let position = start;
    while (!this.#stopped() && position < chunk.length) {
      const size = messageBytes(chunk, position, chunk.length, this.limits);
      if (size > chunk.length - position) {
        this.#announced = size;
        break;
      }
      const ends = frameEnds(chunk, position);
      const message = new FramedMessage(chunk, position, ends, transient);
      position += size;
      this.#onMessage(message);
    }
    return position;
  }

  /**
   * How many bytes the first held message lacks for the next step (its prelude, its lengths, its frames);
   * a message that is complete is handed out, and the answer is 0.
   */
  #missing(): number {
    const start = this.#held_start;
    const size = this.#promised();
    const missing = size - (this.#held_end - start);
    if (missing > 0) return missing;
    // The buffer may be used again for what comes after this message, unless the message is given the buffer.
    const bytes = this.#held;
    const alone = this.#held_end === start + size;
    const given = alone && (size >= OWN_BYTES_MIN || bytes.length > KEEP_BYTES_MAX);
    this.#held_start += size;
    this.#held_size = 0;
    if (given) this.#drop();
    else if (alone) this.#held_start = this.#held_end = 0;
    const owned = given && size >= OWN_BYTES_MIN;
    const message = new FramedMessage(bytes, start, frameEnds(bytes, start), !owned, owned);
    this.#onMessage(message);
    if (given && !message.kept) POOL.give(bytes);
    return 0;
  }

  /** Copies chunk bytes `from` … `to` behind those held; the number of bytes. */
  #hold(chunk: Buffer, from: number, to: number): number {
    const count = to - from;
    if (this.#held_end + count > this.#held.length) this.#grow(count);
    chunk.copy(this.#held, this.#held_end, from, to);
    this.#held_end += count;
    return count;
  }

  /** Room for `count` bytes more, and for as many of those that the message announces as a peer is trusted with. */
  #grow(count: number): void {
    const held = this.#held_end - this.#held_start;
    const promised = held === 0 ? this.#announced : this.#promised();
    const need = held + count;
    if (need <= this.#held.length && this.#held_start >= this.#held.length / 2) {
      this.#held.copyWithin(0, this.#held_start, this.#held_end);
    } else {
      const growth = held < LARGE_BYTES_MIN ? GROWTH : GROWTH_LARGE;
      const grown = POOL.take(Math.max(need, Math.min(promised, growth * need), 4096));
      this.#held.copy(grown, 0, this.#held_start, this.#held_end);
      POOL.give(this.#held);
      this.#held = grown;
    }
    this.#held_start = 0;
    this.#held_end = held;
  }

  /** Bytes that the first held message announces, as far as they are known (see messageBytes). */
  #promised(): number {
    if (this.#held_size > 0) return this.#held_size;
    const held = this.#held_end - this.#held_start;
    const size = messageBytes(this.#held, this.#held_start, this.#held_end, this.limits);
    if (held >= PRELUDE_BYTES && held >= lengthsEnd(this.#held, this.#held_start)) this.#held_size = size;
    return size;
  }

  #drop(): void {
    this.#held = EMPTY;
    this.#held_start = this.#held_end = this.#held_size = 0;
  }
}

const EMPTY = Buffer.alloc(0);

/**
 * The size of the message at `start`, as far as the bytes up to `end` tell: the prelude's while that is incomplete,
 * then with the lengths', then all. Throws ProtocolError if a limit is broken. The outer length is not looked at:
 * newer releases do not count all frames in it.
 */
function messageBytes(bytes: Buffer, start: number, end: number, limits: FrameLimits): number {
  if (end - start < PRELUDE_BYTES) return PRELUDE_BYTES;
  const count = readU64(bytes, start + 8);
  if (count > limits.frame_count_max) throw new ProtocolError("TOO_MANY_FRAMES", `${count} frames`);
  // Python's decoder looks at frame 0 unasked, so a message without one is never sent.
  if (count === 0) throw new ProtocolError("NO_FRAMES", "a message without frames");
  const header_bytes = PRELUDE_BYTES + 8 * count;
  if (end - start < header_bytes) return header_bytes;
  let size = header_bytes;
  for (let i = 0; i < count; i++) size += readU64(bytes, start + PRELUDE_BYTES + 8 * i);
  if (size > limits.message_bytes_max)
    throw new ProtocolError("MESSAGE_TOO_LARGE", `a message of ${size} bytes`);
  return size;
}

/** Bytes from a message's start to its first frame. */
function lengthsEnd(bytes: Buffer, start: number): number {
  return PRELUDE_BYTES + 8 * readU64(bytes, start + 8);
}

/** Where each frame ends. A graph has two frames a task, which a typed array takes without growing. */
function frameEnds(bytes: Buffer, start: number): ArrayLike<number> {
  const count = readU64(bytes, start + 8);
  let end = start + lengthsEnd(bytes, start);
  if (count === 1) return [end + readU64(bytes, start + PRELUDE_BYTES)];
  const ends = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    end += readU64(bytes, start + PRELUDE_BYTES + 8 * i);
    ends[i] = end;
  }
  return ends;
}

/** Exact up to 2^53, and far above every limit beyond. The bytes must be there: this is read for each frame. */
function readU64(bytes: Buffer, at: number): number {
  return readU32(bytes, at) + TWO_32 * readU32(bytes, at + 4);
}

function readU32(bytes: Buffer, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** Frames that came by another way than a stream, as one message: they are copied together. */
export function messageOfFrames(frames: readonly Uint8Array[]): FramedMessage {
  const first = PRELUDE_BYTES + 8 * frames.length;
  let end = first;
  const ends = frames.map((frame) => (end += frame.length));
  return new FramedMessage(Buffer.concat([Buffer.alloc(first), ...frames]), 0, ends, false);
}

/** Bytes ready for the socket: lengths and small frames joined, frames from 64 KiB on as they are (not copied). */
export function frameMessage(frames: readonly Uint8Array[]): Uint8Array[] {
  let total = PRELUDE_BYTES + 8 * frames.length;
  let joined = total;
  for (const frame of frames) {
    total += frame.length;
    if (frame.length < JOIN_BYTES_MAX) joined += frame.length;
  }
  const small = Buffer.allocUnsafe(joined);
  // Older releases read by the outer length, so it covers all; it does not count itself.
  writeU64(small, 0, total - 8);
  writeU64(small, 8, frames.length);
  let at = PRELUDE_BYTES;
  for (const frame of frames) {
    writeU64(small, at, frame.length);
    at += 8;
  }
  const chunks: Uint8Array[] = [];
  let from = 0;
  for (const frame of frames) {
    if (frame.length < JOIN_BYTES_MAX) {
      small.set(frame, at);
      at += frame.length;
    } else {
      if (at > from) chunks.push(small.subarray(from, at));
      from = at;
      chunks.push(frame);
    }
  }
  if (at > from) chunks.push(small.subarray(from, at));
  return chunks;
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % TWO_32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}
