import { WireMap, type WireValue } from "../../src/protocol/values.ts";
import type { FaultWorld } from "./fault-world.ts";
import { SCATTERED } from "./plan.ts";

/** Operations of workers' streams. A test compares them with what the server takes. */
export const WORKER_STREAM_OPS: readonly string[] = [
  ...["task-finished", "task-erred", "add-keys", "release-worker-data", "steal-response", "long-running"],
  ...["reschedule", "keep-alive", "close-stream", "worker-status-change", "log-event"],
  ...["request-refresh-who-has", "pubsub-add-subscriber", "pubsub-remove-subscriber"],
  ...["pubsub-remove-publisher", "pubsub-msg"],
];

/** Operations of clients' streams. `update-graph` is a pickle, which only Python can open. */
export const CLIENT_STREAM_OPS: readonly string[] = [
  ...["update-graph-hlg", "client-releases-keys", "client-desires-keys", "heartbeat-client", "close-client"],
  ...["close-stream", "subscribe-topic", "unsubscribe-topic", "cancel-keys", "update-data", "report-key"],
  ...["publish_flush_batched_send", "queue_release", "queue-future-release"],
  ...["variable-future-received-confirm", "variable-future-release", "variable_delete"],
  ...["pubsub-add-subscriber", "pubsub-remove-subscriber", "pubsub-msg"],
];

/** Requests that are not made in a simulation, and why. */
export const LEFT_OUT: ReadonlyMap<string, string> = new Map([
  ["terminate", "it ends the server"],
  ["register-worker", "workers do, all the time"],
  ["register-client", "clients do, all the time"],
  ["run_function", "it starts Python"],
  ["feed", "it starts Python"],
  ["register_scheduler_plugin", "it starts Python"],
  ["unregister_scheduler_plugin", "it starts Python"],
  ["workers_to_close", "it starts Python"],
  ["shuffle_get_or_create", "it starts Python"],
  ["dump_cluster_state_to_url", "it writes a file"],
  ["rsds-profile-start", "it measures real time"],
  ["rsds-profile-stop", "it measures real time"],
  ["rsds-record-start", "it keeps its connection for what happens"],
  ["rsds-record-stop", "it keeps its connection for what happens"],
  ["benchmark_hardware", "it draws lots of its own"],
]);

export type When = "before" | "during" | "after";

/** What strangers have sent: operation and when. */
export type SentOps = Map<string, number>;

/** One message of any kind, with every field that any kind has: right for most, and wrong in one now and then. */
function anyMessage(world: FaultWorld, op: string): WireMap {
  const below = (bound: number): number => world.chance.below(bound);
  const { tasks } = world.plan;
  const key = (): string =>
    below(8) === 0 ? "nobody-knows" : below(8) === 0 ? SCATTERED[below(2)]! : tasks[below(tasks.length)]!.key;
  const keys = [key(), key()];
  const hosts = world.hosts;
  const address = hosts.length > 0 ? hosts[below(hosts.length)]!.facts.address : "tcp://10.0.7.7:7";
  const client = world.clients[below(Math.max(1, world.clients.length))]?.name ?? "Client-9";
  const name = `name-${below(2)}`;
  const fields: Record<string, WireValue> = {
    ...{ key: key(), keys, address, worker: address, workers: [address], client, name, topic: "all" },
    ...{ stimulus_id: `stranger-${below(1000)}`, run_id: below(50), nbytes: below(100), status: "running" },
    ...{ state: ["ready", "memory", null, "executing"][below(4)]!, timeout: 0.2, id: name, lease_id: name },
    ...{ names: [name], data: WireMap.of({ [key()]: 1 }), who_has: WireMap.of({ [key()]: [address] }) },
    ...{
      msg: WireMap.of({ op: "identity" }),
      n: 1 + below(2),
      force: below(2) === 0,
      uid: name,
      token: name,
    },
    ...{
      max_leases: 1 + below(2),
      lease_ids: [name],
      locks: [name],
      maxsize: below(3),
      resources: WireMap.of({ GPU: 1 }),
    },
    ...{
      exception: null,
      traceback: null,
      method: ["start", "stop", "run_once", "running"][below(4)]!,
      override: true,
    },
    ...{
      metrics: new WireMap(),
      executing: new WireMap(),
      delete: below(2) === 0,
      stop: 1,
      start: 0,
      measure: "process",
    },
    ...{
      interval: 0.5,
      count: 3,
      compute_duration: 0.1,
      plugin: new Uint8Array([1]),
      default: null,
      value: 1,
    },
    ...{
      wait_for_workers: false,
      expected: below(2) === 0,
      close: false,
      safe: true,
      reason: null,
      exclude: [],
    },
  };
  // Of these the sizes belong to `keys`, and to data that workers are said to have.
  const message = WireMap.of({ op, ...fields });
  if (op === "update-data" || op === "update_data") message.set("nbytes", new WireMap());
  if (op === "set_metadata" || op === "get_metadata") message.set("keys", [name]);
  if (below(6) === 0)
    message.values[1 + below(message.size - 1)] = [null, -1, "", [], new WireMap()][below(5)]!;
  return message;
}

/** One operation of any kind, by whoever is there: on a stream or as a request. */
export function strangeMessage(world: FaultWorld, when: When, sent: SentOps): void {
  const kind = world.chance.below(3);
  const ops = kind === 0 ? WORKER_STREAM_OPS : kind === 1 ? CLIENT_STREAM_OPS : requestsOf(world);
  const op = ops[world.chance.below(ops.length)]!;
  const message = anyMessage(world, op);
  if (kind === 2) world.request(`stranger ${op}`, message, () => undefined);
  else if (!onStream(world, kind === 0 ? "worker" : "client", message, when)) return;
  const what = `${["worker stream", "client stream", "request"][kind]} ${op} ${when}`;
  sent.set(what, (sent.get(what) ?? 0) + 1);
}

/** All requests that the server answers, but for those that a simulation does not make. */
function requestsOf(world: FaultWorld): string[] {
  return [...world.server.peers.handlers.keys()].filter((op) => !LEFT_OUT.has(op)).sort();
}

/** On the stream of somebody who is registered; or of somebody who is not yet, or is not any more. */
function onStream(world: FaultWorld, kind: "worker" | "client", message: WireMap, when: When): boolean {
  if (when === "before") {
    const wire = world.network.dial("stranger", { onMessage: () => undefined, onEnd: () => undefined });
    wire.send(world.chance.below(2) === 0 ? [message] : message);
    return true;
  }
  const peers = kind === "worker" ? world.hosts : world.clients;
  const left = peers.filter((peer) => peer.registered && (when === "after" || !peer.gone));
  const peer = left[world.chance.below(Math.max(1, left.length))];
  if (peer === undefined) return false;
  // Its goodbye goes first; the connection is open for a moment longer.
  if (when === "after" && !peer.gone)
    peer.stream.send([WireMap.of({ op: kind === "worker" ? "close-stream" : "close-client" })]);
  peer.stream.send([message]);
  return true;
}
