import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { packValue } from "../../protocol/msgpack.ts";
import type { WireValue } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import { PythonError } from "../rpc/python-error.ts";

/** A hostname's answer is kept for as long as this many others are. */
const RESOLVED_MAX = 10_000;

/**
 * Worker addresses as peers may write them: in full, without the scheme, as [host, port], or by the worker's name.
 */
export class Addresses {
  readonly #by_name = new Map<string, WorkerPeer>();
  readonly #resolved = new Map<string, string>();

  workerNamed(name: WireValue): WorkerPeer | undefined {
    return this.#by_name.get(nameId(name));
  }

  add(peer: WorkerPeer): void {
    this.#by_name.set(nameId(peer.name), peer);
  }

  remove(peer: WorkerPeer): void {
    this.#by_name.delete(nameId(peer.name));
  }

  /** Without asking anyone: a name becomes its worker's address, a scheme is added. */
  coerce(value: WireValue): string {
    const named = this.workerNamed(value);
    if (named !== undefined) return named.address;
    if (Array.isArray(value) && value.length === 2) return normalize(joinHostPort(value[0], value[1]));
    if (typeof value === "string") return normalize(value);
    throw new PythonError("TypeError", "addresses should be strings or tuples");
  }

  /** As {@link coerce}; a hostname becomes its IP address, so that one worker has one address. */
  async resolve(value: WireValue): Promise<string> {
    const address = this.coerce(value);
    const parts = /^(\w+:\/\/)([^:[\]/]+)(:\d+)$/.exec(address);
    if (parts === null || isIP(parts[2] ?? "") !== 0) return address;
    const known = this.#resolved.get(address);
    if (known !== undefined) return known;
    const found = await lookup(parts[2] ?? "").catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new PythonError("OSError", `cannot resolve ${address}: ${why}`);
    });
    const host = found.family === 6 ? `[${found.address}]` : found.address;
    const resolved = `${parts[1]}${host}${parts[3]}`;
    if (this.#resolved.size >= RESOLVED_MAX) this.#resolved.clear();
    this.#resolved.set(address, resolved);
    return resolved;
  }
}

/** The host of `tcp://host:port`, brackets of IPv6 taken off. */
export function addressHost(address: string): string {
  const rest = address.slice(address.indexOf("://") + 3);
  if (rest.startsWith("[")) return rest.slice(1, rest.indexOf("]"));
  const colon = rest.lastIndexOf(":");
  return colon < 0 ? rest : rest.slice(0, colon);
}

function normalize(address: string): string {
  return address.includes("://") ? address : `tcp://${address}`;
}

function joinHostPort(host: WireValue | undefined, port: WireValue | undefined): string {
  if (typeof host !== "string" || typeof port !== "number") {
    throw new PythonError("TypeError", "an address in two parts is a host and a port");
  }
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Names are strings or numbers, and "1" is another name than 1. */
function nameId(name: WireValue): string {
  return Buffer.from(packValue(name)).toString("latin1");
}
