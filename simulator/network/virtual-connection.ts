import type { Connection } from "../../src/comm/connection.ts";
import { Ending } from "../../src/comm/ending.ts";
import { Inbox } from "../../src/comm/inbox.ts";
import { FRAME_LIMITS, type FramedMessage, FrameReader, frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import type { WireValue } from "../../src/protocol/values.ts";
import { Probe } from "../../src/trace/tracer.ts";

/** What a link asks of the world around it. */
export interface LinkWorld {
  readonly now_ns: number;
  at(time_ns: number, callback: () => void): unknown;
  /** How long the next message of this connection is on its way, ns. */
  delayNs(): number;
  /** The server has written a message, or is about to be handed these bytes; null: they are no whole message. */
  seen(wire: Wire, way: "out" | "in", value: WireValue, bytes: Uint8Array): void;
}

/** Whoever stands at the peer's end of a connection. */
export interface WireOwner {
  onMessage(value: WireValue): void;
  onEnd(reason: string): void;
}

const NOBODY: WireOwner = { onMessage: () => undefined, onEnd: () => undefined };

/**
 * A connection between the server and a peer: the server's end is a {@link Connection} that carries bytes, the peer's
 * end takes values. In order in each direction; each message has a delay of its own, but none overtakes another.
 */
export class Wire {
  readonly server: ServerEnd;
  /** The address of the peer's end, and for what it is: shows in the log. */
  readonly name: string;
  owner: WireOwner = NOBODY;
  /** Bytes that the way to the peer takes without the server's knowing whether the peer reads them. */
  readonly #buffer_bytes: number;
  readonly #world: LinkWorld;
  readonly #reader: FrameReader;
  /** To the peer, in order: what has been written and not been read. */
  #unread: { readonly value: WireValue; readonly bytes: number }[] = [];
  #unread_bytes = 0;
  #written: FramedMessage[] = [];
  #to_peer_ns = 0;
  #to_server_ns = 0;
  #shaken = false;
  /** The peer's end has ended, or was cut: nothing is sent or heard any more. */
  ended = false;
  #frozen = false;
  /** The peer hears of the end when it comes to itself. */
  #ended_frozen: string | null = null;
  /** From the peer to the server: not yet delivered. */
  readonly #to_server: { value: WireValue; bytes: Uint8Array }[] = [];

  constructor(
    world: LinkWorld,
    name: string,
    addresses: { local: string; peer: string },
    buffer_bytes: number,
  ) {
    this.#world = world;
    this.name = name;
    this.#buffer_bytes = buffer_bytes;
    this.server = new ServerEnd(this, addresses);
    this.#reader = new FrameReader(FRAME_LIMITS, (message) => this.#written.push(message.own()));
  }

  // ---- the peer's end

  send(value: WireValue): void {
    this.sendBytes(Buffer.concat(frameMessage(encodeMessage(value))), value);
  }

  sendBytes(bytes: Uint8Array, value: WireValue = null): void {
    if (this.ended) return;
    this.#to_server_ns = Math.max(this.#to_server_ns, this.#world.now_ns + this.#world.delayNs());
    this.#to_server.push({ value, bytes });
    this.#world.at(this.#to_server_ns, () => {
      const next = this.#to_server.shift();
      if (next === undefined || next.bytes.length === 0) return;
      this.#world.seen(this, "in", next.value, next.bytes);
      this.server.receive(next.bytes);
    });
  }

  /** The peer closes: what it has sent still arrives. */
  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.#to_server_ns = Math.max(this.#to_server_ns, this.#world.now_ns + this.#world.delayNs());
    this.#world.at(this.#to_server_ns, () => this.server.endAfterDelivery("closed by the peer"));
  }

  /**
   * The connection breaks: of what was on its way to the server, the first `kept` bytes still arrive, and each side
   * notices after a time of its own.
   */
  cut(kept: number, server_delay_ns: number, peer_delay_ns: number): void {
    if (this.ended) return;
    this.ended = true;
    let left = kept;
    for (const sent of this.#to_server) {
      const { length } = sent.bytes;
      if (left < length) {
        sent.bytes = sent.bytes.subarray(0, Math.max(0, left));
        sent.value = null;
      }
      left -= length;
    }
    this.#unread = [];
    const notice_ns = Math.max(this.#to_server_ns, this.#world.now_ns + server_delay_ns);
    this.#world.at(notice_ns, () => this.server.endAfterDelivery("ECONNRESET"));
    this.#world.at(this.#world.now_ns + peer_delay_ns, () => this.#tellEnd("ECONNRESET"));
  }

  /** The peer does not read while it hangs. */
  freeze(frozen: boolean): void {
    this.#frozen = frozen;
    if (frozen) return;
    this.#read();
    if (this.#ended_frozen !== null) this.#tellEnd(this.#ended_frozen);
  }

  #tellEnd(reason: string): void {
    if (this.#frozen) this.#ended_frozen = reason;
    else this.owner.onEnd(reason);
  }

  // ---- what the server's end asks

  /** Written and not read, beyond what the way takes. */
  get pending_bytes(): number {
    return Math.max(0, this.#unread_bytes - this.#buffer_bytes);
  }

  get now_ns(): number {
    return this.#world.now_ns;
  }

  take(chunks: readonly Uint8Array[]): void {
    this.#reader.push(Buffer.concat(chunks), false);
    for (const message of this.#written.splice(0)) {
      const size = message.end - message.start;
      const entry = { value: decodeMessage(message), bytes: size };
      this.#world.seen(this, "out", entry.value, message.bytes.subarray(message.start, message.end));
      if (this.ended) continue;
      this.#unread_bytes += size;
      this.#to_peer_ns = Math.max(this.#to_peer_ns, this.#world.now_ns + this.#world.delayNs());
      this.#world.at(this.#to_peer_ns, () => {
        this.#unread.push(entry);
        this.#read();
      });
    }
  }

  #read(): void {
    while (!this.#frozen && !this.ended) {
      const next = this.#unread.shift();
      if (next === undefined) return;
      const pending = this.pending_bytes > 0;
      this.#unread_bytes -= next.bytes;
      if (pending && this.pending_bytes === 0) this.server.drained();
      // Each side writes its handshake first.
      if (this.#shaken) this.owner.onMessage(next.value);
      this.#shaken = true;
    }
  }

  /** The server has ended its side: the peer learns it after all that was written, if it was closed in order. */
  serverEnded(in_order: boolean): void {
    const at_ns = in_order ? this.#to_peer_ns : this.#world.now_ns + this.#world.delayNs();
    this.#world.at(Math.max(at_ns, this.#world.now_ns), () => {
      if (this.ended) return;
      this.ended = true;
      this.#tellEnd("closed by the peer");
    });
  }
}

