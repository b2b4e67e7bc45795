import { interfaceAddress, isWildcardHost } from "../server/peers/contact.ts";
import { UsageError } from "./errors.ts";

/** The protocols that are spoken. */
const SCHEMES = ["tcp", "tls", "ws", "wss"] as const;
type Scheme = (typeof SCHEMES)[number];

/** What the command line says of where to listen. */
interface ListenOptions {
  readonly host?: string;
  readonly port?: number;
  readonly interface?: string;
  readonly protocol?: string;
}

export const DEFAULT_PORT = 8786;

/** Dask's rules: a port in --host is taken where --port is not given, and must not contradict it. */
export function whereToListen(
  parsed: ListenOptions,
  default_scheme: string,
): { scheme: Scheme; listen_address: string; wildcard: boolean } {
  const protocol = (parsed.protocol ?? default_scheme).replace("://", "");
  const [scheme, rest] = splitScheme(parsed.host ?? "", protocol);
  if (parsed.protocol !== undefined && scheme !== protocol) {
    throw new UsageError(`two protocols are given, --host ${parsed.host} and --protocol ${protocol}`);
  }
  if (!isScheme(scheme)) {
    throw new UsageError(`protocol ${scheme} is not supported yet: use one of ${SCHEMES.join(", ")}`);
  }
  if (parsed.interface !== undefined && parsed.host !== undefined && parsed.host !== "") {
    throw new UsageError("both --interface and --host are given: leave one of them out");
  }
  const { host, port } = splitPort(rest);
  if (port !== null && port !== 0 && parsed.port !== undefined && parsed.port !== 0 && port !== parsed.port) {
    throw new UsageError(
      `two ports are given, --host ${parsed.host} and --port ${parsed.port}: leave one out`,
    );
  }
  const name = parsed.interface === undefined ? host : ofInterface(parsed.interface);
  const shown = name.includes(":") ? `[${name}]` : name;
  return {
    scheme,
    listen_address: `${scheme}://${shown}:${port ?? parsed.port ?? DEFAULT_PORT}`,
    wildcard: isWildcardHost(name),
  };
}

function splitScheme(host: string, absent: string): readonly [scheme: string, rest: string] {
  const at = host.indexOf("://");
  return at < 0 ? [absent, host] : [host.slice(0, at), host.slice(at + 3)];
}

function splitPort(host: string): { host: string; port: number | null } {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?$/.exec(host);
  if (match === null) throw new UsageError(`invalid --host ${host}: IPv6 needs brackets like [::1]`);
  const port = match[3] === undefined || match[3] === "" ? null : parsePort(match[3]);
  return { host: match[1] ?? match[2] ?? "", port };
}

function ofInterface(name: string): string {
  if (name.includes(",")) throw new UsageError("several interfaces are not supported yet: give one");
  try {
    return interfaceAddress(name);
  } catch (error) {
    throw new UsageError(`--interface: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export function parsePort(text: string): number {
  if (text.includes(",")) throw new UsageError("several ports are not supported yet: give one");
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) throw new UsageError(`port ${text}: it must be 0 to 65535`);
  return port;
}

function isScheme(name: string): name is Scheme {
  return SCHEMES.some((scheme) => scheme === name);
}
