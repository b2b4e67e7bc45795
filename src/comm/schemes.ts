import type { Scheme } from "./address.ts";
import type { Connection, Listener, Transport } from "./connection.ts";

/** One transport for addresses of several schemes; what has no scheme is tcp. */
export class SchemeTransport implements Transport {
  readonly #transports: ReadonlyMap<string, Transport>;
  readonly #refusals: ReadonlyMap<string, string>;

  /** `refusals`: why a scheme cannot be spoken, in words for the log. */
  constructor(transports: ReadonlyMap<Scheme, Transport>, refusals: ReadonlyMap<Scheme, string>) {
    this.#transports = transports;
    this.#refusals = refusals;
  }

  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    return this.#transport(address).listen(address, onConnection);
  }

  async connect(address: string): Promise<Connection> {
    return this.#transport(address).connect(address);
  }

  #transport(address: string): Transport {
    const at = address.indexOf("://");
    const scheme = at < 0 ? "tcp" : address.slice(0, at);
    const transport = this.#transports.get(scheme);
    if (transport !== undefined) return transport;
    throw new Error(`${address}: ${this.#refusals.get(scheme) ?? `the protocol ${scheme} is not known`}`);
  }
}
