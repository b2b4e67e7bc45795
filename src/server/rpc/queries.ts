import { type KeyBytes, keyText } from "../../protocol/keys.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import type { Handler, RpcContext } from "./context.ts";
import { sortedWorkers } from "./identity.ts";
import { PythonError } from "./python-error.ts";
import type { Request } from "./request.ts";
import { keyList, keyMap } from "./wire-shapes.ts";

/** `ncores {workers?}`: threads by address; of the asked-for workers those that are registered. */
function ncores(request: Request, context: RpcContext): WireValue {
  return byWorker(request, context, "skip", (peer) => peer.nthreads);
}

function ncoresRunning(request: Request, context: RpcContext): WireValue {
  return byWorker(request, context, "skip", (peer) =>
    peer.status === "running" ? peer.nthreads : undefined,
  );
}

/** `has_what {workers?}`: keys in memory by address; none for an address that is not registered. */
function hasWhat(request: Request, context: RpcContext): WireValue {
  return byWorker(request, context, "empty list", (peer) => keyList(context.cluster.hasWhat(peer)));
}

/** `processing {workers?}`: keys that run or wait on the worker. */
function processing(request: Request, context: RpcContext): WireValue {
  return byWorker(request, context, "KeyError", (peer) => keyList(context.cluster.processing(peer)));
}

/** `who_has {keys?}`: holders by key; all tasks when no keys are given, an empty list for an unknown key. */
function whoHas(request: Request, context: RpcContext): WireValue {
  const keys = request.optionalKeys("keys") ?? context.cluster.taskKeys();
  return keyMap(mapKeys(keys, (key) => context.cluster.holders(key) ?? []));
}

/** `nbytes {keys?, summary?}`: sizes by key, or summed by the tasks' prefixes. */
function nbytes(request: Request, context: RpcContext): WireValue {
  const { cluster } = context;
  const asked = request.optionalKeys("keys");
  const sizes: (readonly [KeyBytes, number])[] = [];
  for (const key of asked ?? cluster.taskKeys()) {
    if (asked !== null && cluster.taskState(key) === null) throw new PythonError("KeyError", keyText(key));
    const size = cluster.nbytes(key);
    if (asked !== null || size >= 0) sizes.push([key, size]);
  }
  if (!request.boolean("summary", true)) return keyMap(sizes);
  const sums = new Map<string, number>();
  for (const [key, size] of sizes) {
    const prefix = cluster.prefix(key);
    sums.set(prefix, (sums.get(prefix) ?? 0) + size);
  }
  return WireMap.from(sums);
}

/** `get_task_status {keys}`: Dask's state names by key; None for an unknown key. */
function taskStatus(request: Request, context: RpcContext): WireValue {
  return keyMap(mapKeys(request.keys("keys"), (key) => context.cluster.taskState(key)));
}

/** `get_runspec {key}`: how the task runs, byte for byte as its client sent it (`recreate_task_locally`). */
function runSpec(request: Request, context: RpcContext): WireValue {
  const key = request.key("key");
  if (context.cluster.taskState(key) === null) throw new PythonError("KeyError", keyText(key));
  return context.cluster.runSpec(key);
}

/** `get_error_cause {keys}`: the first of the keys that failed, followed back to the task whose own error it is. */
function errorCause(request: Request, context: RpcContext): WireValue {
  for (const key of request.optionalKeys("keys") ?? []) {
    const error = context.cluster.taskError(key);
    if (error !== null) return keyList([error.cause])[0] ?? null;
  }
  return null;
}

/** An answer for each worker, or for each of the `workers` asked for; undefined leaves the worker out. */
function byWorker(
  request: Request,
  context: RpcContext,
  unknown: "skip" | "empty list" | "KeyError",
  answer: (peer: WorkerPeer) => WireValue | undefined,
): WireMap {
  const result = new WireMap();
  const asked = request.optionalList("workers");
  if (asked === null) {
    for (const peer of sortedWorkers(context)) {
      const value = answer(peer);
      if (value !== undefined) result.set(peer.address, value);
    }
    return result;
  }
  for (const worker of asked) {
    const address = context.registration.workers.addresses.coerce(worker);
    const peer = context.cluster.workers.get(address);
    if (peer === undefined && unknown === "KeyError") throw new PythonError("KeyError", address);
    const value = peer === undefined ? (unknown === "skip" ? undefined : []) : answer(peer);
    if (value !== undefined) result.set(address, value);
  }
  return result;
}

function* mapKeys(
  keys: Iterable<KeyBytes>,
  value: (key: KeyBytes) => WireValue,
): Generator<readonly [KeyBytes, WireValue]> {
  for (const key of keys) yield [key, value(key)];
}

export const QUERY_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["ncores", ncores],
  ["ncores_running", ncoresRunning],
  ["has_what", hasWhat],
  ["processing", processing],
  ["who_has", whoHas],
  ["nbytes", nbytes],
  ["get_task_status", taskStatus],
  ["get_runspec", runSpec],
  ["get_error_cause", errorCause],
];
