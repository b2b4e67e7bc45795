import type { Socket } from "node:net";
import type { RawData, WebSocket } from "ws";
import { type FramedMessage, type FrameLimits, FrameReader } from "../protocol/frames.ts";
import { PHASE } from "../trace/phases.ts";
import type { Probe } from "../trace/tracer.ts";
import { formatTcpAddress } from "./address.ts";
import type { Connection } from "./connection.ts";
import { Ending } from "./ending.ts";
import { Inbox, type InboxLimits } from "./inbox.ts";

export interface WsConnectionOptions {
  readonly scheme: "ws" | "wss";
  readonly probe: Probe;
  readonly inbox_limits: InboxLimits;
  readonly pending_bytes_max: number;
}

/** Bytes that are read for an owner who does not want them now; a little more may come with the last read. */
const HELD_BYTES_MAX = 64 * 1024;
/** close() waits so long for the peer to take what is pending and to answer. */
const LINGER_MS = 5000;
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
export class WsConnection implements Connection {
  readonly peer: string;
  readonly local: string;
  onDrain: () => void = ignore;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #probe: Probe;
  readonly #inbox: Inbox;
  readonly #limits: InboxLimits;
  readonly #pending_bytes_max: number;
  readonly #ending = new Ending();
  readonly #writer: FrameReader;
  #reason: string | null = null;
  #wanted = false;
  #draining = false;
  /** Frames of the present message that have come; null: its number of frames comes next. */
  #frames: Buffer[] | null = null;
  #frames_left = 0;
  #frames_bytes = 0;
  /** Bytes that came before the first whole message. */
  #early_bytes = 0;
  #first = true;
  readonly #onWritten = (): void => {
    if (this.#draining && this.pending_bytes === 0) this.#drained();
  };

  /** `socket`: what the websocket stands on. */
  constructor(ws: WebSocket, socket: Socket, options: WsConnectionOptions) {
    this.#ws = ws;
    this.#socket = socket;
    this.#probe = options.probe;
    this.#limits = options.inbox_limits;
    this.#pending_bytes_max = options.pending_bytes_max;
    this.peer = formatTcpAddress(socket.remoteAddress, socket.remotePort, options.scheme);
    this.local = formatTcpAddress(socket.localAddress, socket.localPort, options.scheme);
    this.#writer = new FrameReader(OWN_LIMITS, (message) => this.#sendFrames(message));
    this.#inbox = new Inbox(
      options.inbox_limits,
      {
        setReading: (reading) => {
          this.#wanted = reading;
          if (reading) ws.resume();
        },
        onBadInput: (reason) => this.destroy(reason),
      },
      this.#probe,
    );
    ws.binaryType = "nodebuffer";
    ws.on("message", (data, is_binary) => this.#onMessage(data, is_binary));
    ws.on("error", (error) => {
      this.#reason ??= error.message;
    });
    ws.on("close", (code) => {
      this.#reason ??= this.#endOf(code);
      this.#inbox.whenDelivered(() => this.#onClosed());
    });
    socket.on("data", this.#early);
  }

  get pending_bytes(): number {
    return this.#ws.bufferedAmount;
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
    this.#socket.cork();
    for (const chunk of chunks) this.#writer.push(chunk, false);
    this.#socket.uncork();
    tracer?.exit();
    const { pending_bytes } = this;
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
    // What the peer still sends is read and dropped: its own close message may be among it.
    this.#ws.resume();
    this.#ws.close(1000);
    let left_bytes = -1;
    const timer = setInterval(() => {
      if (this.pending_bytes === left_bytes) this.#ws.terminate();
      left_bytes = this.pending_bytes;
    }, LINGER_MS);
    timer.unref();
    this.#ws.once("close", () => clearInterval(timer));
  }

  destroy(reason: string): void {
    this.#reason ??= reason;
    this.#inbox.close();
    this.#ws.terminate();
  }

  /** Whoever has not shaken hands should not be able to make us keep much: no message of theirs is whole yet. */
  readonly #early = (chunk: Buffer): void => {
    this.#early_bytes += chunk.length;
    const bytes_max = 2 * this.#limits.first_frame_limits.message_bytes_max;
    if (this.#early_bytes > bytes_max) this.destroy(`more than ${bytes_max} bytes before its handshake`);
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
    if (this.#reason !== null) return;
    if (!is_binary || !Buffer.isBuffer(data)) {
      this.destroy("BAD_FRAME: a websocket message that is text");
      return;
    }
    const whole = this.#take(data);
    if (whole === null) return;
    const { tracer } = this.#probe;
    tracer?.begin("read");
    tracer?.enter(PHASE.read);
    try {
      this.#inbox.push(whole, false);
      if (!this.#wanted && this.#inbox.pending_bytes > HELD_BYTES_MAX) this.#ws.pause();
    } finally {
      tracer?.exit();
      tracer?.end();
    }
  }

  /** The message that ends with this websocket message, in the form that it has on TCP; null: it goes on. */
  #take(data: Buffer): Buffer | null {
    const limits = this.#first ? this.#limits.first_frame_limits : this.#limits.frame_limits;
    if (this.#frames === null) {
      const count = data.length === U64_BYTES ? readU64(data, 0) : Number.NaN;
      if (!(count <= limits.frame_count_max)) {
        this.destroy(`BAD_FRAME: ${data.length} bytes instead of a number of frames`);
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
      this.destroy(`TOO_LARGE: a message of more than ${limits.message_bytes_max} bytes`);
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
    if (this.#wanted && this.#frames !== null) return "closed by the peer within a message";
    return ORDINARY_CODES.includes(code)
      ? "closed by the peer"
      : `closed by the peer with websocket code ${code}`;
  }

  #drained(): void {
    this.#draining = false;
    if (this.#reason !== null) return;
    const { tracer } = this.#probe;
    tracer?.begin("write");
    try {
      this.onDrain();
    } finally {
      tracer?.end();
    }
  }

  #onClosed(): void {
    this.#inbox.close();
    const { tracer } = this.#probe;
    tracer?.begin("other");
    try {
      this.#ending.end(this.#reason ?? "closed by the peer");
    } finally {
      tracer?.end();
    }
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

function ignore(): void {}
