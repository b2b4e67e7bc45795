import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TlsContext, TlsTransport } from "../../../src/comm/tls.ts";
import { WsTransport } from "../../../src/comm/ws.ts";
import { Probe } from "../../../src/trace/tracer.ts";

export function pem(name: string): string {
  return readFileSync(join(import.meta.dirname, "..", "certificates", name), "utf8");
}

/** A certificate and its key, and the authority of the tests' peers. */
export function contextOf(name: "peer" | "stranger"): TlsContext {
  return { ca: pem("ca.pem"), cert: pem(`${name}.pem`), key: pem(`${name}.key`) };
}

interface Settings {
  readonly errors?: string[];
  readonly handshake_ms?: number;
  readonly pending_bytes_max?: number;
  readonly probe?: Probe;
}

function optionsOf({ errors = [], handshake_ms = 30_000, pending_bytes_max, probe = new Probe() }: Settings) {
  return {
    probe,
    backlog: 10,
    connect_ms: 30_000,
    handshake_ms,
    ...(pending_bytes_max === undefined ? {} : { pending_bytes_max }),
    onAcceptError: (error: Error) => errors.push(error.message),
    onHandshakeError: (peer: string, why: string) => errors.push(`${peer.replace(/\d+$/, "PORT")}: ${why}`),
  };
}

export function tlsTransport(context: TlsContext, settings: Settings = {}): TlsTransport {
  return new TlsTransport({ ...optionsOf(settings), context });
}

export function wsTransport(context: TlsContext | null, settings: Settings = {}): WsTransport {
  return new WsTransport({ ...optionsOf(settings), context });
}
