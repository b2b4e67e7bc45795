import type { Socket } from "node:net";
import { PHASE } from "../trace/phases.ts";
import type { Probe } from "../trace/tracer.ts";
import { formatTcpAddress } from "./address.ts";
import type { Connection } from "./connection.ts";
import { Ending } from "./ending.ts";
import { Inbox, type InboxLimits } from "./inbox.ts";
import type { ReadTarget } from "./read-buffer.ts";

export interface TcpConnectionOptions {
  /** Of the addresses of both ends. */
  readonly scheme: "tcp" | "tls";
  readonly probe: Probe;
  readonly inbox_limits: InboxLimits;
  readonly pending_bytes_max: number;
}

/** Chunks of one write up to this total are joined, which is cheaper than a gathered write of many pieces. */
const JOIN_BYTES_MAX = 16 * 1024;
/** Bytes that are read for an owner who does not want them now; a little more may come with the last read. */
const HELD_BYTES_MAX = 64 * 1024;
/** close() gives up on a peer that took no byte, and did not close its side, for this long. */
const LINGER_MS = 5000;

/** A connection over a socket of Node's. */
export class TcpConnection implements Connection {
  readonly peer: string;
  readonly local: string;
  onDrain: () => void = ignore;
  readonly #socket: Socket;
  readonly #probe: Probe;
  readonly #inbox: Inbox;
  readonly #pending_bytes_max: number;
  /** Why the connection ends; null while it is not known to. */
  #reason: string | null = null;
  readonly #ending = new Ending();
  /** The owner wants messages. While he does not, some bytes are read all the same, so that the peer's end shows. */
  #wanted = false;
  /** A write went into the socket's queue, so that onDrain is owed. */
  #draining = false;
  readonly #onWritten = (): void => {
    if (this.#draining && this.#socket.writableLength === 0) this.#drained();
  };

  /**
   * The socket must be connected, and paused or not yet read from. `target`: what its bytes come through, from a
   * buffer that is used again; null: they come as 'data' events.
   */
  constructor(socket: Socket, options: TcpConnectionOptions, target: ReadTarget | null) {
    this.#socket = socket;
    this.#probe = options.probe;
    this.#pending_bytes_max = options.pending_bytes_max;
    this.peer = formatTcpAddress(socket.remoteAddress, socket.remotePort, options.scheme);
    this.local = formatTcpAddress(socket.localAddress, socket.localPort, options.scheme);
    this.#inbox = new Inbox(
      options.inbox_limits,
      {
        setReading: (reading) => {
          this.#wanted = reading;
          if (reading) socket.resume();
        },
        onBadInput: (reason) => this.destroy(reason),
      },
      this.#probe,
    );
    if (target === null) {
      socket.on("data", (chunk: Buffer) => this.#onBytes(() => this.#inbox.push(chunk, false)));
    } else {
      target.receive = (bytes) => this.#onBytes(() => this.#inbox.push(bytes, true));
      target.room = () => this.#inbox.room();
      target.filled = (count) => this.#onBytes(() => this.#inbox.filled(count));
    }
    socket.on("end", () => this.#onEnd());
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#reason ??= error.code ?? error.message;
    });
    socket.on("close", () => this.#inbox.whenDelivered(() => this.#onClosed()));
    socket.resume();
  }

  get pending_bytes(): number {
    return this.#socket.writableLength;
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
    if (this.#reason !== null) return;
    const { tracer } = this.#probe;
    tracer?.enter(PHASE.write);
    this.#send(chunks);
    tracer?.exit();
    const pending_bytes = this.#socket.writableLength;
    if (pending_bytes === 0) return;
    this.#draining = true;
    if (pending_bytes > this.#pending_bytes_max) {
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
    if (this.#reason !== null) return;
    this.#reason = "closed here";
    this.#inbox.close();
    const socket = this.#socket;
    // What the peer still sends is read and dropped: data left unread would make the kernel reset the connection,
    // and the peer might lose what we wrote last.
    socket.resume();
    socket.end();
    let left_bytes = -1;
    const timer = setInterval(() => {
      if (socket.writableLength === left_bytes) socket.destroy();
      left_bytes = socket.writableLength;
    }, LINGER_MS);
    timer.unref();
    socket.once("close", () => clearInterval(timer));
  }

  destroy(reason: string): void {
    this.#reason ??= reason;
    this.#inbox.close();
    this.#socket.destroy();
  }

  #send(chunks: readonly Uint8Array[]): void {
    const socket = this.#socket;
    if (chunks.length === 1) {
      socket.write(chunks[0]!, this.#onWritten);
      return;
    }
    let total_bytes = 0;
    for (const chunk of chunks) total_bytes += chunk.length;
    if (total_bytes <= JOIN_BYTES_MAX) {
      socket.write(Buffer.concat(chunks, total_bytes), this.#onWritten);
      return;
    }
    socket.cork();
    for (const chunk of chunks) socket.write(chunk, this.#onWritten);
    socket.uncork();
  }

  #onBytes(take: () => void): void {
    const { tracer } = this.#probe;
    // Cutting the stream into messages is the stream's own work; what the receiver does with one is in spans of its own.
    tracer?.begin("read", PHASE.read);
    try {
      take();
      if (!this.#wanted && this.#inbox.pending_bytes > HELD_BYTES_MAX) this.#socket.pause();
    } finally {
      tracer?.end();
    }
  }

  #drained(): void {
    this.#draining = false;
    if (this.#reason !== null) return;
    const { tracer } = this.#probe;
    tracer?.begin("write", PHASE.write);
    try {
      this.onDrain();
    } finally {
      tracer?.end();
    }
  }

  #onEnd(): void {
    // Bytes of an owner who wants none now may be whole messages.
    const within = this.#wanted && this.#inbox.pending_bytes > 0;
    this.#reason ??= within ? "closed by the peer within a message" : "closed by the peer";
    // What was pending when the peer closed may never be read; nobody waits for it.
    this.#socket.destroy();
  }

  #onClosed(): void {
    this.#inbox.close();
    this.#reason ??= "closed by the peer";
    const { tracer } = this.#probe;
    tracer?.begin("other");
    try {
      this.#ending.end(this.#reason);
    } finally {
      tracer?.end();
    }
  }
}

function ignore(): void {}
