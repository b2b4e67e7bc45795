import type { Scheme } from "../comm/address.ts";
import type { Transport } from "../comm/connection.ts";
import { MemoryTransport } from "../comm/memory.ts";
import { SchemeTransport } from "../comm/schemes.ts";
import { TcpTransport } from "../comm/tcp.ts";
import { TlsTransport } from "../comm/tls.ts";
import { WsTransport } from "../comm/ws.ts";
import type { Probe } from "../trace/tracer.ts";
import type { Log } from "./peers/log.ts";
import type { PeerLimits, ServerSettings } from "./peers/options.ts";

interface TransportParts {
  readonly listen_address: string;
  readonly probe: Probe;
  readonly limits: PeerLimits;
  readonly log: Log;
}

/** How a server reaches its peers, and they it: by whatever scheme an address has, as far as it is allowed. */
export function transportOf(parts: TransportParts, settings: ServerSettings): Transport {
  const { listen_address, limits, log, probe } = parts;
  if (listen_address.startsWith("inproc://")) return new MemoryTransport({ probe });
  const { connect_ms, require_encryption, socket_backlog: backlog, tls } = settings;
  const { handshake_ms } = limits;
  const common = {
    probe,
    handshake_ms,
    backlog,
    connect_ms,
    onAcceptError: (error: Error) => log.write("ERROR", `Cannot accept connections: ${error.message}`),
    onHandshakeError: (peer: string, why: string) => {
      log.writeLimited("WARNING", `TLS ${hostOf(peer)}`, `TLS handshake failed with remote ${peer}: ${why}`);
    },
  };
  const transports = new Map<Scheme, Transport>();
  const refusals = new Map<Scheme, string>();
  if (require_encryption) {
    for (const scheme of ["tcp", "ws"] as const) refusals.set(scheme, "encryption is required");
  } else {
    transports.set("tcp", new TcpTransport(common));
    transports.set("ws", new WsTransport({ ...common, context: null }));
  }
  if (tls === null) {
    for (const scheme of ["tls", "wss"] as const) refusals.set(scheme, "there are no certificates for TLS");
  } else {
    transports.set("tls", new TlsTransport({ ...common, context: tls }));
    transports.set("wss", new WsTransport({ ...common, context: tls }));
  }
  return new SchemeTransport(transports, refusals);
}

/** The peer without its port, which is another one for each connection of the same peer. */
function hostOf(address: string): string {
  return address.replace(/:\d+$/, "");
}
