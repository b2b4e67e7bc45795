import type { Socket } from "node:net";
import { CarriedConnection, type CarriedConnectionOptions, type Carrier } from "./carried-connection.ts";
import type { ReadTarget } from "./read-buffer.ts";
import { endsOf, linger } from "./sockets.ts";

/** Chunks of one write up to this total are joined, which is cheaper than a gathered write of many pieces. */
const JOIN_BYTES_MAX = 16 * 1024;
/**
 * What is larger is handed to the kernel piece by piece, a turn of the loop each: it takes as much as the peer reads
 * meanwhile, and was seen to be at 100 MiB for 0.1 s.
 */
const PIECE_BYTES_MAX = 8 * 1024 * 1024;

/** A socket of Node's, with TLS or without. */
export class TcpCarrier implements Carrier {
  readonly connection: CarriedConnection;
  readonly #socket: Socket;
  readonly #onWritten = (): void => this.connection.sent();
  /** What waits behind the piece that the socket has, from `#next` on. */
  #rest: Uint8Array[] = [];
  #next = 0;
  #rest_bytes = 0;
  /** The peer is told of the end once the rest is on its way. */
  #finishing = false;
  readonly #onPiece = (): void => {
    if (this.#rest_bytes > 0) setImmediate(this.#sendOn);
    else this.connection.sent();
  };
  readonly #sendOn = (): void => {
    if (this.#rest_bytes > 0) this.connection.sendsOn(() => this.#sendPiece());
  };
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
      this.#dropRest();
      connection.over();
    });
    socket.resume();
  }

  get pending_bytes(): number {
    return this.#socket.writableLength + this.#rest_bytes;
  }

  send(chunks: readonly Uint8Array[]): void {
    const socket = this.#socket;
    let total_bytes = 0;
    for (const chunk of chunks) total_bytes += chunk.length;
    if (this.#rest_bytes > 0 || total_bytes > PIECE_BYTES_MAX) {
      this.#sendLater(chunks, total_bytes);
      return;
    }
    if (chunks.length === 1) {
      socket.write(chunks[0]!, this.#onWritten);
      return;
    }
    if (total_bytes <= JOIN_BYTES_MAX) {
      socket.write(Buffer.concat(chunks, total_bytes), this.#onWritten);
      return;
    }
    socket.cork();
    for (const chunk of chunks) socket.write(chunk, this.#onWritten);
    socket.uncork();
  }

  #sendLater(chunks: readonly Uint8Array[], bytes: number): void {
    const first = this.#rest_bytes === 0;
    for (const chunk of chunks) this.#rest.push(chunk);
    this.#rest_bytes += bytes;
    if (first) this.#sendPiece();
  }

  #sendPiece(): void {
    const socket = this.#socket;
    const piece: Uint8Array[] = [];
    let room = PIECE_BYTES_MAX;
    while (room > 0 && this.#rest_bytes > 0) {
      const chunk = this.#rest[this.#next]!;
      const part = chunk.length > room ? chunk.subarray(0, room) : chunk;
      piece.push(part);
      room -= part.length;
      this.#rest_bytes -= part.length;
      // A packet may be of very many chunks: none of them is moved.
      if (part === chunk) this.#next++;
      else this.#rest[this.#next] = chunk.subarray(part.length);
    }
    if (this.#rest_bytes === 0) this.#dropRest();
    const last = piece.pop()!;
    socket.cork();
    for (const part of piece) socket.write(part);
    socket.write(last, this.#onPiece);
    socket.uncork();
    if (this.#finishing && this.#rest_bytes === 0) socket.end();
  }

  #dropRest(): void {
    this.#rest = [];
    this.#next = 0;
    this.#rest_bytes = 0;
  }

  read(): void {
    this.#socket.resume();
  }

  stopReading(): void {
    this.#socket.pause();
  }

  finish(): void {
    if (this.#rest_bytes > 0) this.#finishing = true;
    else this.#socket.end();
    this.#linger = linger(this);
  }

  kill(): void {
    this.#dropRest();
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
