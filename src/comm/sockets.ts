import type { Server, Socket } from "node:net";
import { FRAME_LIMITS, type FrameLimits } from "../protocol/frames.ts";
import { PHASE } from "../trace/phases.ts";
import { Probe } from "../trace/tracer.ts";
import { formatTcpAddress, type HostPort, type Scheme } from "./address.ts";
import { inCallback } from "./callback.ts";
import type { CarriedConnectionOptions, Carrier, ConnectionEnds } from "./carried-connection.ts";
import type { Connection, Listener } from "./connection.ts";
import { HANDSHAKE_FRAME_LIMITS } from "./handshake.ts";

/** What the connections of every transport over sockets may be given. */
export interface SocketOptions {
  /** Is told of each callback that accepts or reads, and of each write; absent: off. */
  readonly probe?: Probe;
  readonly frame_limits?: FrameLimits;
  /** A connection with more bytes than this waiting for its peer is destroyed. Absent: no bound here. */
  readonly pending_bytes_max?: number;
}

/** The connections of a transport over sockets. */
export function connectionOptions(options: SocketOptions): CarriedConnectionOptions {
  return {
    probe: options.probe ?? new Probe(),
    inbox_limits: {
      frame_limits: options.frame_limits ?? FRAME_LIMITS,
      first_frame_limits: HANDSHAKE_FRAME_LIMITS,
    },
    pending_bytes_max: options.pending_bytes_max ?? Number.POSITIVE_INFINITY,
  };
}

/** The addresses of a socket's two ends. */
export function endsOf(socket: Socket, scheme: Scheme): ConnectionEnds {
  return {
    peer: formatTcpAddress(socket.remoteAddress, socket.remotePort, scheme),
    local: formatTcpAddress(socket.localAddress, socket.localPort, scheme),
  };
}

/** Hands on a connection that a server's callback brought. */
export function accept(
  { probe }: CarriedConnectionOptions,
  onConnection: (connection: Connection) => void,
  connect: () => Connection,
): void {
  // libuv has accepted it before it called back, as it reads before that.
  inCallback(probe, "read", PHASE.read, () => onConnection(connect()));
}

/** Listens; rejects where it cannot. Later errors (no file descriptors left, say) go to `onError`, and it lives on. */
export function listening(
  server: Server,
  scheme: Scheme,
  place: HostPort & { readonly backlog: number },
  onError: (error: Error) => void,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(place, () => {
      server.removeListener("error", reject);
      server.on("error", onError);
      const bound = server.address();
      resolve({
        address: typeof bound === "object" ? formatTcpAddress(bound?.address, bound?.port, scheme) : "",
        // The port is free as soon as this was called; Node's own callback would wait for all connections to end.
        close: async () => {
          if (server.listening) server.close();
        },
      });
    });
  });
}

/**
 * The connection over a socket that connects and tells so by `event`; `connect` makes it. Rejects when the socket cannot
 * connect, or has not within `connect_ms`.
 */
export function connecting(
  socket: Socket,
  event: "connect" | "secureConnect",
  limit: { readonly connect_ms: number; readonly late: string; readonly cut: string },
  connect: () => Connection,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const { connect_ms, cut, late } = limit;
    // As the system says it of a connection that nobody answers: whoever connects tells errors apart by their code.
    const late_error = Object.assign(new Error(`${late} within ${connect_ms} ms`), { code: "ETIMEDOUT" });
    const timer = setTimeout(() => socket.destroy(late_error), connect_ms);
    socket.once("error", reject);
    socket.once("close", () => {
      clearTimeout(timer);
      reject(new Error(cut));
    });
    socket.once(event, () => {
      clearTimeout(timer);
      socket.removeListener("error", reject);
      resolve(connect());
    });
  });
}

/** A peer that took no byte, and did not end its side, for this long is given up. */
const LINGER_MS = 5000;

/** Kills a carrier that finishes, once its peer is given up. Whoever asks clears it at the end. */
export function linger(carrier: Carrier): NodeJS.Timeout {
  let left_bytes = -1;
  const timer = setInterval(() => {
    if (carrier.pending_bytes === left_bytes) carrier.kill();
    left_bytes = carrier.pending_bytes;
  }, LINGER_MS);
  return timer.unref();
}
