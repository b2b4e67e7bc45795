/** Where the dashboard listens. */
export interface DashboardAddress {
  /** Never empty: all interfaces are 0.0.0.0, as in Dask. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/**
 * Reads `:8787`, `8787`, `host:8787`, `host`, `[::1]:8787`, or several of them with commas between
 * (distributed.utils.clean_dashboard_address). Throws an Error that says what is wrong.
 */
export function parseDashboardAddresses(text: string): DashboardAddress[] {
  return text.split(",").map((part) => parseOne(part.trim()));
}

function parseOne(text: string): DashboardAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d*))?$/.exec(text);
  if (match === null)
    throw new Error(`${text || "''"} is not HOST:PORT (IPv6 needs brackets like [::1]:8787)`);
  const [, bracketed, name = "", digits] = match;
  const port_alone = bracketed === undefined && digits === undefined && /^\d+$/.test(name);
  const port = Number(port_alone ? name : digits || 0);
  if (port > 65_535) throw new Error(`port ${port} is not 0 to 65535`);
  return { host: bracketed ?? ((port_alone ? "" : name) || "0.0.0.0"), port };
}
