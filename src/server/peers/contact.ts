import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { hostname, networkInterfaces } from "node:os";

/** A well-known address: the route to it shows which of our own addresses others can reach. Nothing is sent. */
const PROBE_HOST = { udp4: "8.8.8.8", udp6: "2001:4860:4860::8888" } as const;
const PROBE_PORT = 80;

/** Whether a socket bound to this host listens on all interfaces, so that peers need another name for it. */
export function isWildcardHost(host: string): boolean {
  return host === "" || host === "0.0.0.0" || host === "::";
}

/** The address of this machine by which others reach it, found as Dask does (`get_ip`). */
export async function machineAddress(family: "udp4" | "udp6" = "udp4"): Promise<string> {
  const routed = await routedAddress(family);
  if (routed !== null && !isWildcardHost(routed)) return routed;
  try {
    return (await lookup(hostname(), family === "udp4" ? 4 : 6)).address;
  } catch {
    // No route and no name: only this machine itself can be meant.
    return family === "udp4" ? "127.0.0.1" : "::1";
  }
}

/** The IPv4 address of a network interface; throws an Error that names the interfaces that there are. */
export function interfaceAddress(name: string): string {
  const interfaces = networkInterfaces();
  const addresses = interfaces[name];
  if (addresses === undefined) {
    throw new Error(`'${name}' is not a network interface; there are: ${Object.keys(interfaces).join(", ")}`);
  }
  const address = addresses.find((info) => info.family === "IPv4");
  if (address === undefined) throw new Error(`interface '${name}' doesn't have an IPv4 address`);
  return address.address;
}

/** Connecting a datagram socket only looks up the route. Null: there is none. */
function routedAddress(family: "udp4" | "udp6"): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket(family);
    const finish = (address: string | null): void => {
      socket.close();
      resolve(address);
    };
    socket.once("error", () => finish(null));
    socket.connect(PROBE_PORT, PROBE_HOST[family], () => finish(socket.address().address));
  });
}
