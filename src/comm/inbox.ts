import { ProtocolError } from "../protocol/errors.ts";
import { type FramedMessage, type FrameLimits, FrameReader } from "../protocol/frames.ts";
import { PHASE } from "../trace/phases.ts";
import type { Probe } from "../trace/tracer.ts";
import { inCallback } from "./callback.ts";
import { waitForOwner } from "./connection.ts";

/** What an inbox asks of the transport below it. */
export interface InboxSource {
  /** Whether bytes are wanted; called when that changes. Nothing is wanted at first. */
  setReading(reading: boolean): void;
  /** The peer broke the protocol. */
  onBadInput(reason: string): void;
}

export interface InboxLimits {
  readonly frame_limits: FrameLimits;
  /** For the first message alone: a handshake is small, and who cannot shake hands should not be able to send much. */
  readonly first_frame_limits: FrameLimits;
}

/** The reading half of a connection: bytes in, messages out to whoever owns the connection, when he wants them. */
export class Inbox {
  readonly #reader: FrameReader;
  readonly #limits: InboxLimits;
  readonly #source: InboxSource;
  readonly #probe: Probe;
  #handler: (message: FramedMessage) => void = waitForOwner;
  #paused = false;
  #reading = false;
  #closed = false;
  #waking = false;
  #first = true;
  #onDelivered: (() => void) | null = null;

  constructor(limits: InboxLimits, source: InboxSource, probe: Probe) {
    this.#limits = limits;
    this.#source = source;
    this.#probe = probe;
    this.#reader = new FrameReader(limits.first_frame_limits, (message) => this.#receive(message));
    this.#reader.pause();
  }

  get handler(): (message: FramedMessage) => void {
    return this.#handler;
  }

  set handler(handler: (message: FramedMessage) => void) {
    this.#handler = handler;
    this.#update();
  }

  /** Bytes of messages that were not handed out yet. */
  get pending_bytes(): number {
    return this.#reader.pending_bytes;
  }

  pause(): void {
    this.#paused = true;
    this.#update();
  }

  resume(): void {
    this.#paused = false;
    this.#update();
  }

  /** Hands out the messages that end in this chunk. The caller has told the tracer that its callback began. */
  push(chunk: Uint8Array, transient: boolean): void {
    if (this.#closed) return;
    try {
      this.#reader.push(chunk, transient);
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** See {@link FrameReader.room}. */
  room(): Buffer | null {
    return this.#closed ? null : this.#reader.room();
  }

  /** Like {@link push}, of bytes that are in the last {@link room}. */
  filled(count: number): void {
    if (this.#closed) return;
    try {
      this.#reader.filled(count);
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Calls back once no whole message waits for the owner: at once, or when he has resumed and taken them. */
  whenDelivered(callback: () => void): void {
    this.#onDelivered = callback;
    this.#tellDelivered();
  }

  close(): void {
    this.#closed = true;
    this.#reader.close();
    // Later: the owner who closes must not be called back from within.
    if (this.#onDelivered !== null) queueMicrotask(() => this.#tellDelivered());
  }

  #refuse(error: unknown): void {
    if (!(error instanceof ProtocolError)) throw error;
    this.#source.onBadInput(`${error.code}: ${error.message}`);
  }

  #receive(message: FramedMessage): void {
    if (this.#first) {
      this.#first = false;
      this.#reader.limits = this.#limits.frame_limits;
    }
    this.#handler(message);
  }

  #tellDelivered(): void {
    const waits = this.#waking || (!this.#reading && this.#reader.pending_bytes > 0);
    if (this.#onDelivered === null || (waits && !this.#closed)) return;
    const callback = this.#onDelivered;
    this.#onDelivered = null;
    callback();
  }

  #update(): void {
    const reading = !this.#paused && this.#handler !== waitForOwner && !this.#closed;
    if (reading === this.#reading) return;
    this.#reading = reading;
    if (!reading) this.#reader.pause();
    else if (this.#reader.pending_bytes === 0 || this.#reader.delivering) this.#reader.resume();
    else this.#wakeSoon();
    this.#source.setReading(reading);
  }

  /** Messages that waited come in a callback of their own: whoever resumes must not be called back while at it. */
  #wakeSoon(): void {
    if (this.#waking) return;
    this.#waking = true;
    queueMicrotask(() => {
      this.#waking = false;
      // Whoever waits for the end is told by close(), or when the owner resumes again.
      if (!this.#reading || this.#closed) return;
      inCallback(this.#probe, "read", PHASE.read, () => {
        this.#reader.resume();
        this.push(NO_BYTES, true);
        this.#tellDelivered();
      });
    });
  }
}

const NO_BYTES = new Uint8Array(0);
