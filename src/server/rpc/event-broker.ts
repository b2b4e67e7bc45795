import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Cluster } from "../peers/cluster.ts";
import { floatValue } from "./wire-shapes.ts";

/** Peers name the topics; the one that was first made makes room. */
const TOPICS_MAX = 10_000;

interface Topic {
  events: WireValue[];
  readonly subscribers: Set<string>;
}

/** Topics of events, which clients log to, read and subscribe to (`log_event`, `get_events`, `subscribe_topic`). */
export class EventBroker {
  /** Told of each event, whoever subscribes to its topics. */
  readonly followers = new Set<(topics: readonly string[], message: WireValue) => void>();
  readonly #cluster: Cluster;
  readonly #now_ms: () => number;
  readonly #topics = new Map<string, Topic>();
  readonly #events_max: number;

  /** `events_max`: how many are kept of each topic (Dask's `distributed.admin.low-level-log-length`). */
  constructor(cluster: Cluster, now_ms: () => number, events_max: number) {
    this.#events_max = events_max;
    this.#cluster = cluster;
    this.#now_ms = now_ms;
  }

  /** Keeps the event, stamped with the time, and sends it to the topic's subscribers. */
  publish(topics: readonly string[], message: WireValue): void {
    for (const follower of this.followers) follower(topics, message);
    const event: WireValue = [floatValue(this.#now_ms() / 1000), message];
    for (const name of topics) {
      const topic = this.#topic(name);
      topic.events.push(event);
      if (topic.events.length > 2 * this.#events_max) topic.events = lastOf(topic.events, this.#events_max);
      for (const subscriber of topic.subscribers) {
        const client = this.#cluster.clients.get(subscriber);
        if (client === undefined) continue;
        this.#cluster.sendToClient(client, WireMap.of({ op: "event", topic: name, event }));
      }
    }
  }

  subscribe(topic: string, client: string): void {
    this.#topic(topic).subscribers.add(client);
  }

  unsubscribe(topic: string, client: string): void {
    this.#topics.get(topic)?.subscribers.delete(client);
  }

  /** A client that is gone is told of nothing any more, and its own topic goes with it. */
  forgetClient(client: string): void {
    for (const topic of this.#topics.values()) topic.subscribers.delete(client);
    this.#topics.delete(client);
  }

  /** `[time, message]` of the topic, oldest first. */
  events(topic: string): WireValue[] {
    return lastOf(this.#topics.get(topic)?.events ?? [], this.#events_max);
  }

  /** All topics that have events. */
  allEvents(): WireMap {
    const all = new WireMap();
    for (const [name, topic] of this.#topics) if (topic.events.length > 0) all.set(name, this.events(name));
    return all;
  }

  #topic(name: string): Topic {
    let topic = this.#topics.get(name);
    if (topic !== undefined) return topic;
    if (this.#topics.size >= TOPICS_MAX) this.#dropOldest();
    topic = { events: [], subscribers: new Set() };
    this.#topics.set(name, topic);
    return topic;
  }

  #dropOldest(): void {
    for (const [name, topic] of this.#topics) {
      if (topic.subscribers.size > 0) continue;
      this.#topics.delete(name);
      return;
    }
  }
}

function lastOf<T>(items: readonly T[], count_max: number): T[] {
  return count_max === 0 ? [] : items.slice(-count_max);
}
