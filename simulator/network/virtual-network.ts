import type { Prng } from "../../src/base/prng.ts";
import type { Connection, Listener, Transport } from "../../src/comm/connection.ts";
import { handshake } from "../../src/protocol/handshake.ts";
import type { VirtualMachine } from "../clock/virtual-machine.ts";
import { type LinkWorld, Wire, type WireOwner } from "./virtual-connection.ts";

export interface NetworkTraits {
  /** A message is on its way for at least this, and for about as long again. */
  readonly latency_ns: number;
  /** One message in so many is late by up to `late_ns`; 0: none. */
  readonly late_in: number;
  readonly late_ns: number;
  /** What a connection takes before the server sees that it is not read. */
  readonly buffer_bytes: number;
}

/** Called with the peer's end of a connection that the server opened; null: nobody answers. */
export type Accept = (wire: Wire) => WireOwner | null;

/**
 * The network of a simulated cluster: the server's {@link Transport}, and what its peers connect by. Everything that
 * goes over a wire is told to `seen`.
 */
export class VirtualNetwork implements Transport {
  readonly #machine: VirtualMachine;
  readonly #prng: Prng;
  readonly #traits: NetworkTraits;
  readonly #seen: LinkWorld["seen"];
  #onConnection: ((connection: Connection) => void) | null = null;
  readonly #peers = new Map<string, Accept>();
  /** Delays are drawn while it is false; afterwards the network is quiet. */
  calm = false;
  connections = 0;

  constructor(machine: VirtualMachine, prng: Prng, traits: NetworkTraits, seen: LinkWorld["seen"]) {
    this.#machine = machine;
    this.#prng = prng;
    this.#traits = traits;
    this.#seen = seen;
  }

  // ---- Transport

  listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    this.#onConnection = onConnection;
    const close = (): Promise<void> => {
      this.#onConnection = null;
      return Promise.resolve();
    };
    return Promise.resolve({ address, close });
  }

  async connect(address: string): Promise<Connection> {
    await this.#machine.sleep(this.#delayNs() / 1e6);
    const wire = this.#wire(`to ${address}`, { local: SERVER, peer: address });
    const owner = this.#peers.get(address)?.(wire) ?? null;
    if (owner === null)
      throw Object.assign(new Error(`nobody listens at ${address}`), { code: "ECONNREFUSED" });
    wire.owner = owner;
    wire.send(handshake());
    return wire.server;
  }

  // ---- peers

  /** Whoever connects to `address` from the server is handed to `accept`; null: nobody is there any more. */
  serve(address: string, accept: Accept | null): void {
    if (accept === null) this.#peers.delete(address);
    else this.#peers.set(address, accept);
  }

  /** A connection of a peer's to the server. */
  dial(name: string, owner: WireOwner): Wire {
    const port = 40_000 + (this.connections % 20_000);
    const wire = this.#wire(name, { local: SERVER, peer: `tcp://10.0.9.1:${port}` });
    wire.owner = owner;
    wire.send(handshake());
    this.#machine.at(this.#machine.now_ns, () => {
      if (this.#onConnection === null) wire.cut(0, 0, 0);
      else this.#onConnection(wire.server);
    });
    return wire;
  }

  #wire(name: string, addresses: { local: string; peer: string }): Wire {
    this.connections++;
    const machine = this.#machine;
    const world = {
      get now_ns(): number {
        return machine.now_ns;
      },
      at: (time_ns: number, callback: () => void) => machine.at(time_ns, callback),
      delayNs: () => this.#delayNs(),
      seen: this.#seen,
    };
    return new Wire(world, `${name} #${this.connections}`, addresses, this.#traits.buffer_bytes);
  }

  #delayNs(): number {
    const { latency_ns, late_in, late_ns } = this.#traits;
    if (this.calm) return latency_ns;
    const delay_ns = latency_ns * (1 + this.#prng.unit());
    if (late_in > 0 && this.#prng.below(late_in) === 0) return delay_ns + late_ns * this.#prng.unit();
    return delay_ns;
  }
}

const SERVER = "tcp://10.0.0.1:8786";
