import { createServer, type IncomingMessage, type Server } from "node:http";
import { createServer as createTlsServer, Agent as TlsAgent } from "node:https";
import type { Socket } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { FRAME_LIMITS } from "../protocol/frames.ts";
import { parseTcpAddress } from "./address.ts";
import type { CarriedConnectionOptions } from "./carried-connection.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { accept, connectionOptions, listening } from "./sockets.ts";
import { MUTUAL, type TlsContext, type TlsOptions, tellHandshakeErrors } from "./tls.ts";
import { WsCarrier } from "./ws-carrier.ts";

/** `handshake_ms`: a peer that has not become a websocket by then is dropped, too. */
export interface WsOptions extends Omit<TlsOptions, "context"> {
  /** For `wss://`; null: `ws://`, in the clear. */
  readonly context: TlsContext | null;
}

/** Messages are compressed by nobody, and no larger than on TCP. */
const WEBSOCKET = { perMessageDeflate: false, maxPayload: FRAME_LIMITS.message_bytes_max } as const;
const REFUSED = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/** Dask's `ws://` and `wss://` transports: a websocket at the path `/`. */
export class WsTransport implements Transport {
  readonly #options: WsOptions;
  readonly #connection_options: CarriedConnectionOptions;
  readonly #scheme: "ws" | "wss";

  constructor(options: WsOptions) {
    this.#options = options;
    this.#connection_options = connectionOptions(options);
    this.#scheme = options.context === null ? "ws" : "wss";
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { backlog, onAcceptError } = this.#options;
    const place = { ...parseTcpAddress(address, this.#scheme), backlog };
    const server = this.#server();
    const upgrader = new WebSocketServer({ ...WEBSOCKET, noServer: true, clientTracking: false });
    server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
      if (request.url !== "/") {
        socket.end(REFUSED);
        return;
      }
      upgrader.handleUpgrade(request, socket, head, (ws) =>
        accept(this.#connection_options, onConnection, () => this.#connection(ws, socket)),
      );
    });
    const listener = await listening(server, this.#scheme, place, onAcceptError);
    return {
      address: listener.address,
      close: async () => {
        await listener.close();
        // Those that asked for something else than a websocket; websockets are no longer the server's.
        server.closeAllConnections();
      },
    };
  }

  async connect(address: string): Promise<Connection> {
    const { connect_ms, context } = this.#options;
    // Throws for what is no address, before the websocket's own reading of URLs.
    parseTcpAddress(address, this.#scheme);
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
        if (socket !== null) resolve(this.#connection(ws, socket));
      });
    });
  }

  #connection(ws: WebSocket, socket: Socket): Connection {
    return new WsCarrier(ws, socket, this.#scheme, this.#connection_options).connection;
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
