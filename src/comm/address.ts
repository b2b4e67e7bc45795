/** Where a tcp:// address points. */
export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

const ADDRESS = /^(?:tcp:\/\/)?(?:\[([^\]]*)\]|([^\s:/[\]]*))(?::(\d{1,5}))?$/;

/**
 * Reads `tcp://host:port`, where the scheme, the port (0: any) and the host (all interfaces) may be left out and an
 * IPv6 host stands in brackets. Throws an Error that names the address.
 */
export function parseTcpAddress(address: string): TcpAddress {
  const match = ADDRESS.exec(address);
  const port = Number(match?.[3] ?? 0);
  if (match === null || port > 65_535) throw new Error(`not a tcp address: ${JSON.stringify(address)}`);
  return { host: match[1] ?? (match[2] || "0.0.0.0"), port };
}

export function formatTcpAddress(host: string | undefined, port: number | undefined): string {
  // A socket that has already ended no longer knows its ends.
  if (host === undefined || port === undefined) return "tcp://unknown";
  return host.includes(":") ? `tcp://[${host}]:${port}` : `tcp://${host}:${port}`;
}
