import { WireMap, type WireValue } from "../../protocol/values.ts";
import { addressHost } from "../registration/addresses.ts";
import type { Handler, RpcContext } from "./context.ts";
import { exceptionPickle, exceptionValue, PythonError } from "./python-error.ts";
import type { Request } from "./request.ts";
import { UnreachableError } from "./worker-pool.ts";

/** `text`: the error's words in place of the answer. */
type OnError = "raise" | "return" | "return_pickle" | "ignore" | "text";

/** One receiver: whom the answer is named after, and where the request goes. */
interface Target {
  readonly worker: string;
  readonly address: string;
}

/** `broadcast {msg, workers?, hosts?, nanny?, on_error?}`: one request to many; answers by worker, unopened. */
async function broadcast(request: Request, context: RpcContext): Promise<WireValue> {
  const workers = receivers(request, context);
  const on_error = request.optionalString("on_error") ?? "raise";
  if (!isOnError(on_error)) {
    const text = `on_error must be 'raise', 'return', 'return_pickle', or 'ignore'; got '${on_error}'`;
    throw new PythonError("ValueError", text);
  }
  const targets = request.boolean("nanny", false)
    ? nannyTargets(workers, context)
    : workers.map((worker) => ({ worker, address: worker }));
  return sendToAll(messageFor(request), targets, on_error, context);
}

/** `proxy {msg, worker}`: a request to one worker that the client cannot reach itself (actors). */
async function proxy(request: Request, context: RpcContext): Promise<WireValue> {
  const address = context.registration.workers.addresses.coerce(request.string("worker"));
  return context.pool.request(address, forwarded(messageFor(request)));
}

/** `worker_logs {n?, workers?, nanny?}`: the last lines of each worker's log. */
function workerLogs(request: Request, context: RpcContext): Promise<WireValue> {
  const workers = receivers(request, context);
  const targets = request.boolean("nanny", false)
    ? nannyTargets(workers, context)
    : workers.map((worker) => ({ worker, address: worker }));
  return sendToAll(WireMap.of({ op: "get_logs", n: request.value("n") }), targets, "raise", context);
}

/** Sends `message` to all workers; their answers by address. For plugins. */
export function askAllWorkers(message: WireMap, context: RpcContext): Promise<WireMap> {
  return broadcastToWorkers(message, "raise", context);
}

/** As {@link askAllWorkers}; `on_error`: what stands in the place of an answer that did not come. */
export function broadcastToWorkers(
  message: WireMap,
  on_error: OnError,
  context: RpcContext,
): Promise<WireMap> {
  const targets = [...context.cluster.workers.keys()].map((worker) => ({ worker, address: worker }));
  return sendToAll(message, targets, on_error, context);
}

/** As {@link askAllWorkers}, to the nannies of the workers that have one. */
export function askAllNannies(message: WireMap, context: RpcContext): Promise<WireMap> {
  return sendToAll(message, nannyTargets([...context.cluster.workers.keys()], context), "raise", context);
}

async function sendToAll(
  message: WireMap,
  targets: readonly Target[],
  on_error: OnError,
  context: RpcContext,
): Promise<WireMap> {
  const outgoing = forwarded(message);
  const replies = await Promise.all(
    targets.map(async ({ worker, address }): Promise<readonly [string, WireValue] | null> => {
      try {
        return [worker, await context.pool.request(address, outgoing)];
      } catch (error) {
        const known = asPythonError(error);
        context.log.writeLimited(
          "ERROR",
          `broadcast ${address}`,
          `broadcast to ${address} failed: ${known.message}`,
        );
        if (on_error === "ignore") return null;
        if (on_error === "text") return [worker, known.message];
        if (on_error === "return") return [worker, exceptionValue(known)];
        if (on_error === "return_pickle") return [worker, exceptionPickle(known)];
        throw known;
      }
    }),
  );
  return WireMap.from(replies.filter((reply) => reply !== null));
}

/** The addresses meant by `workers` and `hosts`; neither: all. */
function receivers(request: Request, context: RpcContext): string[] {
  const workers = request.optionalList("workers");
  const hosts = request.optionalStrings("hosts");
  if (workers === null && hosts === null) return [...context.cluster.workers.keys()];
  const addresses = new Set<string>();
  for (const worker of workers ?? []) addresses.add(context.registration.workers.addresses.coerce(worker));
  for (const address of context.cluster.workers.keys()) {
    if (hosts?.includes(addressHost(address)) === true) addresses.add(address);
  }
  return [...addresses];
}

function nannyTargets(workers: readonly string[], context: RpcContext): Target[] {
  const targets: Target[] = [];
  for (const worker of workers) {
    const peer = context.cluster.workers.get(worker);
    if (peer === undefined) throw new PythonError("KeyError", worker);
    if (peer.nanny !== null) targets.push({ worker, address: peer.nanny });
  }
  return targets;
}

/** What is to be sent: the receivers' answers are to be readable for the asker. */
function messageFor(request: Request): WireMap {
  const message = request.map("msg");
  const serializers = request.value("serializers");
  return serializers === null ? message : message.set("serializers", serializers);
}

/** The answer comes to us, on a connection of ours: a `close` or `reply` that the client wrote is not meant for it. */
function forwarded(message: WireMap): WireMap {
  const copy = new WireMap();
  for (let i = 0; i < message.size; i++) {
    const name = message.keys[i] ?? null;
    if (name === "close" || name === "reply") continue;
    copy.keys.push(name);
    copy.values.push(message.values[i] ?? null);
  }
  return copy.set("reply", true);
}

function asPythonError(error: unknown): PythonError {
  if (error instanceof PythonError) return error;
  if (error instanceof UnreachableError) return new PythonError("CommClosedError", error.message);
  throw error;
}

function isOnError(value: string): value is OnError {
  return value === "raise" || value === "return" || value === "return_pickle" || value === "ignore";
}

export const BROADCAST_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["broadcast", broadcast],
  ["proxy", proxy],
  ["worker_logs", workerLogs],
];
