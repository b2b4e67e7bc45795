import { listOf } from "../../base/grouped.ts";
import { type KeyBytes, keyText } from "../../protocol/keys.ts";
import { RawValue, WireMap, type WireValue } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import { keyId, type Request, toKey } from "./request.ts";
import { keyList, keyMap } from "./wire-shapes.ts";
import { UnreachableError } from "./worker-pool.ts";

/** A worker that fails to take a copy is asked again so often, in later rounds; Dask has no bound here. */
const ROUNDS_MAX = 64;

interface Plan {
  /** Copies wanted of each key, on the workers below. */
  readonly n: number;
  readonly workers: () => readonly WorkerPeer[];
  /** Each holder serves at most so many new ones in one round: copies spread as a tree. */
  readonly branching_factor: number;
  /** Also drop copies beyond `n`. */
  readonly delete: boolean;
}

/** `replicate {keys, n?, workers?, branching_factor?, delete?}`: that many copies of each key. */
async function replicate(request: Request, context: RpcContext): Promise<WireValue> {
  const keys = request.keys("keys");
  const asked = request.optionalStrings("workers");
  const workers = (): WorkerPeer[] =>
    listedWorkers(asked, context).filter((peer) => peer.status === "running");
  const branching_factor = request.optionalNumber("branching_factor") ?? 2;
  if (!(branching_factor > 0)) throw new PythonError("ValueError", "branching_factor must be positive");
  const n = request.optionalNumber("n") ?? workers().length;
  if (Math.min(n, workers().length) <= 0)
    throw new PythonError("ValueError", "Can not use replicate to delete data");
  for (const key of keys) {
    if (context.cluster.taskState(key) === null) throw new PythonError("KeyError", keyText(key));
  }
  const missing = keys.filter((key) => (context.cluster.holders(key) ?? []).length === 0);
  if (missing.length > 0) return WireMap.of({ status: "partial-fail", keys: keyList(missing) });
  await replicateKeys(
    keys,
    { n, workers, branching_factor, delete: request.boolean("delete", true) },
    context,
  );
  const event = WireMap.of({
    action: "replicate",
    workers: workers().map((peer) => peer.address),
    "key-count": keys.length,
    "branching-factor": branching_factor,
  });
  context.events.publish(["all"], event);
  return null;
}

/** Makes copies in rounds until each key lies on `n` of the workers. Keys that are forgotten meanwhile drop out. */
export async function replicateKeys(
  keys: readonly KeyBytes[],
  plan: Plan,
  context: RpcContext,
): Promise<void> {
  if (plan.delete) dropExtraCopies(keys, plan, context);
  /** A worker that could not take a key is not asked again: it lost its source, or cannot reach it. */
  const refused = new Set<string>();
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const copies = nextCopies(keys, plan, refused, context);
    if (copies.size === 0) return;
    const rounds = [...copies].map(async ([peer, wanted]) => {
      const failed = await gatherOnWorker(peer, wanted, context);
      for (const key of failed) refused.add(`${peer.address} ${keyId(key)}`);
    });
    await Promise.all(rounds);
  }
}

/** Lets a worker fetch keys from others (`gather` of the worker). Answers the keys that it could not get. */
export async function gatherOnWorker(
  peer: WorkerPeer,
  keys: readonly KeyBytes[],
  context: RpcContext,
): Promise<readonly KeyBytes[]> {
  const { cluster, log } = context;
  const who_has = keyMap(keys.map((key) => [key, cluster.holders(key) ?? []] as const));
  const drops = cluster.followDrops(peer);
  let reply: WireValue;
  try {
    reply = await context.pool.request(peer.address, WireMap.of({ op: "gather", who_has, reply: true }));
  } catch (error) {
    if (!(error instanceof UnreachableError || error instanceof PythonError)) throw error;
    log.write(
      "WARNING",
      `Communication with worker ${peer.address} failed during replication: ${error.message}`,
    );
    return keys;
  } finally {
    drops.end();
  }
  if (peer.status === "closed") return keys;
  const failed = new Set<string>();
  if (reply instanceof WireMap && reply.get("status") === "partial-fail") {
    const listed = reply.get("keys");
    if (Array.isArray(listed)) for (const key of listed) failed.add(keyId(toKey(key)));
    log.write("WARNING", `Worker ${peer.address} failed to acquire ${failed.size} keys`);
  } else if (!(reply instanceof WireMap) || reply.get("status") !== "OK") {
    return keys;
  }
  // One that was forgotten or lost meanwhile is to be dropped again. One that the peer reported on its stream and was told to drop
  // since is none any more, whatever this reply says.
  const copied = keys.filter((key) => !failed.has(keyId(key)) && !drops.keys.has(keyId(key)));
  addKeys(peer, copied, context.registration.workers.stimulus("replicate"), context);
  return keys.filter((key) => failed.has(keyId(key)));
}

