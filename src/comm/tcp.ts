import { createServer, connect as netConnect, type Server, type Socket } from "node:net";
import { InvariantError } from "../base/assert.ts";
import { FRAME_LIMITS, type FrameLimits } from "../protocol/frames.ts";
import { PHASE } from "../trace/phases.ts";
import { Probe } from "../trace/tracer.ts";
import { formatTcpAddress, parseTcpAddress } from "./address.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { HANDSHAKE_FRAME_LIMITS } from "./handshake.ts";
import { adoptWithReadBuffer, connectWithReadBuffer, type ReadTarget } from "./read-buffer.ts";
import { TcpConnection, type TcpConnectionOptions } from "./tcp-connection.ts";

export interface TcpOptions {
  /** Is told of each callback that reads and of each write; null or absent: off. */
  readonly probe?: Probe;
  readonly frame_limits?: FrameLimits;
  /** A connection with more bytes than this waiting for its peer is destroyed. Absent: no bound here. */
  readonly pending_bytes_max?: number;
  /**
   * Read all sockets into one buffer (messages are then transient more often); false: Node's 'data' events, which
   * allocate for each read. Default true.
   */
  readonly shared_read_buffer?: boolean;
  /** Connections that may wait to be accepted; the kernel has its own maximum. */
  readonly backlog?: number;
  /** How long connect() waits, ms. */
  readonly connect_ms?: number;
  /** Told of failures to accept (no file descriptors left, say): the listener lives on, the peer tries again. */
  readonly onAcceptError?: (error: Error) => void;
}

const CONNECT_MS = 30_000;
/** As many peers as a large cluster's workers may knock at once; the kernel has its own maximum. */
const BACKLOG = 4096;

/** Dask's `tcp://` transport. */
export class TcpTransport implements Transport {
  readonly #connection_options: TcpConnectionOptions;
  readonly #shared_read_buffer: boolean;
  readonly #connect_ms: number;
  readonly #backlog: number;
  readonly #onAcceptError: (error: Error) => void;

  constructor(options: TcpOptions = {}) {
    this.#connection_options = {
      scheme: "tcp",
      probe: options.probe ?? new Probe(),
      inbox_limits: {
        frame_limits: options.frame_limits ?? FRAME_LIMITS,
        first_frame_limits: HANDSHAKE_FRAME_LIMITS,
      },
      pending_bytes_max: options.pending_bytes_max ?? Number.POSITIVE_INFINITY,
    };
    this.#shared_read_buffer = options.shared_read_buffer ?? true;
    this.#connect_ms = options.connect_ms ?? CONNECT_MS;
    this.#backlog = options.backlog ?? BACKLOG;
    this.#onAcceptError = options.onAcceptError ?? (() => {});
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { host, port } = parseTcpAddress(address);
    const server = createServer({ noDelay: true, keepAlive: true, pauseOnConnect: true }, (socket) => {
      const { tracer } = this.#connection_options.probe;
      // libuv has accepted it before it called back, as it reads before that.
      tracer?.begin("read", PHASE.read);
      try {
        onConnection(this.#accepted(socket));
      } finally {
        tracer?.end();
      }
    });
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host, port, backlog: this.#backlog }, () => {
        server.removeListener("error", reject);
        server.on("error", this.#onAcceptError);
        resolve(new TcpListener(server));
      });
    });
  }

  async connect(address: string): Promise<Connection> {
    const { host, port } = parseTcpAddress(address);
    return new Promise((resolve, reject) => {
      const target = this.#shared_read_buffer ? unread() : null;
      const options = { host, port, noDelay: true, keepAlive: true };
      const socket = target === null ? netConnect(options) : connectWithReadBuffer(options, target);
      const timer = setTimeout(
        () => socket.destroy(new Error(`no answer from ${address} within ${this.#connect_ms} ms`)),
        this.#connect_ms,
      );
      socket.once("error", reject);
      socket.once("close", () => clearTimeout(timer));
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.removeListener("error", reject);
        resolve(new TcpConnection(socket, this.#connection_options, target));
      });
    });
  }

  #accepted(socket: Socket): TcpConnection {
    if (this.#shared_read_buffer) {
      const target = unread();
      const adopted = adoptWithReadBuffer(socket, target);
      if (adopted !== null) return new TcpConnection(adopted, this.#connection_options, target);
    }
    return new TcpConnection(socket, this.#connection_options, null);
  }
}

function unread(): ReadTarget {
  const tooEarly = (): never => {
    throw new InvariantError("a socket was read before it had a connection");
  };
  return { receive: tooEarly, room: () => null, filled: tooEarly };
}

class TcpListener implements Listener {
  readonly address: string;
  readonly #server: Server;

  constructor(server: Server) {
    const bound = server.address();
    this.address =
      bound !== null && typeof bound === "object" ? formatTcpAddress(bound.address, bound.port) : "";
    this.#server = server;
  }

  /** The port is free as soon as close() was called; Node's own callback would wait for all connections to end. */
  async close(): Promise<void> {
    if (this.#server.listening) this.#server.close();
  }
}
