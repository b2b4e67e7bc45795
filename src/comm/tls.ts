import type { Server as NetServer, Socket } from "node:net";
import { createServer, type SecureContextOptions, type TLSSocket, connect as tlsConnect } from "node:tls";
import { FRAME_LIMITS } from "../protocol/frames.ts";
import type { Probe } from "../trace/tracer.ts";
import { formatTcpAddress, parseTcpAddress } from "./address.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { HANDSHAKE_FRAME_LIMITS } from "./handshake.ts";
import { TcpConnection, type TcpConnectionOptions } from "./tcp-connection.ts";

/** Certificate, key and the authority that both sides' certificates must come from; ciphers and versions, if any. */
export type TlsContext = SecureContextOptions;

export interface TlsOptions {
  readonly context: TlsContext;
  readonly probe: Probe;
  /** Connections that may wait to be accepted. */
  readonly backlog: number;
  /** A connection with more bytes than this waiting for its peer is destroyed. Absent: no bound here. */
  readonly pending_bytes_max?: number;
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
  readonly #connection_options: TcpConnectionOptions;

  constructor(options: TlsOptions) {
    this.#options = options;
    this.#connection_options = {
      scheme: "tls",
      probe: options.probe,
      inbox_limits: {
        frame_limits: FRAME_LIMITS,
        first_frame_limits: HANDSHAKE_FRAME_LIMITS,
      },
      pending_bytes_max: options.pending_bytes_max ?? Number.POSITIVE_INFINITY,
    };
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { host, port } = parseTcpAddress(address, "tls");
    const { backlog, context, handshake_ms, onAcceptError, onHandshakeError } = this.#options;
    const server = createServer({
      ...context,
      ...MUTUAL,
      handshakeTimeout: handshake_ms,
      noDelay: true,
      keepAlive: true,
    });
    server.on("secureConnection", (socket) => {
      onConnection(new TcpConnection(socket, this.#connection_options, null));
    });
    tellHandshakeErrors(server, "tls", onHandshakeError);
    await listening(server, { host, port, backlog }, onAcceptError);
    const bound = server.address();
    return {
      address: typeof bound === "object" ? formatTcpAddress(bound?.address, bound?.port, "tls") : "",
      close: async () => {
        if (server.listening) server.close();
      },
    };
  }

  async connect(address: string): Promise<Connection> {
    const { host, port } = parseTcpAddress(address, "tls");
    const { connect_ms, context } = this.#options;
    return new Promise((resolve, reject) => {
      const socket = tlsConnect({ host, port, ...context, ...MUTUAL });
      socket.setNoDelay(true).setKeepAlive(true);
      const timer = setTimeout(
        () => socket.destroy(new Error(`no TLS with ${address} within ${connect_ms} ms`)),
        connect_ms,
      );
      socket.once("error", reject);
      socket.once("close", () => {
        clearTimeout(timer);
        reject(new Error(`${address} ended the connection within the TLS handshake`));
      });
      socket.once("secureConnect", () => {
        clearTimeout(timer);
        socket.removeListener("error", reject);
        resolve(new TcpConnection(socket, this.#connection_options, null));
      });
    });
  }
}

/** Listens; rejects where it cannot. Later errors go to `onError`. */
export function listening(
  server: NetServer,
  place: { host: string; port: number; backlog: number },
  onError: (error: Error) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(place, () => {
      server.removeListener("error", reject);
      server.on("error", onError);
      resolve();
    });
  });
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
