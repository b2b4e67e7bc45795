import { type KeyBytes, keyText } from "../../protocol/keys.ts";
import { RawValue, WireMap, type WireValue } from "../../protocol/values.ts";
import { type Channel, ChannelClosedError } from "../peers/channel.ts";
import type { Cluster } from "../peers/cluster.ts";
import { pickledException } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { type Deadline, timeoutError } from "./waiting.ts";

/** Dask looks as often. */
const KNOWN_CHECK_MS = 10;

/** What queues and variables hold: a future, by its key, or data, opaque. */
export type Item = { readonly key: KeyBytes } | { readonly data: WireValue };

/**
 * The value of a request that puts something: its `key`, else its `data`. A request may overtake the graph that makes
 * the key known, which is waited for. Throws Python's TimeoutError.
 */
export async function itemOf(
  request: Request,
  cluster: Cluster,
  channel: Channel,
  deadline: Deadline,
): Promise<Item> {
  if (request.value("key") === null) return { data: request.value("data") };
  const key = request.key("key");
  while (cluster.taskState(key) === null) {
    await channel.machine.sleep(KNOWN_CHECK_MS);
    if (channel.closed !== null) throw new ChannelClosedError(channel.closed);
    if (deadline.expired) throw timeoutError(`Task ${keyText(key)} unknown to scheduler.`);
  }
  return { key };
}

/** As clients get it: a future with what is known of its task. */
export function itemReply(item: Item, cluster: Cluster): WireMap {
  if (!("key" in item)) return WireMap.of({ type: "msgpack", value: item.data });
  const state = cluster.taskState(item.key) ?? "lost";
  const reply = WireMap.of({ type: "Future", value: new RawValue(item.key), state });
  const error = state === "erred" ? cluster.taskError(item.key) : null;
  if (error === null) return reply;
  reply.set("exception", error.exception ?? pickledException("RuntimeError", error.exception_text));
  return reply.set("traceback", error.traceback);
}

/** The client who got the future wants its key from now on, if there still is such a task. */
export function handFuture(key: KeyBytes, client: string, cluster: Cluster): void {
  if (cluster.taskState(key) !== null) cluster.desireKeys(client, [key]);
}
