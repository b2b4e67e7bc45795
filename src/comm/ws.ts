import { createServer, type IncomingMessage, type Server } from "node:http";
import { createServer as createTlsServer, Agent as TlsAgent } from "node:https";
import type { Socket } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { FRAME_LIMITS } from "../protocol/frames.ts";
import type { Probe } from "../trace/tracer.ts";
import { formatTcpAddress, parseTcpAddress } from "./address.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { HANDSHAKE_FRAME_LIMITS } from "./handshake.ts";
import { listening, MUTUAL, type TlsContext, tellHandshakeErrors } from "./tls.ts";
import { WsConnection, type WsConnectionOptions } from "./ws-connection.ts";

export interface WsOptions {
  /** For `wss://`; null: `ws://`, in the clear. */
  readonly context: TlsContext | null;
  readonly probe: Probe;
  /** Connections that may wait to be accepted. */
  readonly backlog: number;
  /** A connection with more bytes than this waiting for its peer is destroyed. Absent: no bound here. */
  readonly pending_bytes_max?: number;
  /** How long connect() waits, ms. */
  readonly connect_ms: number;
  /** A peer that has not become a websocket by then is dropped. */
  readonly handshake_ms: number;
  readonly onAcceptError: (error: Error) => void;
  /** Told of a peer that could not shake hands for TLS. */
  readonly onHandshakeError: (peer: string, why: string) => void;
}

/** Messages are compressed by nobody, and no larger than on TCP. */
const WEBSOCKET = { perMessageDeflate: false, maxPayload: FRAME_LIMITS.message_bytes_max } as const;
const REFUSED = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/** Dask's `ws://` and `wss://` transports: a websocket at the path `/`. */
export class WsTransport implements Transport {
  readonly #options: WsOptions;
  readonly #connection_options: WsConnectionOptions;

  constructor(options: WsOptions) {
    this.#options = options;
    this.#connection_options = {
      scheme: options.context === null ? "ws" : "wss",
      probe: options.probe,
      inbox_limits: { frame_limits: FRAME_LIMITS, first_frame_limits: HANDSHAKE_FRAME_LIMITS },
      pending_bytes_max: options.pending_bytes_max ?? Number.POSITIVE_INFINITY,
    };
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { scheme } = this.#connection_options;
    const { host, port } = parseTcpAddress(address, scheme);
    const { backlog, onAcceptError } = this.#options;
    const server = this.#server();
    const upgrader = new WebSocketServer({ ...WEBSOCKET, noServer: true, clientTracking: false });
    server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
      if (request.url !== "/") {
        socket.end(REFUSED);
        return;
      }
      upgrader.handleUpgrade(request, socket, head, (ws) => {
        onConnection(new WsConnection(ws, socket, this.#connection_options));
      });
    });
    await listening(server, { host, port, backlog }, onAcceptError);
    const bound = server.address();
    return {
      address: typeof bound === "object" ? formatTcpAddress(bound?.address, bound?.port, scheme) : "",
      close: async () => {
        if (server.listening) server.close();
        // Those that asked for something else than a websocket; websockets are no longer the server's.
        server.closeAllConnections();
      },
    };
  }

  async connect(address: string): Promise<Connection> {
    const { connect_ms, context } = this.#options;
    // Throws for what is no address, before the websocket's own reading of URLs.
    parseTcpAddress(address, this.#connection_options.scheme);
    const ws = new WebSocket(address, {
      ...WEBSOCKET,
      handshakeTimeout: connect_ms,
      ...(context === null ? {} : { agent: new TlsAgent({ ...context, ...MUTUAL }) }),
    });
    return new Promise((resolve, reject) => {
      let socket: Socket | null = null;
      ws.once("error", reject);
      ws.once("upgrade", (response) => {
        socket = response.socket.setNoDelay(true);
      });
      ws.once("open", () => {
        ws.removeListener("error", reject);
        if (socket !== null) resolve(new WsConnection(ws, socket, this.#connection_options));
      });
    });
  }

  #server(): Server {
    const { context, handshake_ms, onHandshakeError } = this.#options;
    const limits = { headersTimeout: handshake_ms, requestTimeout: handshake_ms, keepAlive: true };
    const server =
      context === null
        ? createServer(limits)
        : createTlsServer({ ...limits, ...context, ...MUTUAL, handshakeTimeout: handshake_ms });
    // A websocket has no such timer any more.
    server.timeout = handshake_ms;
    server.on("request", (_request, response) => {
      response
        .writeHead(426, { Connection: "close", Upgrade: "websocket" })
        .end("a websocket is served here\n");
    });
    server.on("clientError", (_error, socket) => socket.destroy());
    if (context !== null) tellHandshakeErrors(server, "wss", onHandshakeError);
    return server;
  }
}
