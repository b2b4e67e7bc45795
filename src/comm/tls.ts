import type { Server as NetServer, Socket } from "node:net";
import { createServer, type SecureContextOptions, type TLSSocket, connect as tlsConnect } from "node:tls";
import { formatTcpAddress, parseTcpAddress } from "./address.ts";
import type { CarriedConnectionOptions } from "./carried-connection.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { accept, connecting, connectionOptions, listening, type SocketOptions } from "./sockets.ts";
import { TcpCarrier } from "./tcp-carrier.ts";

/** Certificate, key and the authority that both sides' certificates must come from; ciphers and versions, if any. */
export type TlsContext = SecureContextOptions;

export interface TlsOptions extends SocketOptions {
  readonly context: TlsContext;
  /** Connections that may wait to be accepted. */
  readonly backlog: number;
  /** How long connect() waits, the TLS handshake included, ms. */
  readonly connect_ms: number;
  /** A peer that has not finished the TLS handshake by then is dropped. */
  readonly handshake_ms: number;
  /** Told of failures to accept: the listener lives on. */
  readonly onAcceptError: (error: Error) => void;
  /** Told of a peer that could not shake hands; it is gone already. */
  readonly onHandshakeError: (peer: string, why: string) => void;
}

/** Both sides show a certificate, and neither is asked for its name: peers are known by their addresses (as in Dask). */
export const MUTUAL = { requestCert: true, rejectUnauthorized: true, checkServerIdentity: () => undefined };

/** Dask's `tls://` transport: the bytes of `tcp://` within TLS. */
export class TlsTransport implements Transport {
  readonly #options: TlsOptions;
  readonly #connection_options: CarriedConnectionOptions;

  constructor(options: TlsOptions) {
    this.#options = options;
    this.#connection_options = connectionOptions(options);
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { backlog, context, handshake_ms, onAcceptError, onHandshakeError } = this.#options;
    const place = { ...parseTcpAddress(address, "tls"), backlog };
    const server = createServer({
      ...context,
      ...MUTUAL,
      handshakeTimeout: handshake_ms,
      noDelay: true,
      keepAlive: true,
    });
    server.on("secureConnection", (socket) =>
      accept(this.#connection_options, onConnection, () => this.#connection(socket)),
    );
    tellHandshakeErrors(server, "tls", onHandshakeError);
    return listening(server, "tls", place, onAcceptError);
  }

  async connect(address: string): Promise<Connection> {
    const { connect_ms, context } = this.#options;
    const socket = tlsConnect({ ...parseTcpAddress(address, "tls"), ...context, ...MUTUAL });
    socket.setNoDelay(true).setKeepAlive(true);
    const limit = {
      connect_ms,
      late: `no TLS with ${address}`,
      cut: `${address} ended the connection within the TLS handshake`,
    };
    return connecting(socket, "secureConnect", limit, () => this.#connection(socket));
  }

  #connection(socket: Socket): Connection {
    return new TcpCarrier(socket, null, "tls", this.#connection_options).connection;
  }
}

/** A failed handshake costs its connection alone. A peer that just left has failed nothing. */
export function tellHandshakeErrors(
  server: NetServer,
  scheme: "tls" | "wss",
  onHandshakeError: (peer: string, why: string) => void,
): void {
  // When the error comes, the socket has often forgotten who its peer was.
  const peers = new WeakMap<object, string>();
  server.on("connection", (socket: Socket) => {
    peers.set(socket, formatTcpAddress(socket.remoteAddress, socket.remotePort, scheme));
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    const { _parent: raw } = socket as unknown as { readonly _parent?: object };
    const peer = (raw === undefined ? undefined : peers.get(raw)) ?? formatTcpAddress(undefined, 0, scheme);
    socket.destroy();
    // Typed as an error, set to its code: an untrusted certificate, after which Node tells of a connection reset.
    const { authorizationError: untrusted } = socket as { readonly authorizationError: unknown };
    if (typeof untrusted === "string") onHandshakeError(peer, `its certificate is not trusted, ${untrusted}`);
    else if (error.code !== "ECONNRESET") onHandshakeError(peer, reasonOf(error));
  });
}

/** OpenSSL's errors carry file names and numbers before and after the words. */
function reasonOf(error: NodeJS.ErrnoException): string {
  const { reason } = error as { readonly reason?: unknown };
  return typeof reason === "string" ? reason : error.message.trim();
}
