import { frameMessage } from "../../protocol/frames.ts";
import { encodeMessage } from "../../protocol/message.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import { workerIdentity } from "../registration/worker-record.ts";
import { type Handler, NO_REPLY, type Reply, type RpcContext } from "./context.ts";
import { identityMap } from "./identity.ts";
import { PythonError } from "./python-error.ts";
import type { Request } from "./request.ts";
import { keyList } from "./wire-shapes.ts";

/** A follower of the workers' comings and goings that does not read is dropped beyond this. */
const FEED_PENDING_BYTES_MAX = 16 * 1024 * 1024;

/** `cancel {keys, client, force?}`: 2022's form; later clients send it on their stream. */
function cancel(request: Request, context: RpcContext): WireValue {
  const why = { reason: request.value("reason"), msg: request.value("msg") };
  context.cluster.cancelKeys(
    request.string("client"),
    request.keys("keys"),
    request.boolean("force", false),
    why,
  );
  return null;
}

/** `retry {keys}`: failed tasks are tried again; answers which. */
function retry(request: Request, context: RpcContext): WireValue {
  const stimulus_id = context.registration.workers.stimulus("stimulus-retry");
  return keyList(context.cluster.retryKeys(request.keys("keys"), stimulus_id));
}

/** `terminate {reason?}`: ends the server, once this request is answered. */
function terminate(request: Request, context: RpcContext): WireValue {
  context.shutdown(request.optionalString("reason") ?? "unknown");
  return null;
}

/** `set_resources {worker, resources?}`. */
function setResources(request: Request, context: RpcContext): WireValue {
  const address = context.registration.workers.addresses.coerce(request.value("worker"));
  const peer = context.cluster.workers.get(address);
  if (peer === undefined) throw new PythonError("KeyError", address);
  context.registration.workers.setResources(peer, request.value("resources"));
  return "OK";
}

/**
 * `subscribe_worker_status`: answers the identity, then sends each coming and going on the same connection, in
 * batches as `[["add", {workers: {address: identity}}]]` and `[["remove", address]]`.
 */
function subscribeWorkerStatus(_request: Request, context: RpcContext, channel: Channel): Reply {
  const { connection } = channel;
  const send = (message: WireValue): void => connection.write(frameMessage(encodeMessage(message)));
  const { watchers } = context.registration.workers;
  const watcher = {
    onWorkerAdded(peer: WorkerPeer): void {
      const workers = WireMap.of({ [peer.address]: workerIdentity(peer, "lasting") });
      send([["add", WireMap.of({ workers })]]);
    },
    onWorkerRemoved(peer: WorkerPeer): void {
      send([["remove", peer.address]]);
    },
  };
  channel.write(identityMap(context, Number.POSITIVE_INFINITY, "lasting"));
  connection.pending_bytes_max = FEED_PENDING_BYTES_MAX;
  watchers.add(watcher);
  channel.watch(() => watchers.delete(watcher));
  return NO_REPLY;
}

export const CONTROL_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["register-worker", (request, context, channel) => context.registration.workers.register(request, channel)],
  ["register-client", (request, context, channel) => context.registration.clients.register(request, channel)],
  ["register_nanny", (request, context, channel) => context.registration.nannies.register(request, channel)],
  ["heartbeat_worker", (request, context) => context.registration.workers.heartbeat(request)],
  ["unregister", (request, context) => context.registration.workers.unregister(request)],
  ["cancel", cancel],
  ["retry", retry],
  ["terminate", terminate],
  ["set_resources", setResources],
  ["subscribe_worker_status", subscribeWorkerStatus],
];