/** The server's end of a {@link Wire}. */
export class ServerEnd implements Connection {
  readonly local: string;
  readonly peer: string;
  onDrain: () => void = () => undefined;
  readonly #wire: Wire;
  readonly #inbox: Inbox;
  readonly #ending = new Ending();
  #reading = false;
  /** Arrived while the owner did not read. */
  readonly #held: Uint8Array[] = [];
  #reason: string | null = null;
  #closing = false;
  /** How the peer's end ended, while messages of before still wait for the owner. */
  #over: string | null = null;

  constructor(wire: Wire, addresses: { local: string; peer: string }) {
    this.#wire = wire;
    this.local = addresses.local;
    this.peer = addresses.peer;
    this.#inbox = new Inbox(
      { frame_limits: FRAME_LIMITS, first_frame_limits: FRAME_LIMITS },
      {
        setReading: (reading) => {
          this.#reading = reading;
          if (reading && this.#held.length > 0) queueMicrotask(() => this.#goOn());
        },
        onBadInput: (reason) => this.destroy(reason),
      },
      new Probe(),
    );
  }

  get pending_bytes(): number {
    return this.#wire.pending_bytes;
  }

  get onMessage(): Connection["onMessage"] {
    return this.#inbox.handler;
  }

  set onMessage(handler: Connection["onMessage"]) {
    this.#inbox.handler = handler;
  }

  get onClose(): (reason: string) => void {
    return this.#ending.handler;
  }

  set onClose(handler: (reason: string) => void) {
    this.#ending.handler = handler;
  }

  write(chunks: readonly Uint8Array[]): void {
    if (this.#reason === null && !this.#closing) this.#wire.take(chunks);
  }

  pause(): void {
    this.#inbox.pause();
  }

  resume(): void {
    this.#inbox.resume();
  }

  close(): void {
    if (this.#reason !== null || this.#closing) return;
    this.#closing = true;
    this.#wire.serverEnded(true);
    this.#endSoon("closed here");
  }

  destroy(reason: string): void {
    if (this.#reason !== null) return;
    this.#wire.serverEnded(false);
    this.#endSoon(reason);
  }

  // ---- the wire's side

  receive(bytes: Uint8Array): void {
    if (this.#reason !== null || this.#closing) return;
    if (this.#reading && this.#held.length === 0) this.#inbox.push(bytes, false);
    else this.#held.push(bytes);
  }

  #goOn(): void {
    while (this.#reading && this.#reason === null) {
      const next = this.#held.shift();
      if (next === undefined) break;
      this.#inbox.push(next, false);
    }
    const over = this.#over;
    if (over !== null && this.#held.length === 0) this.#inbox.whenDelivered(() => this.#endSoon(over));
  }

  drained(): void {
    if (this.#reason === null && !this.#closing) this.onDrain();
  }

  /** The peer's end is over: told once what arrived before has been handed out. */
  endAfterDelivery(reason: string): void {
    if (this.#reason !== null) return;
    this.#over = reason;
    this.#goOn();
  }

  /** Never from within a call of the owner's. */
  #endSoon(reason: string): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    this.#inbox.close();
    queueMicrotask(() => this.#ending.end(reason));
  }
}
