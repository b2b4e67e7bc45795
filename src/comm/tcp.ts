import { createServer, connect as netConnect, type Socket } from "node:net";
import { InvariantError } from "../base/assert.ts";
import { parseTcpAddress } from "./address.ts";
import type { CarriedConnectionOptions } from "./carried-connection.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { adoptWithReadBuffer, connectWithReadBuffer, type ReadTarget } from "./read-buffer.ts";
import { accept, connecting, connectionOptions, listening, type SocketOptions } from "./sockets.ts";
import { TcpCarrier } from "./tcp-carrier.ts";

export interface TcpOptions extends SocketOptions {
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
  readonly #connection_options: CarriedConnectionOptions;
  readonly #shared_read_buffer: boolean;
  readonly #connect_ms: number;
  readonly #backlog: number;
  readonly #onAcceptError: (error: Error) => void;

  constructor(options: TcpOptions = {}) {
    this.#connection_options = connectionOptions(options);
    this.#shared_read_buffer = options.shared_read_buffer ?? true;
    this.#connect_ms = options.connect_ms ?? CONNECT_MS;
    this.#backlog = options.backlog ?? BACKLOG;
    this.#onAcceptError = options.onAcceptError ?? (() => {});
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const place = { ...parseTcpAddress(address), backlog: this.#backlog };
    const server = createServer({ noDelay: true, keepAlive: true, pauseOnConnect: true }, (socket) =>
      accept(this.#connection_options, onConnection, () => this.#accepted(socket)),
    );
    return listening(server, "tcp", place, this.#onAcceptError);
  }

  async connect(address: string): Promise<Connection> {
    const target = this.#shared_read_buffer ? unread() : null;
    const options = { ...parseTcpAddress(address), noDelay: true, keepAlive: true };
    const socket = target === null ? netConnect(options) : connectWithReadBuffer(options, target);
    const limit = {
      connect_ms: this.#connect_ms,
      late: `no answer from ${address}`,
      cut: `${address} ended the connection`,
    };
    return connecting(socket, "connect", limit, () => this.#connection(socket, target));
  }

  #accepted(socket: Socket): Connection {
    if (this.#shared_read_buffer) {
      const target = unread();
      const adopted = adoptWithReadBuffer(socket, target);
      if (adopted !== null) return this.#connection(adopted, target);
    }
    return this.#connection(socket, null);
  }

  #connection(socket: Socket, target: ReadTarget | null): Connection {
    return new TcpCarrier(socket, target, "tcp", this.#connection_options).connection;
  }
}

function unread(): ReadTarget {
  const tooEarly = (): never => {
    throw new InvariantError("a socket was read before it had a connection");
  };
  return { receive: tooEarly, room: () => null, filled: tooEarly };
}
