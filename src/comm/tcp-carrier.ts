import type { Socket } from "node:net";
import { CarriedConnection, type CarriedConnectionOptions, type Carrier } from "./carried-connection.ts";
import type { ReadTarget } from "./read-buffer.ts";
import { endsOf, linger } from "./sockets.ts";

/** Chunks of one write up to this total are joined, which is cheaper than a gathered write of many pieces. */
const JOIN_BYTES_MAX = 16 * 1024;

/** A socket of Node's, with TLS or without. */
export class TcpCarrier implements Carrier {
  readonly connection: CarriedConnection;
  readonly #socket: Socket;
  readonly #onWritten = (): void => this.connection.sent();
  #linger: NodeJS.Timeout | undefined;

  /**
   * The socket must be connected, and paused or not yet read from. `target`: what its bytes come through, from a
   * buffer that is used again; null: they come as 'data' events.
   */
  constructor(
    socket: Socket,
    target: ReadTarget | null,
    scheme: "tcp" | "tls",
    options: CarriedConnectionOptions,
  ) {
    this.#socket = socket;
    const connection = new CarriedConnection(endsOf(socket, scheme), options, this);
    this.connection = connection;
    if (target === null) {
      socket.on("data", (chunk: Buffer) => connection.received(chunk, false));
    } else {
      target.receive = (bytes) => connection.received(bytes, true);
      target.room = () => connection.room();
      target.filled = (count) => connection.filled(count);
    }
    socket.on("end", () => this.#onEnd());
    socket.on("error", (error: NodeJS.ErrnoException) => connection.ends(error.code ?? error.message));
    socket.on("close", () => {
      clearInterval(this.#linger);
      connection.over();
    });
    socket.resume();
  }

  get pending_bytes(): number {
    return this.#socket.writableLength;
  }

  send(chunks: readonly Uint8Array[]): void {
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

  read(): void {
    this.#socket.resume();
  }

  stopReading(): void {
    this.#socket.pause();
  }

  finish(): void {
    this.#socket.end();
    this.#linger = linger(this);
  }

  kill(): void {
    this.#socket.destroy();
  }

  #onEnd(): void {
    const { connection } = this;
    // Bytes of an owner who wants none now may be whole messages.
    const within = connection.reading && connection.unread_bytes > 0;
    connection.ends(within ? "closed by the peer within a message" : "closed by the peer");
    // What was pending when the peer closed may never be read; nobody waits for it.
    this.#socket.destroy();
  }
}