function nextCopies(
  keys: readonly KeyBytes[],
  plan: Plan,
  refused: ReadonlySet<string>,
  context: RpcContext,
): Map<WorkerPeer, KeyBytes[]> {
  const workers = plan.workers().filter((peer) => peer.status === "running");
  const copies = new Map<WorkerPeer, KeyBytes[]>();
  keys.forEach((key, turn) => {
    const holders = new Set(context.cluster.holders(key) ?? []);
    if (holders.size === 0) return;
    const on_workers = workers.filter((peer) => holders.has(peer.address)).length;
    const candidates = workers.filter(
      (peer) => !holders.has(peer.address) && !refused.has(`${peer.address} ${keyId(key)}`),
    );
    const wanted = Math.min(plan.n - on_workers, plan.branching_factor * holders.size, candidates.length);
    for (let i = 0; i < wanted; i++) {
      // From another place for each key, so that the copies of many keys are shared out.
      const peer = candidates[(turn + i) % candidates.length];
      if (peer !== undefined) listOf(copies, peer).push(key);
    }
  });
  return copies;
}

function dropExtraCopies(keys: readonly KeyBytes[], plan: Plan, context: RpcContext): void {
  const { cluster } = context;
  const dropped = new Map<WorkerPeer, KeyBytes[]>();
  for (const key of keys) {
    const holders = new Set(cluster.holders(key) ?? []);
    const here = plan.workers().filter((peer) => holders.has(peer.address));
    for (const peer of here.slice(plan.n)) {
      if (cluster.dropReplica(key, peer)) listOf(dropped, peer).push(key);
    }
  }
  const stimulus_id = context.registration.workers.stimulus("replicate");
  for (const [peer, list] of dropped) {
    cluster.sendToWorker(peer, WireMap.of({ op: "remove-replicas", keys: keyList(list), stimulus_id }));
  }
}

/** Workers by address, or all on a host (Dask's `workers_list`); null: all. */
function listedWorkers(asked: readonly string[] | null, context: RpcContext): WorkerPeer[] {
  const all = [...context.cluster.workers.values()];
  if (asked === null) return all;
  const found = new Set<WorkerPeer>();
  for (const name of asked) {
    const peers = name.includes(":")
      ? all.filter((peer) => peer.address === context.registration.workers.addresses.coerce(name))
      : all.filter((peer) => peer.address.includes(name) || peer.name === name);
    for (const peer of peers) found.add(peer);
  }
  return [...found];
}

/** `add_keys {worker, keys}`: a worker tells what it holds; copies of what nobody knows are dropped there. */
export function addKeys(
  peer: WorkerPeer,
  keys: readonly KeyBytes[],
  stimulus_id: string,
  context: RpcContext,
): void {
  const redundant = keys.filter((key) => !context.cluster.addReplica(key, peer));
  if (redundant.length === 0) return;
  const message = WireMap.of({
    op: "remove-replicas",
    keys: redundant.map((key) => new RawValue(key)),
    stimulus_id,
  });
  context.cluster.sendToWorker(peer, message);
}

function addKeysRequest(request: Request, context: RpcContext): WireValue {
  const address = context.registration.workers.addresses.coerce(request.value("worker"));
  const peer = context.cluster.workers.get(address);
  if (peer === undefined) return "not found";
  const stimulus_id =
    request.optionalString("stimulus_id") ?? context.registration.workers.stimulus("redundant-replicas");
  addKeys(peer, request.optionalKeys("keys") ?? [], stimulus_id, context);
  return "OK";
}

export const REPLICATE_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["replicate", replicate],
  ["add_keys", addKeysRequest],
];
