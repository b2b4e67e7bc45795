import { PHASE } from "../trace/phases.ts";
import type { Probe } from "../trace/tracer.ts";
import { inCallback } from "./callback.ts";
import type { Connection } from "./connection.ts";
import { Ending } from "./ending.ts";
import { Inbox, type InboxLimits } from "./inbox.ts";

/** What takes a connection's bytes to its peer and brings the peer's: a socket, a websocket, memory. */
export interface Carrier {
  /** Of what {@link send} took, the bytes that have not gone yet. */
  readonly pending_bytes: number;
  /** Takes the chunks of whole messages. Tells {@link CarriedConnection.sent} when bytes go later than at once. */
  send(chunks: readonly Uint8Array[]): void;
  /** The owner wants messages from here on: what comes is to be given to the connection. */
  read(): void;
  /** The owner wants none, and has some waiting: no more is read than is on its way, until {@link read}. */
  stopReading(): void;
  /** Ends our side once all is sent, then tells {@link CarriedConnection.over}. What still comes is read for nothing. */
  finish(): void;
  /** Ends both sides at once, and tells {@link CarriedConnection.over} later, never within. May be asked again. */
  kill(): void;
}

/** Addresses such as tcp://127.0.0.1:1234. */
export interface ConnectionEnds {
  readonly peer: string;
  readonly local: string;
}

export interface CarriedConnectionOptions {
  /** Is told of callbacks that read, wrote or ended, and of each write. */
  readonly probe: Probe;
  readonly inbox_limits: InboxLimits;
  /** See {@link Connection.pending_bytes_max}. */
  readonly pending_bytes_max: number;
}

/** Bytes that are read for an owner who does not want them now; a little more may come with the last read. */
const HELD_BYTES_MAX = 64 * 1024;

/**
 * The connection that an owner sees, the same over all transports: messages when he wants them, bounded writing, one
 * end. What differs is the {@link Carrier} below. While the owner does not read, some bytes are read all the same, so
 * that the peer's end shows.
 */
export class CarriedConnection implements Connection {
  readonly peer: string;
  readonly local: string;
  pending_bytes_max: number;
  onDrain: () => void = () => undefined;
  readonly #probe: Probe;
  readonly #inbox: Inbox;
  readonly #ending = new Ending();
  readonly #carrier: Carrier;
  #reading = false;
  /** Why the connection ends; null while it is not known to. */
  #reason: string | null = null;
  /** A write went into the carrier's queue, so that onDrain is owed. */
  #draining = false;

  /** Made by its carrier, which is asked for nothing yet. */
  constructor(ends: ConnectionEnds, options: CarriedConnectionOptions, carrier: Carrier) {
    this.peer = ends.peer;
    this.local = ends.local;
    this.#carrier = carrier;
    this.#probe = options.probe;
    this.pending_bytes_max = options.pending_bytes_max;
    const source = {
      setReading: (reading: boolean) => {
        this.#reading = reading;
        if (reading) carrier.read();
      },
      onBadInput: (reason: string) => this.destroy(reason),
    };
    this.#inbox = new Inbox(options.inbox_limits, source, options.probe);
  }

  // ---- the owner's side

  get pending_bytes(): number {
    return this.#carrier.pending_bytes;
  }

  get onMessage(): Connection["onMessage"] {
    return this.#inbox.handler;
  }

  set onMessage(handler: Connection["onMessage"]) {
    this.#inbox.handler = handler;
  }

  get onClose(): Connection["onClose"] {
    return this.#ending.handler;
  }

  set onClose(handler: Connection["onClose"]) {
    this.#ending.handler = handler;
  }

  write(chunks: readonly Uint8Array[]): void {
    if (this.#reason !== null) return;
    const { tracer } = this.#probe;
    tracer?.enter(PHASE.write);
    this.#carrier.send(chunks);
    tracer?.exit();
    const { pending_bytes } = this.#carrier;
    if (pending_bytes === 0) return;
    this.#draining = true;
    if (pending_bytes > this.pending_bytes_max) {
      this.destroy(`does not read: ${pending_bytes} bytes are waiting for it`);
    }
  }

  pause(): void {
    this.#inbox.pause();
  }

  resume(): void {
    this.#inbox.resume();
  }

  close(): void {
    this.#inbox.close();
    if (this.#reason !== null) return;
    this.#reason = "closed here";
    // What the peer still sends is read and dropped: data left unread would make the kernel reset the connection, and
    // the peer might lose what we wrote last. A websocket's close message may be among it.
    this.#carrier.read();
    this.#carrier.finish();
  }

  destroy(reason: string): void {
    this.#reason ??= reason;
    this.#inbox.close();
    this.#carrier.kill();
  }

  // ---- the carrier's side

  /** The owner wants messages. */
  get reading(): boolean {
    return this.#reading;
  }

  /** The connection is known to end: nothing is written any more. */
  get ending(): boolean {
    return this.#reason !== null;
  }

  /** Bytes that wait for the owner, or for the rest of their message. */
  get unread_bytes(): number {
    return this.#inbox.pending_bytes;
  }

  /** Where the next bytes may be read to, see {@link Inbox.room}. */
  room(): Buffer | null {
    return this.#inbox.room();
  }

  // The two ways in are written out, since a closure would be made for each read.

  /** A callback brought bytes; `transient`: valid only until this returns. */
  received(bytes: Uint8Array, transient: boolean): void {
    const { tracer } = this.#probe;
    // Cutting the stream into messages is the stream's own work; what the receiver does with one is in spans of its own.
    tracer?.begin("read", PHASE.read);
    try {
      this.#inbox.push(bytes, transient);
      this.#hold();
    } finally {
      tracer?.end();
    }
  }

  /** Like {@link received}, of `count` bytes that are in the last {@link room}. */
  filled(count: number): void {
    const { tracer } = this.#probe;
    tracer?.begin("read", PHASE.read);
    try {
      this.#inbox.filled(count);
      this.#hold();
    } finally {
      tracer?.end();
    }
  }

  /** Like {@link received}, within a callback, whose phase the time belongs to. */
  take(bytes: Uint8Array): void {
    this.#inbox.push(bytes, false);
  }

  /** The carrier goes on with what {@link write} gave it, in a callback of its own. */
  sendsOn(work: () => void): void {
    inCallback(this.#probe, "write", PHASE.write, work);
  }

  /** Bytes that waited have gone. */
  sent(): void {
    if (!this.#draining || this.#carrier.pending_bytes > 0) return;
    this.#draining = false;
    if (this.#reason === null) inCallback(this.#probe, "write", PHASE.write, () => this.onDrain());
  }

  /** It is known why the connection will be over: the first reason is the one that is told. */
  ends(reason: string): void {
    this.#reason ??= reason;
  }

  /** Nothing carries the connection any more. The owner is told when he has had the messages that came before. */
  over(): void {
    this.ends("closed by the peer");
    this.#inbox.whenDelivered(() => {
      this.#inbox.close();
      inCallback(this.#probe, "other", undefined, () => this.#ending.end(this.#reason ?? ""));
    });
  }

  #hold(): void {
    if (!this.#reading && this.#inbox.pending_bytes > HELD_BYTES_MAX) this.#carrier.stopReading();
  }
}
