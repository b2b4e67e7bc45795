import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError, RemoteError } from "./python-error.ts";
import type { Request } from "./request.ts";
import { heartbeatInterval_s } from "./wire-shapes.ts";
import { UnreachableError } from "./worker-pool.ts";

const RETURN_POLL_MS = 200;
/** Dask's default for `timeout`. */
const TIMEOUT_S = 30;

interface RestartRequest {
  readonly client: string | null;
  readonly timeout_s: number;
  readonly wait_for_workers: boolean;
  readonly on_error: "raise" | "return";
  readonly stimulus_id: string;
}

/** `restart`: forgets all tasks, tells the clients, and restarts all workers. */
async function restart(request: Request, context: RpcContext): Promise<WireValue> {
  const { cluster, log } = context;
  const options = restartRequest(request, context, "raise");
  log.write("INFO", `Restarting workers and releasing all keys (stimulus_id='${options.stimulus_id}')`);
  cluster.forgetAll(options.stimulus_id);
  for (const client of cluster.clients.values()) cluster.sendToClient(client, WireMap.of({ op: "restart" }));
  const event = WireMap.of({ action: "restart", client: options.client });
  context.events.publish(options.client === null ? ["all"] : [options.client, "all"], event);
  await restartPeers([...cluster.workers.values()], options, context);
  return null;
}

/** `restart_workers {workers?}`: what became of each. */
async function restartWorkers(request: Request, context: RpcContext): Promise<WireValue> {
  const { cluster } = context;
  const asked = request.optionalStrings("workers");
  const peers = [...cluster.workers.values()].filter((peer) => asked?.includes(peer.address) ?? true);
  const on_error = request.optionalString("on_error") === "return" ? "return" : "raise";
  return WireMap.from(await restartPeers(peers, restartRequest(request, context, on_error), context));
}

/**
 * Has the nannies kill and start again their workers; workers without a nanny are told to close, in the hope that
 * whoever started them does it again. Then waits for as many workers as there were.
 */
async function restartPeers(
  peers: readonly WorkerPeer[],
  options: RestartRequest,
  context: RpcContext,
): Promise<Map<string, string>> {
  const { cluster, events, log } = context;
  const n_workers = cluster.workers.size;
  const deadline_ms = context.machine.now_ms() + options.timeout_s * 1000;
  const outcome = closeWithoutNanny(peers, options, context);
  const removed_count = outcome.size;
  await killByNanny(peers, options, outcome, context);
  const event = WireMap.of({
    action: "restart-workers",
    workers: peers.map((peer) => peer.address),
    client: options.client,
  });
  events.publish(options.client === null ? ["all"] : ["all", options.client], event);
  if (!options.wait_for_workers) return outcome;
  while (context.machine.now_ms() < deadline_ms && cluster.workers.size < n_workers) {
    await context.machine.sleep(RETURN_POLL_MS);
  }
  const absent = n_workers - cluster.workers.size;
  if (absent <= 0) {
    log.write("INFO", `Workers restart finished (stimulus_id='${options.stimulus_id}')`);
    return outcome;
  }
  const text = absentText(peers.length, absent, removed_count, options);
  if (options.on_error === "raise") throw new PythonError("TimeoutError", text);
  log.write("ERROR", text);
  const nannies = new Set([...cluster.workers.values()].map((peer) => peer.nanny));
  for (const peer of peers) {
    if (peer.nanny !== null && !nannies.has(peer.nanny)) outcome.set(peer.address, "timed out");
  }
  return outcome;
}

function closeWithoutNanny(
  peers: readonly WorkerPeer[],
  options: RestartRequest,
  context: RpcContext,
): Map<string, string> {
  const outcome = new Map<string, string>();
  for (const peer of peers) {
    if (peer.nanny !== null) continue;
    context.registration.workers.remove(peer, {
      expected: false,
      stimulus_id: options.stimulus_id,
      close: true,
      why: "it is to restart and has no nanny that could start it again",
    });
    outcome.set(peer.address, "removed");
  }
  return outcome;
}

