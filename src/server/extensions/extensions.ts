import type { Machine } from "../../base/machine.ts";
import type { ClientPeer, Cluster, WorkerPeer } from "../peers/cluster.ts";
import type { Log } from "../peers/log.ts";
import type { Handler } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import { FLAG_HANDLERS, Flags } from "./flags.ts";
import { LOCK_HANDLERS, Locks } from "./locks.ts";
import { MULTI_LOCK_HANDLERS, MultiLocks } from "./multi-locks.ts";
import { PUBSUB_HANDLERS, PubSub } from "./pubsub.ts";
import { QUEUE_HANDLERS, Queues } from "./queues.ts";
import { SEMAPHORE_HANDLERS, Semaphores } from "./semaphores.ts";
import { VARIABLE_HANDLERS, Variables } from "./variables.ts";

/** By what clients and tasks coordinate, under names that they choose. One for each server. */
export class Extensions {
  readonly queues: Queues;
  readonly variables: Variables;
  readonly semaphores: Semaphores;
  readonly locks = new Locks();
  readonly multi_locks = new MultiLocks();
  readonly flags = new Flags();
  readonly pubsub: PubSub;

  constructor(cluster: Cluster, log: Log, machine: Machine) {
    this.queues = new Queues(cluster);
    this.variables = new Variables(cluster, machine);
    this.semaphores = new Semaphores(log, machine);
    this.pubsub = new PubSub(cluster);
  }

  /** A client is gone. Its futures in queues and variables stay: they are there for others. */
  onClientRemoved(peer: ClientPeer): void {
    this.variables.clientLeft(peer.name);
    this.pubsub.peerLeft(peer);
  }

  onWorkerRemoved(peer: WorkerPeer): void {
    this.pubsub.peerLeft(peer);
  }
}

export const EXTENSION_HANDLERS: readonly (readonly [string, Handler])[] = [
  ...QUEUE_HANDLERS,
  ...VARIABLE_HANDLERS,
  ...SEMAPHORE_HANDLERS,
  ...LOCK_HANDLERS,
  ...MULTI_LOCK_HANDLERS,
  ...FLAG_HANDLERS,
  ...PUBSUB_HANDLERS,
];

/** Operations of clients' streams. */
export const EXTENSION_CLIENT_OPS: readonly (readonly [
  string,
  (extensions: Extensions, fields: Request, peer: ClientPeer) => void,
])[] = [
  ["queue_release", ({ queues }, fields) => queues.release(fields)],
  ["queue-future-release", ({ queues }, fields, peer) => queues.futureReleased(fields, peer)],
  [
    "variable-future-received-confirm",
    ({ variables }, fields, peer) => variables.futureReceived(fields, peer),
  ],
  ["variable-future-release", ({ variables }, fields, peer) => variables.futureReceived(fields, peer)],
  ["variable_delete", ({ variables }, fields) => variables.delete(fields)],
  ["pubsub-add-subscriber", ({ pubsub }, fields, peer) => pubsub.addListener(fields, peer)],
  ["pubsub-remove-subscriber", ({ pubsub }, fields, peer) => pubsub.removeListener(fields, peer)],
  ["pubsub-msg", ({ pubsub }, fields, peer) => pubsub.publish(fields, peer)],
];

/** Operations of workers' streams. */
export const EXTENSION_WORKER_OPS: readonly (readonly [
  string,
  (extensions: Extensions, fields: Request, peer: WorkerPeer) => void,
])[] = [
  ["pubsub-add-subscriber", ({ pubsub }, fields, peer) => pubsub.addListener(fields, peer)],
  ["pubsub-remove-subscriber", ({ pubsub }, fields, peer) => pubsub.removeListener(fields, peer)],
  ["pubsub-remove-publisher", ({ pubsub }, fields, peer) => pubsub.removePublisher(fields, peer)],
  ["pubsub-msg", ({ pubsub }, fields, peer) => pubsub.publish(fields, peer)],
];
