import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { SecureContextOptions } from "node:tls";
import type { DashboardAddress } from "./address.ts";

/** One request, as far as pages need it. */
interface Request {
  /** Decoded; without the prefix and the query, beginning with a slash. */
  readonly path: string;
  /** Of a POST. */
  readonly body: string;
}

export interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /** Where to go instead, for statuses 301 and 302. */
  readonly location?: string;
  /** The methods that there are, for status 405. */
  readonly allow?: string;
}

/** What is served under paths that a pattern matches; its groups go to `answer`. */
export interface Route {
  readonly method: "GET" | "POST";
  readonly pattern: RegExp;
  answer(request: Request, groups: readonly string[]): Reply | Promise<Reply>;
}

export interface HttpServerOptions {
  readonly routes: readonly Route[];
  /** Before every path; "" or `/name`. */
  readonly prefix: string;
  /** Certificate and key for https; null: plain http. */
  readonly tls: SecureContextOptions | null;
  /** Told of a route that threw, a bug of ours. */
  readonly onBug: (path: string, error: unknown) => void;
}

/** Bounds on what those who look on may cost: the same thread schedules. */
const CONNECTIONS_MAX = 256;
const HEADERS_BYTES_MAX = 16 * 1024;
const BODY_BYTES_MAX = 64 * 1024;
/** Of replies that were made and not yet taken, over all connections. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024;
const HEADERS_MS_MAX = 10_000;
const REQUEST_MS_MAX = 30_000;
/** How often the two above are looked at. */
const CHECK_MS = 2_000;
/** A connection on which nothing moves for so long is ended, be it idle or a reader that stands still. */
const SILENCE_MS_MAX = 30_000;
/** What the pages load comes from here alone. */
const POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'";

/** A small HTTP server with bounds. Its `close` ends every connection. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #servers: Server[] = [];
  #pending_bytes = 0;

  constructor(options: HttpServerOptions) {
    this.#options = options;
  }

  /** Answers the port that was taken. Rejects where it cannot listen. */
  listen(address: DashboardAddress): Promise<number> {
    const limits = {
      maxHeaderSize: HEADERS_BYTES_MAX,
      headersTimeout: HEADERS_MS_MAX,
      requestTimeout: REQUEST_MS_MAX,
      connectionsCheckingInterval: CHECK_MS,
    };
    const { tls } = this.#options;
    const server = tls === null ? createServer(limits) : createTlsServer({ ...limits, ...tls });
    server.maxConnections = CONNECTIONS_MAX;
    server.timeout = SILENCE_MS_MAX;
    server.on("request", (request, response) => this.#onRequest(request, response));
    server.on("clientError", (_error, socket) => refuse(socket as Socket));
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address.host, port: address.port }, () => {
        server.removeListener("error", reject);
        // Without descriptors a connection is not accepted; the peer sees that itself.
        server.on("error", () => undefined);
        this.#servers.push(server);
        const bound = server.address();
        resolve(typeof bound === "object" && bound !== null ? bound.port : address.port);
      });
    });
  }

  close(): void {
    for (const server of this.#servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    this.#reply(request).then(
      (reply) => this.#send(request, response, reply),
      (error: unknown) => {
        if (error instanceof PeerGoneError) return;
        this.#options.onBug(request.url ?? "", error);
        this.#send(request, response, plainReply(500, "500: Internal Server Error"));
      },
    );
  }

  async #reply(request: IncomingMessage): Promise<Reply> {
    const path = this.#pathOf(request.url ?? "/");
    if (path === null) return NOT_FOUND;
    const head = request.method === "HEAD";
    const methods: string[] = [];
    for (const route of this.#options.routes) {
      const match = route.pattern.exec(path);
      if (match === null) continue;
      methods.push(route.method === "GET" ? "GET, HEAD" : route.method);
      if (route.method !== (head ? "GET" : request.method)) continue;
      const body = route.method === "POST" ? await bodyOf(request) : "";
      if (body === null) return plainReply(413, "413: Payload Too Large");
      return route.answer({ path, body }, match.slice(1));
    }
    if (methods.length === 0) return NOT_FOUND;
    return { ...plainReply(405, "405: Method Not Allowed"), allow: methods.join(", ") };
  }

  /** Null: not below the prefix, or not a path. */
  #pathOf(url: string): string | null {
    const { prefix } = this.#options;
    try {
      const path = decodeURIComponent(url.split("?", 1)[0]!);
      if (prefix === "") return path;
      if (path === prefix) return "/";
      return path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : null;
    } catch (error) {
      if (error instanceof URIError) return null;
      throw error;
    }
  }

  #send(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
    if (response.destroyed) return;
    const body = Buffer.from(reply.body);
    if (this.#pending_bytes + body.length > PENDING_BYTES_MAX) {
      this.#send(request, response, plainReply(503, "503: too many replies are waiting to be read"));
      return;
    }
    this.#pending_bytes += body.length;
    response.once("close", () => {
      this.#pending_bytes -= body.length;
    });
    response.writeHead(reply.status, {
      "Content-Type": reply.type,
      "Content-Length": body.length,
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
      ...(reply.type.startsWith("text/html") ? { "Content-Security-Policy": POLICY } : {}),
      ...(reply.location === undefined ? {} : { Location: reply.location }),
      ...(reply.allow === undefined ? {} : { Allow: reply.allow }),
      // What the peer still sends is not waited for.
      ...(request.complete ? {} : { Connection: "close" }),
    });
    response.end(request.method === "HEAD" ? undefined : body);
  }
}

const NOT_FOUND: Reply = plainReply(404, "404: Not Found");

export function plainReply(status: number, text: string): Reply {
  return { status, type: "text/plain; charset=utf-8", body: text };
}

export function jsonReply(value: unknown, status = 200): Reply {
  return { status, type: "application/json; charset=UTF-8", body: JSON.stringify(value) };
}

export function htmlReply(body: string, status = 200): Reply {
  return { status, type: "text/html; charset=UTF-8", body };
}

export function redirect(status: 301 | 302, location: string): Reply {
  return { ...htmlReply("", status), location };
}

/** Null: longer than is read. Rejects where the peer goes away within it. */
function bodyOf(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise((resolve, reject) => {
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
      else resolve(null);
    });
    request.once("end", () => resolve(Buffer.concat(chunks).toString()));
    request.once("close", () => reject(new PeerGoneError("the request was not finished")));
  });
}

/** Nobody waits for a reply any more. */
class PeerGoneError extends Error {
  override readonly name = "PeerGoneError";
}

/** For bytes that are no request: a status line where the socket still takes one. */
function refuse(socket: Socket): void {
  if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
  socket.destroySoon();
}
