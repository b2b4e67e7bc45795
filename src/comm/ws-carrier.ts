import type { Socket } from "node:net";
import type { RawData, WebSocket } from "ws";
import { type FramedMessage, type FrameLimits, FrameReader } from "../protocol/frames.ts";
import { CarriedConnection, type CarriedConnectionOptions, type Carrier } from "./carried-connection.ts";
import type { InboxLimits } from "./inbox.ts";
import { endsOf, linger } from "./sockets.ts";

/** Outer length, count, and a length for each frame. */
const PRELUDE_BYTES = 16;
const U64_BYTES = 8;
const TWO_32 = 0x1_0000_0000;
/** What we send, we made ourselves. */
const OWN_LIMITS: FrameLimits = {
  frame_count_max: Number.MAX_SAFE_INTEGER,
  message_bytes_max: Number.MAX_SAFE_INTEGER,
};
/** Close codes of a peer that left without a fault: normal, going away, and none given. */
const ORDINARY_CODES = [1000, 1001, 1005, 1006];

/**
 * Dask's messages over a websocket (distributed.comm.ws): one binary websocket message holds the number of frames, a
 * little-endian u64, and each frame is a message of its own. To both sides of it nothing differs from a TCP stream.
 */
export class WsCarrier implements Carrier {
  readonly connection: CarriedConnection;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #limits: InboxLimits;
  readonly #writer: FrameReader;
  readonly #onWritten = (): void => this.connection.sent();
  #linger: NodeJS.Timeout | undefined;
  /** Frames of the present message that have come; null: its number of frames comes next. */
  #frames: Buffer[] | null = null;
  #frames_left = 0;
  #frames_bytes = 0;
  /** Bytes that came before the first whole message. */
  #early_bytes = 0;
  #first = true;

  /** `socket`: what the websocket stands on. */
  constructor(ws: WebSocket, socket: Socket, scheme: "ws" | "wss", options: CarriedConnectionOptions) {
    this.#ws = ws;
    this.#socket = socket;
    this.#limits = options.inbox_limits;
    const connection = new CarriedConnection(endsOf(socket, scheme), options, this);
    this.connection = connection;
    this.#writer = new FrameReader(OWN_LIMITS, (message) => this.#sendFrames(message));
    ws.binaryType = "nodebuffer";
    ws.on("message", (data, is_binary) => this.#onMessage(data, is_binary));
    ws.on("error", (error) => connection.ends(error.message));
    ws.on("close", (code) => {
      clearInterval(this.#linger);
      connection.ends(this.#endOf(code));
      connection.over();
    });
    socket.on("data", this.#early);
  }

  get pending_bytes(): number {
    return this.#ws.bufferedAmount;
  }

  send(chunks: readonly Uint8Array[]): void {
    this.#socket.cork();
    for (const chunk of chunks) this.#writer.push(chunk, false);
    this.#socket.uncork();
  }

  read(): void {
    this.#ws.resume();
  }

  stopReading(): void {
    this.#ws.pause();
  }

  finish(): void {
    this.#ws.close(1000);
    this.#linger = linger(this);
  }

  kill(): void {
    this.#ws.terminate();
  }

  /** Whoever has not shaken hands should not be able to make us keep much: no message of theirs is whole yet. */
  readonly #early = (chunk: Buffer): void => {
    this.#early_bytes += chunk.length;
    const bytes_max = 2 * this.#limits.first_frame_limits.message_bytes_max;
    if (this.#early_bytes > bytes_max)
      this.connection.destroy(`more than ${bytes_max} bytes before its handshake`);
  };

  #sendFrames(message: FramedMessage): void {
    // The websocket may keep what it is given until the peer takes it.
    const owned = message.own();
    const count = Buffer.allocUnsafe(U64_BYTES);
    writeU64(count, 0, owned.frame_count);
    this.#ws.send(count);
    for (let i = 0; i < owned.frame_count; i++) this.#ws.send(owned.frame(i), this.#onWritten);
  }

  #onMessage(data: RawData, is_binary: boolean): void {
    if (this.connection.ending) return;
    if (!is_binary || !Buffer.isBuffer(data)) {
      this.connection.destroy("BAD_FRAME: a websocket message that is text");
      return;
    }
    const whole = this.#take(data);
    if (whole !== null) this.connection.received(whole, false);
  }

  /** The message that ends with this websocket message, in the form that it has on TCP; null: it goes on. */
  #take(data: Buffer): Buffer | null {
    const limits = this.#first ? this.#limits.first_frame_limits : this.#limits.frame_limits;
    if (this.#frames === null) {
      const count = data.length === U64_BYTES ? readU64(data, 0) : Number.NaN;
      if (!(count <= limits.frame_count_max)) {
        this.connection.destroy(`BAD_FRAME: ${data.length} bytes instead of a number of frames`);
        return null;
      }
      this.#frames = [];
      this.#frames_left = count;
      this.#frames_bytes = PRELUDE_BYTES + U64_BYTES * count;
    } else {
      this.#frames.push(data);
      this.#frames_left--;
      this.#frames_bytes += data.length;
    }
    if (this.#frames_bytes > limits.message_bytes_max) {
      this.connection.destroy(`TOO_LARGE: a message of more than ${limits.message_bytes_max} bytes`);
      return null;
    }
    if (this.#frames_left > 0) return null;
    const whole = joined(this.#frames, this.#frames_bytes);
    this.#frames = null;
    if (this.#first) {
      this.#first = false;
      this.#socket.removeListener("data", this.#early);
    }
    return whole;
  }

  #endOf(code: number): string {
    if (this.connection.reading && this.#frames !== null) return "closed by the peer within a message";
    return ORDINARY_CODES.includes(code)
      ? "closed by the peer"
      : `closed by the peer with websocket code ${code}`;
  }
}

/** `outer | count | lengths | frames`. */
function joined(frames: readonly Buffer[], total_bytes: number): Buffer {
  const whole = Buffer.allocUnsafeSlow(total_bytes);
  writeU64(whole, 0, total_bytes - U64_BYTES);
  writeU64(whole, U64_BYTES, frames.length);
  let at = PRELUDE_BYTES;
  for (const frame of frames) {
    writeU64(whole, at, frame.length);
    at += U64_BYTES;
  }
  for (const frame of frames) at += frame.copy(whole, at);
  return whole;
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * TWO_32;
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % TWO_32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}
