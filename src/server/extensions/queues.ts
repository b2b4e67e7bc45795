import type { KeyBytes } from "../../protocol/keys.ts";
import type { WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { ClientPeer, Cluster } from "../peers/cluster.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import { keyId, type Request } from "../rpc/request.ts";
import { handFuture, type Item, itemOf, itemReply } from "./futures.ts";
import { Deadline, nameId, nameText, TIMED_OUT, timeoutError, Waiters } from "./waiting.ts";

interface Queue {
  items: Item[];
  /** 0: no limit. */
  readonly length_max: number;
  /** Queue objects that clients have made of it and not closed. */
  users: number;
  readonly getters: Waiters<Item>;
  readonly putters: Waiters<null>;
}

/** Futures that are in a queue, or were taken out by a client who has not said yet that it has them. */
interface Held {
  readonly key: KeyBytes;
  count: number;
}

/**
 * Dask's distributed.Queue: items that clients put and others get, first in, first out. A future in a queue is wanted in
 * the queue's own name until whoever got it wants it.
 */
export class Queues {
  readonly #cluster: Cluster;
  readonly #queues = new Map<string, Queue>();
  /** By queue, then by key. */
  readonly #held = new Map<string, Map<string, Held>>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** `queue_create {name, maxsize?}` */
  create(request: Request): WireValue {
    const id = nameId(request.value("name"));
    const known = this.#queues.get(id);
    if (known === undefined) {
      const length_max = Math.max(0, request.optionalNumber("maxsize") ?? 0);
      this.#queues.set(id, {
        items: [],
        length_max,
        users: 1,
        getters: new Waiters(),
        putters: new Waiters(),
      });
    } else known.users++;
    return null;
  }

  /** `queue_put {name, key? | data?, timeout?}` */
  async put(request: Request, channel: Channel): Promise<WireValue> {
    const name = request.value("name");
    const deadline = new Deadline(request, channel);
    const item = await itemOf(request, this.#cluster, channel, deadline);
    if ("key" in item) this.#hold(name, item.key);
    try {
      // Looked up again after each wait: it may have been closed and made anew.
      for (let queue = this.#queue(name); isFull(queue); queue = this.#queue(name))
        if ((await queue.putters.wait(channel, deadline.remaining_ms)) === TIMED_OUT) throw timeoutError();
    } catch (error) {
      if ("key" in item) this.#letGo(name, item.key);
      throw error;
    }
    const queue = this.#queue(name);
    if (!queue.getters.wake(item)) queue.items.push(item);
    return null;
  }

  /** `queue_get {name, timeout?, batch?}`: one item; with a number that many; with True what there is. */
  async get(request: Request, channel: Channel): Promise<WireValue> {
    const name = request.value("name");
    const queue = this.#queue(name);
    const batch = request.value("batch");
    if (batch === true) {
      const items = queue.items.splice(0);
      for (let room = items.length; room > 0 && queue.putters.wake(null); room--);
      return items.map((item) => itemReply(item, this.#cluster));
    }
    const count = batch === null || batch === false ? 0 : (request.optionalNumber("batch") ?? 0);
    const deadline = new Deadline(request, channel);
    if (count === 0) return itemReply(await this.#next(queue, channel, deadline), this.#cluster);
    if (deadline.remaining_ms !== null)
      throw new PythonError(
        "NotImplementedError",
        "Dask queues don't support simultaneous use of integer batch sizes and timeouts",
      );
    return (await this.#several(queue, count, channel, deadline)).map((item) =>
      itemReply(item, this.#cluster),
    );
  }

  /** `queue_qsize {name}` */
  qsize(request: Request): WireValue {
    return this.#queue(request.value("name")).items.length;
  }

  /** `queue_release {name}` of a client's stream: a Queue object was closed. With the last one the queue goes. */
  release(request: Request): void {
    const name = request.value("name");
    const id = nameId(name);
    const queue = this.#queues.get(id);
    if (queue === undefined || --queue.users > 0) return;
    this.#queues.delete(id);
    for (const item of queue.items.splice(0)) if ("key" in item) this.#letGo(name, item.key);
    queue.getters.fail(unknown(name));
    queue.putters.wakeAll(null);
  }

  /** `queue-future-release {name, key}` of a client's stream: it has the future that it got from the queue. */
  futureReleased(request: Request, client: ClientPeer): void {
    const key = request.key("key");
    handFuture(key, client.name, this.#cluster);
    this.#letGo(request.value("name"), key);
  }

  async #next(queue: Queue, channel: Channel, deadline: Deadline): Promise<Item> {
    const item = queue.items.shift() ?? (await queue.getters.wait(channel, deadline.remaining_ms));
    if (item === TIMED_OUT) throw timeoutError();
    if (!isFull(queue)) queue.putters.wake(null);
    return item;
  }

  async #several(queue: Queue, count: number, channel: Channel, deadline: Deadline): Promise<Item[]> {
    const items: Item[] = [];
    try {
      while (items.length < count) items.push(await this.#next(queue, channel, deadline));
      return items;
    } catch (error) {
      // Nobody gets these: they are the next ones again.
      queue.items.unshift(...items);
      throw error;
    }
  }

  #queue(name: WireValue): Queue {
    const queue = this.#queues.get(nameId(name));
    if (queue === undefined) throw unknown(name);
    return queue;
  }

  #hold(name: WireValue, key: KeyBytes): void {
    const queue_id = nameId(name);
    const held = this.#held.get(queue_id) ?? new Map<string, Held>();
    this.#held.set(queue_id, held);
    const entry = held.get(keyId(key));
    if (entry !== undefined) entry.count++;
    else held.set(keyId(key), { key, count: 1 });
    this.#cluster.desireKeys(wantedAs(name), [key]);
  }

  #letGo(name: WireValue, key: KeyBytes): void {
    const queue_id = nameId(name);
    const held = this.#held.get(queue_id);
    const entry = held?.get(keyId(key));
    if (held === undefined || entry === undefined || --entry.count > 0) return;
    held.delete(keyId(key));
    this.#cluster.releaseKeys(wantedAs(name), [key], `release-queue-${nameText(name)}`);
    if (held.size > 0) return;
    this.#held.delete(queue_id);
    this.#cluster.forgetWants(wantedAs(name));
  }
}

function isFull(queue: Queue): boolean {
  return queue.length_max > 0 && queue.items.length >= queue.length_max;
}

function wantedAs(name: WireValue): string {
  return `queue-${nameText(name)}`;
}

function unknown(name: WireValue): PythonError {
  return new PythonError("KeyError", nameText(name));
}

export const QUEUE_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["queue_create", (request, context) => context.extensions.queues.create(request)],
  ["queue_put", (request, context, channel) => context.extensions.queues.put(request, channel)],
  ["queue_get", (request, context, channel) => context.extensions.queues.get(request, channel)],
  ["queue_qsize", (request, context) => context.extensions.queues.qsize(request)],
];
