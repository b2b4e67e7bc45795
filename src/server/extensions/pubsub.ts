import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { ClientPeer, Cluster, WorkerPeer } from "../peers/cluster.ts";
import type { Handler } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import { nameId } from "./waiting.ts";

interface Topic {
  readonly name: WireValue;
  /** Addresses of workers that publish, and of those that listen. */
  readonly publishers: Set<string>;
  readonly listeners: Set<string>;
  /** Names of clients that listen. */
  readonly client_listeners: Set<string>;
}

/**
 * Pub and Sub of releases before 2026. Workers send to one another directly, once they know of each other by this;
 * what comes from a client, or goes to one, passes through here.
 */
export class PubSub {
  readonly #cluster: Cluster;
  readonly #topics = new Map<string, Topic>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** `pubsub_add_publisher {name, worker}`: answers who listens. */
  addPublisher(request: Request): WireValue {
    const topic = this.#topic(request.value("name"));
    const worker = request.string("worker");
    // One that has gone meanwhile would be kept for ever.
    if (this.#cluster.workers.has(worker)) topic.publishers.add(worker);
    const subscribers = WireMap.from([...topic.listeners].map((address) => [address, new WireMap()]));
    const reply = WireMap.of({ subscribers, "publish-scheduler": topic.client_listeners.size > 0 });
    this.#mayForget(topic);
    return reply;
  }

  /** `pubsub-remove-publisher {name}` of a worker's stream. */
  removePublisher(request: Request, worker: WorkerPeer): void {
    const topic = this.#topics.get(nameId(request.value("name")));
    if (topic === undefined) return;
    topic.publishers.delete(worker.address);
    this.#mayForget(topic);
  }

  /** `pubsub-add-subscriber {name}` of a stream. */
  addListener(request: Request, peer: WorkerPeer | ClientPeer): void {
    const topic = this.#topic(request.value("name"));
    if (peer.kind === "worker") {
      topic.listeners.add(peer.address);
      this.#tellPublishers(topic, { op: "pubsub-add-subscriber", address: peer.address });
      return;
    }
    topic.client_listeners.add(peer.name);
    this.#tellPublishers(topic, { op: "pubsub-publish-scheduler", publish: true });
  }

  /** `pubsub-remove-subscriber {name}` of a stream. */
  removeListener(request: Request, peer: WorkerPeer | ClientPeer): void {
    const topic = this.#topics.get(nameId(request.value("name")));
    if (topic !== undefined) this.#remove(topic, peer);
  }

  /** `pubsub-msg {name, msg}` of a stream: to the clients that listen, and from a client also to the workers. */
  publish(request: Request, peer: WorkerPeer | ClientPeer): void {
    const topic = this.#topics.get(nameId(request.value("name")));
    if (topic === undefined) return;
    const message = WireMap.of({ op: "pubsub-msg", name: topic.name, msg: request.value("msg") });
    for (const name of topic.client_listeners) {
      const client = this.#cluster.clients.get(name);
      if (client !== undefined) this.#cluster.sendToClient(client, message);
    }
    if (peer.kind === "client") this.#tellWorkers(topic.listeners, message);
  }

  /** A worker or client is gone: it neither listens nor publishes any more. */
  peerLeft(peer: WorkerPeer | ClientPeer): void {
    for (const topic of [...this.#topics.values()]) {
      if (peer.kind === "worker") topic.publishers.delete(peer.address);
      this.#remove(topic, peer);
    }
  }

  #remove(topic: Topic, peer: WorkerPeer | ClientPeer): void {
    if (peer.kind === "worker") {
      if (topic.listeners.delete(peer.address))
        this.#tellPublishers(topic, { op: "pubsub-remove-subscriber", address: peer.address });
    } else if (topic.client_listeners.delete(peer.name) && topic.client_listeners.size === 0)
      this.#tellPublishers(topic, { op: "pubsub-publish-scheduler", publish: false });
    this.#mayForget(topic);
  }

  #tellPublishers(topic: Topic, fields: Record<string, WireValue>): void {
    this.#tellWorkers(topic.publishers, WireMap.of({ ...fields, name: topic.name }));
  }

  #tellWorkers(addresses: Iterable<string>, message: WireMap): void {
    for (const address of addresses) {
      const worker = this.#cluster.workers.get(address);
      if (worker !== undefined) this.#cluster.sendToWorker(worker, message);
    }
  }

  #topic(name: WireValue): Topic {
    const id = nameId(name);
    let topic = this.#topics.get(id);
    if (topic === undefined) {
      topic = { name, publishers: new Set(), listeners: new Set(), client_listeners: new Set() };
      this.#topics.set(id, topic);
    }
    return topic;
  }

  #mayForget(topic: Topic): void {
    if (topic.publishers.size + topic.listeners.size + topic.client_listeners.size > 0) return;
    this.#topics.delete(nameId(topic.name));
  }
}

export const PUBSUB_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["pubsub_add_publisher", (request, context) => context.extensions.pubsub.addPublisher(request)],
];
