/** Where an address points. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Protocols whose addresses are `scheme://host:port`. */
export type Scheme = "tcp" | "tls" | "ws" | "wss";

const ADDRESS = /^(?:([a-z]+):\/\/)?(?:\[([^\]]*)\]|([^\s:/[\]]*))(?::(\d{1,5}))?$/;

/**
 * Reads `tcp://host:port`, where the scheme, the port (0: any) and the host (all interfaces) may be left out and an
 * IPv6 host stands in brackets. Throws an Error that names the address, also for one of another scheme.
 */
export function parseTcpAddress(address: string, scheme: Scheme = "tcp"): HostPort {
  const match = ADDRESS.exec(address);
  const port = Number(match?.[4] ?? 0);
  if (match === null || port > 65_535 || (match[1] ?? scheme) !== scheme)
    throw new Error(`not a ${scheme} address: ${JSON.stringify(address)}`);
  return { host: match[2] ?? (match[3] || "0.0.0.0"), port };
}

export function formatTcpAddress(
  host: string | undefined,
  port: number | undefined,
  scheme: Scheme = "tcp",
): string {
  // A socket that has already ended no longer knows its ends.
  if (host === undefined || port === undefined) return `${scheme}://unknown`;
  return host.includes(":") ? `${scheme}://[${host}]:${port}` : `${scheme}://${host}:${port}`;
}