async function killByNanny(
  peers: readonly WorkerPeer[],
  options: RestartRequest,
  outcome: Map<string, string>,
  context: RpcContext,
): Promise<void> {
  const timeout_ms = options.timeout_s * 1000;
  const message = WireMap.of({ op: "kill", reason: options.stimulus_id, reply: true });
  const killed = peers.map(async (peer) => {
    if (peer.nanny === null) return;
    try {
      // Answered once the process is gone. The worker leaves our books when its stream ends.
      await context.pool.request(peer.nanny, message, timeout_ms);
      outcome.set(peer.address, "OK");
    } catch (error) {
      if (!(error instanceof UnreachableError) && !isTimeout(error)) throw error;
      outcome.set(peer.address, "timed out");
    }
  });
  await Promise.all(killed);
  const bad = peers.filter((peer) => outcome.get(peer.address) === "timed out");
  if (bad.length === 0) return;
  const names = bad.map((peer) => peer.address).join(", ");
  context.log.write(
    "ERROR",
    `Workers ${names} did not shut down within ${options.timeout_s}s; force closing`,
  );
  for (const peer of bad) {
    const reason = { expected: false, stimulus_id: options.stimulus_id, close: true };
    context.registration.workers.remove(peer, reason);
  }
  if (options.on_error === "raise") {
    const text = `${bad.length} nanny worker(s) did not shut down within ${options.timeout_s}s: ${names}`;
    throw new PythonError("TimeoutError", text);
  }
}

/** The nanny itself gave up waiting for its worker's process. */
function isTimeout(error: unknown): boolean {
  return error instanceof RemoteError && /^(?:TimeoutError|OSError)\b/.test(error.message);
}

/** Restarts or removes workers that have been silent for too long (`distributed.scheduler.worker-ttl`). */
export async function checkWorkerTtl(worker_ttl_ms: number, context: RpcContext): Promise<void> {
  const { cluster, events, log } = context;
  const now_ms = context.now_ms();
  const interval_ms = 1000 * (toNumber(heartbeatInterval_s(cluster.workers.size)) ?? 0);
  const ttl_ms = Math.max(worker_ttl_ms, 10 * interval_ms);
  const silent = [...cluster.workers.values()].filter((peer) => now_ms - peer.last_seen_ms > ttl_ms);
  if (silent.length === 0) return;
  for (const peer of silent) {
    const seconds = Math.round((now_ms - peer.last_seen_ms) / 1000);
    const action = peer.nanny === null ? "removing" : "attempting restart";
    log.write("WARNING", `Worker failed to heartbeat for ${seconds}s; ${action}: ${peer.address}`);
  }
  const workers = silent.map((peer) => peer.address);
  events.publish(["scheduler"], WireMap.of({ action: "worker-ttl-timed-out", workers, ttl: ttl_ms / 1000 }));
  const stimulus_id = context.registration.workers.stimulus("check-worker-ttl");
  const options = {
    client: null,
    timeout_s: TIMEOUT_S,
    wait_for_workers: false,
    on_error: "return",
    stimulus_id,
  } as const;
  await restartPeers(silent, options, context);
}

function restartRequest(request: Request, context: RpcContext, on_error: "raise" | "return"): RestartRequest {
  return {
    client: request.optionalString("client"),
    timeout_s: request.optionalNumber("timeout") ?? TIMEOUT_S,
    wait_for_workers: request.boolean("wait_for_workers", true),
    on_error,
    stimulus_id: request.optionalString("stimulus_id") ?? context.registration.workers.stimulus("restart"),
  };
}

function absentText(asked: number, absent: number, removed: number, options: RestartRequest): string {
  const waited =
    `Waited for ${asked} worker(s) to reconnect after restarting but, after ${options.timeout_s}s, ${absent} have ` +
    "not returned. Consider a longer timeout, or `wait_for_workers=False`.";
  if (removed === 0) return waited;
  return (
    `${waited} The ${removed} worker(s) not using Nannies were just shut down instead of restarted (restart is only ` +
    "possible with Nannies). If your deployment system does not automatically re-launch terminated processes, then " +
    "those workers will never come back, and `Client.restart` will always time out."
  );
}

export const RESTART_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["restart", restart],
  ["restart_workers", restartWorkers],
];
