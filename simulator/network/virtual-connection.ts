import {
  CarriedConnection,
  type CarriedConnectionOptions,
  type Carrier,
  type ConnectionEnds,
} from "../../src/comm/carried-connection.ts";
import type { Connection } from "../../src/comm/connection.ts";
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
  readonly #server: CarriedConnection;
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
  /** The server's end has ended, or learnt of the peer's. */
  #server_ended = false;
  #frozen = false;
  /** The peer hears of the end when it comes to itself. */
  #ended_frozen: string | null = null;
  /** From the peer to the server: not yet delivered. */
  readonly #to_server: { value: WireValue; bytes: Uint8Array }[] = [];

  /** `ends`: the server's and the peer's address, as the server's end sees them. */
  constructor(world: LinkWorld, name: string, ends: ConnectionEnds, buffer_bytes: number) {
    this.#world = world;
    this.name = name;
    this.#buffer_bytes = buffer_bytes;
    this.#server = new CarriedConnection(ends, SERVER_OPTIONS, this.#carrier());
    this.#reader = new FrameReader(FRAME_LIMITS, (message) => this.#written.push(message.own()));
  }

  get server(): Connection {
    return this.#server;
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
      this.#server.received(next.bytes, false);
    });
  }

  /** The peer closes: what it has sent still arrives. */
  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.#to_server_ns = Math.max(this.#to_server_ns, this.#world.now_ns + this.#world.delayNs());
    this.#world.at(this.#to_server_ns, () => this.#tellServer("closed by the peer"));
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
    this.#world.at(notice_ns, () => this.#tellServer("ECONNRESET"));
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

  #carrier(): Carrier {
    const wire = this;
    return {
      /** Written and not read, beyond what the way takes. */
      get pending_bytes(): number {
        return Math.max(0, wire.#unread_bytes - wire.#buffer_bytes);
      },
      send: (chunks) => this.#take(chunks),
      // What comes while the server does not read waits in its inbox.
      read: () => undefined,
      stopReading: () => undefined,
      finish: () => this.#serverEnds(true),
      kill: () => this.#serverEnds(false),
    };
  }

  #take(chunks: readonly Uint8Array[]): void {
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
      this.#unread_bytes -= next.bytes;
      this.#server.sent();
      // Each side writes its handshake first.
      if (this.#shaken) this.owner.onMessage(next.value);
      this.#shaken = true;
    }
  }

  #tellServer(reason: string): void {
    this.#server_ended = true;
    this.#server.ends(reason);
    this.#server.over();
  }

  /** The server ends its side: the peer learns it after all that was written, if it is closed in order. */
  #serverEnds(in_order: boolean): void {
    if (this.#server_ended) return;
    this.#server_ended = true;
    const at_ns = in_order ? this.#to_peer_ns : this.#world.now_ns + this.#world.delayNs();
    this.#world.at(Math.max(at_ns, this.#world.now_ns), () => {
      if (this.ended) return;
      this.ended = true;
      this.#tellEnd("closed by the peer");
    });
    // Never from within a call of the owner's.
    queueMicrotask(() => this.#server.over());
  }
}

const SERVER_OPTIONS: CarriedConnectionOptions = {
  probe: new Probe(),
  inbox_limits: { frame_limits: FRAME_LIMITS, first_frame_limits: FRAME_LIMITS },
  pending_bytes_max: Number.POSITIVE_INFINITY,
};
