import type { Machine } from "../../base/machine.ts";
import type { Cluster, StreamHandler } from "../peers/cluster.ts";
import type { Log } from "../peers/log.ts";
import type { PeerLimits } from "../peers/options.ts";
import type { EventBroker } from "../rpc/event-broker.ts";
import type { PluginStore } from "../rpc/plugin-store.ts";
import type { WorkerPool } from "../rpc/worker-pool.ts";
import { Clients } from "./clients.ts";
import { Nannies } from "./nannies.ts";
import { WorkerSoftware } from "./version-warning.ts";
import { Workers } from "./workers.ts";

/** What registering needs of the server. */
export interface RegistrationParts {
  readonly cluster: Cluster;
  readonly streams: StreamHandler;
  readonly events: EventBroker;
  readonly pool: WorkerPool;
  readonly plugins: PluginStore;
  /** Versions of the Python that opens graphs, and of its packages; null: not known yet. */
  readonly knownPackages: () => ReadonlyMap<string, string | null> | null;
  /** What the registered workers run on. */
  readonly software: WorkerSoftware;
  readonly limits: PeerLimits;
  readonly log: Log;
  readonly machine: Machine;
  /** Milliseconds since the epoch. */
  readonly now_ms: () => number;
}

/** Everyone who is registered with the server, and how they come and go. */
export class Registration {
  readonly workers: Workers;
  readonly clients: Clients;
  readonly nannies: Nannies;

  constructor(given: Omit<RegistrationParts, "software">) {
    const parts = { ...given, software: new WorkerSoftware() };
    this.workers = new Workers(parts);
    this.clients = new Clients(parts);
    this.nannies = new Nannies(parts.plugins);
  }
}
