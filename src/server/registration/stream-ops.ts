import { frameMessage } from "../../protocol/frames.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import { encodeMessage } from "../../protocol/message.ts";
import { toNumber, WireMap } from "../../protocol/values.ts";
import { EXTENSION_CLIENT_OPS, EXTENSION_WORKER_OPS } from "../extensions/extensions.ts";
import type { ClientPeer, WorkerPeer } from "../peers/cluster.ts";
import type { RpcContext } from "../rpc/context.ts";
import { topicsOf } from "../rpc/logs.ts";
import { addKeys } from "../rpc/replicate.ts";
import { Request } from "../rpc/request.ts";
import { updateData } from "../rpc/scatter.ts";
import { floatValue, heartbeatInterval_s, keyList, keyMap } from "../rpc/wire-shapes.ts";
import { workerStatus } from "./worker-record.ts";

type WorkerOp = (fields: Request, peer: WorkerPeer, context: RpcContext) => void;
type ClientOp = (fields: Request, peer: ClientPeer, context: RpcContext) => void;

/** The operations of a worker's stream that are not about single tasks. */
const WORKER_OPS: ReadonlyMap<string, WorkerOp> = new Map<string, WorkerOp>([
  // It only keeps routers on the way from closing a silent connection: there is nothing to do.
  ["keep-alive", () => undefined],
  ["close-stream", closeStream],
  ["worker-status-change", workerStatusChange],
  ["log-event", logEvent],
  ["add-keys", addKeysMessage],
  ["request-refresh-who-has", refreshWhoHas],
  ...EXTENSION_WORKER_OPS.map(([op, handle]): [string, WorkerOp] => [
    op,
    (fields, peer, context) => handle(context.extensions, fields, peer),
  ]),
]);

/** The operations of a client's stream that are not about its graphs and wants. */
const CLIENT_OPS: ReadonlyMap<string, ClientOp> = new Map<string, ClientOp>([
  ["heartbeat-client", heartbeatClient],
  ["close-client", closeClient],
  ["close-stream", (_fields, peer) => peer.stream.close()],
  ["subscribe-topic", (fields, peer, context) => context.events.subscribe(fields.string("topic"), peer.name)],
  [
    "unsubscribe-topic",
    (fields, peer, context) => context.events.unsubscribe(fields.string("topic"), peer.name),
  ],
  ["cancel-keys", cancelKeys],
  ["update-data", (fields, _peer, context) => void updateData(fields, context)],
  ["report-key", (fields, peer, context) => context.cluster.reportKey(fields.key("key"), peer.name)],
  ["publish_flush_batched_send", (fields, _peer, context) => context.datasets.flush(fields.string("uid"))],
  ...EXTENSION_CLIENT_OPS.map(([op, handle]): [string, ClientOp] => [
    op,
    (fields, peer, context) => handle(context.extensions, fields, peer),
  ]),
]);

/**
 * Carries out one message of a worker's stream. False: not an operation of this table.
 * Throws PythonError or ProtocolError for fields that cannot be.
 */
export function onWorkerOp(op: string, fields: WireMap, peer: WorkerPeer, context: RpcContext): boolean {
  const handler = WORKER_OPS.get(op);
  handler?.(new Request(op, fields), peer, context);
  return handler !== undefined;
}

/** As {@link onWorkerOp}, for a client's stream. */
export function onClientOp(op: string, fields: WireMap, peer: ClientPeer, context: RpcContext): boolean {
  const handler = CLIENT_OPS.get(op);
  handler?.(new Request(op, fields), peer, context);
  return handler !== undefined;
}

/** The worker leaves: nothing waits for its connection to end. */
function closeStream(_fields: Request, peer: WorkerPeer, context: RpcContext): void {
  context.registration.workers.leave(peer);
  peer.stream.close();
}

function workerStatusChange(fields: Request, peer: WorkerPeer, context: RpcContext): void {
  const status = workerStatus(fields.string("status"));
  if (status === peer.status) return;
  const stimulus_id = fields.string("stimulus_id");
  const previous = peer.status;
  context.cluster.setWorkerStatus(peer, status, stimulus_id);
  const event = WireMap.of({ action: "worker-status-change", "prev-status": previous, status, stimulus_id });
  context.events.publish([peer.address], event);
}

/** An event that a worker logs names its worker, unless it goes to the worker's own topic. */
function logEvent(fields: Request, peer: WorkerPeer, context: RpcContext): void {
  const message = fields.value("msg");
  const topic = fields.value("topic");
  if (message instanceof WireMap && topic !== peer.address) message.set("worker", peer.address);
  context.events.publish(topicsOf(topic), message);
}

function addKeysMessage(fields: Request, peer: WorkerPeer, context: RpcContext): void {
  addKeys(peer, fields.keys("keys"), fields.optionalString("stimulus_id") ?? "add-keys", context);
}

/** A worker that did not find data where it was told asks who has it; keys that nobody knows it may forget. */
function refreshWhoHas(fields: Request, peer: WorkerPeer, context: RpcContext): void {
  const { cluster } = context;
  const stimulus_id = fields.string("stimulus_id");
  const known: (readonly [KeyBytes, string[]])[] = [];
  const unknown: KeyBytes[] = [];
  for (const key of fields.keys("keys")) {
    const holders = cluster.holders(key);
    if (holders === null) unknown.push(key);
    else known.push([key, holders]);
  }
  if (known.length > 0) {
    cluster.sendToWorker(peer, WireMap.of({ op: "refresh-who-has", who_has: keyMap(known), stimulus_id }));
  }
  if (unknown.length > 0) {
    cluster.sendToWorker(peer, WireMap.of({ op: "free-keys", keys: keyList(unknown), stimulus_id }));
  }
}

/** Only 2026's clients take an answer: how often to send the next ones, ten times as rarely as workers. */
function heartbeatClient(_fields: Request, peer: ClientPeer, context: RpcContext): void {
  peer.last_seen_ms = context.now_ms();
  if (peer.release !== "2026.8") return;
  const interval_s = 10 * (toNumber(heartbeatInterval_s(context.cluster.clients.size)) ?? 0);
  const message = WireMap.of({ op: "adjust-heartbeat-interval", interval: floatValue(interval_s) });
  context.cluster.sendToClient(peer, message);
}

/** The client has said its last word: a `close-stream` that follows has nothing left to close. */
function closeClient(_fields: Request, peer: ClientPeer, context: RpcContext): void {
  context.registration.clients.remove(peer);
  peer.stream.write(frameMessage(encodeMessage([WireMap.of({ op: "stream-closed" })])));
  peer.stream.close();
}

function cancelKeys(fields: Request, peer: ClientPeer, context: RpcContext): void {
  const why = { reason: fields.value("reason"), msg: fields.value("msg") };
  context.cluster.cancelKeys(peer.name, fields.keys("keys"), fields.boolean("force", false), why);
}
