import { listOf } from "../../base/grouped.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import { RawValue, toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { OutsideData, WorkerPeer } from "../peers/cluster.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import { replicateKeys } from "./replicate.ts";
import { keyId, type Request, toKey } from "./request.ts";
import { keyMap } from "./wire-shapes.ts";

const WORKERS_POLL_MS = 100;
/** Dask's default for `timeout`. */
const TIMEOUT_S = 2;

/** Where the next scatter goes on among the sorted workers, so that many small ones are shared out too. */
const round_robin = new WeakMap<RpcContext, number>();

/**
 * `scatter {data, workers, client, broadcast?, timeout?}`: deals values out to running workers by `update_data`, in
 * turns over their sorted addresses, makes the client want them, and answers their keys.
 */
async function scatter(request: Request, context: RpcContext): Promise<WireValue> {
  const data = request.map("data");
  const client = request.optionalString("client");
  const workers = await runningWorkers(request, context);
  const keys = data.keys.map(toKey);
  await dealOut(keys, data.values, workers, client, context);
  await copyFurther(request, keys, workers, context);
  const event = WireMap.of({ action: "scatter", client, count: keys.length });
  context.events.publish(client === null ? ["all"] : [client, "all"], event);
  return data.keys;
}

/** Brings the values to the workers and into the books; if not all of them get there, none stays. */
async function dealOut(
  keys: readonly KeyBytes[],
  values: readonly WireValue[],
  workers: readonly WorkerPeer[],
  client: string | null,
  context: RpcContext,
): Promise<void> {
  const { cluster } = context;
  const ids = keys.map(keyId);
  for (const id of ids) cluster.scattering.set(id, (cluster.scattering.get(id) ?? 0) + 1);
  const holders = new Map<string, string[]>();
  try {
    const sizes = await deal(keys, values, workers, holders, context);
    const entries = keys.map((key, i): OutsideData => {
      const id = ids[i]!;
      return { key, holders: registered(holders.get(id) ?? [], context), nbytes: sizes.get(id) ?? -1 };
    });
    const lost = entries.filter((entry) => entry.holders.length === 0).length;
    if (lost > 0) throw new PythonError("OSError", `the workers that got ${lost} of the values are gone`);
    cluster.registerData(entries, present(client, context));
  } catch (error) {
    takeBack(keys, holders, context);
    throw error;
  } finally {
    for (const id of ids) {
      const others = cluster.scattering.get(id)! - 1;
      if (others > 0) cluster.scattering.set(id, others);
      else cluster.scattering.delete(id);
    }
  }
}

/** Workers that got some of the values before it all failed shall not keep what nobody knows of. */
function takeBack(
  keys: readonly KeyBytes[],
  holders: ReadonlyMap<string, readonly string[]>,
  context: RpcContext,
): void {
  const { cluster } = context;
  const stimulus_id = context.registration.workers.stimulus("scatter-failed");
  for (const key of keys)
    for (const address of holders.get(keyId(key)) ?? []) {
      const peer = cluster.workers.get(address);
      if (peer === undefined || cluster.holders(key)?.includes(address) === true) continue;
      const message = WireMap.of({ op: "free-keys", keys: [new RawValue(key)], stimulus_id });
      cluster.sendToWorker(peer, message);
    }
}

/** `update_data {who_has, nbytes, client?}`: a client put values into workers itself. Also a stream message. */
export function updateData(fields: Request, context: RpcContext): WireValue {
  const who_has = fields.map("who_has");
  const sizes = new Map<string, number>();
  const nbytes = fields.map("nbytes");
  for (let i = 0; i < nbytes.size; i++) {
    sizes.set(keyId(toKey(nbytes.keys[i] ?? null)), toNumber(nbytes.values[i]) ?? -1);
  }
  const entries: OutsideData[] = [];
  for (let i = 0; i < who_has.size; i++) {
    const key = toKey(who_has.keys[i] ?? null);
    const addresses = who_has.values[i];
    if (!Array.isArray(addresses)) throw new PythonError("TypeError", "who_has must map keys to lists");
    const coerced = addresses.map((address) => context.registration.workers.addresses.coerce(address));
    const holders = registered(coerced, context);
    if (holders.length === 0) throw new PythonError("KeyError", coerced[0] ?? "no worker");
    entries.push({ key, holders, nbytes: sizes.get(keyId(key)) ?? -1 });
  }
  context.cluster.registerData(entries, present(fields.optionalString("client"), context));
  return null;
}

/** Running workers among the asked-for ones, or among all; waits for the first of them. */
async function runningWorkers(request: Request, context: RpcContext): Promise<WorkerPeer[]> {
  const timeout_ms = (request.optionalNumber("timeout") ?? TIMEOUT_S) * 1000;
  const deadline_ms = context.machine.now_ms() + timeout_ms;
  const asked = request.optionalList("workers");
  for (;;) {
    const workers = asked === null ? [...context.cluster.workers.values()] : namedWorkers(asked, context);
    const running = workers.filter((peer) => peer.status === "running");
    if (running.length > 0) return running.sort((a, b) => (a.address < b.address ? -1 : 1));
    if (context.machine.now_ms() > deadline_ms)
      throw new PythonError("TimeoutError", "No valid workers found");
    await context.machine.sleep(WORKERS_POLL_MS);
  }
}

/** The registered workers of these names or addresses; KeyError for one that is not. */
function namedWorkers(names: readonly WireValue[], context: RpcContext): WorkerPeer[] {
  const peers = new Set<WorkerPeer>();
  for (const name of names) {
    const address = context.registration.workers.addresses.coerce(name);
    const peer = context.cluster.workers.get(address);
    if (peer === undefined) throw new PythonError("KeyError", address);
    peers.add(peer);
  }
  return [...peers];
}

/** Sends each worker its share in one `update_data`; fills in who holds what, answers the sizes that they report. */
async function deal(
  keys: readonly KeyBytes[],
  values: readonly WireValue[],
  workers: readonly WorkerPeer[],
  holders: Map<string, string[]>,
  context: RpcContext,
): Promise<Map<string, number>> {
  const shares = new Map<string, [KeyBytes, WireValue][]>();
  const offset = round_robin.get(context) ?? 0;
  round_robin.set(context, offset + keys.length);
  keys.forEach((key, i) => {
    const address = workers[(offset + i) % workers.length]?.address ?? "";
    holders.set(keyId(key), [address]);
    listOf(shares, address).push([key, values[i] ?? null]);
  });
  const sizes = new Map<string, number>();
  const sent = [...shares].map(async ([address, share]) => {
    const message = WireMap.of({ op: "update_data", data: keyMap(share), reply: true });
    // Else it would report keys that nobody here knows yet, and be told to drop them.
    if (context.cluster.workers.get(address)?.release === "2022.12") message.set("report", false);
    const reply = await context.pool.request(address, message);
    const nbytes = reply instanceof WireMap ? reply.get("nbytes") : null;
    if (!(nbytes instanceof WireMap)) throw new PythonError("ValueError", `${address} did not take the data`);
    for (let i = 0; i < nbytes.size; i++) {
      sizes.set(keyId(toKey(nbytes.keys[i] ?? null)), toNumber(nbytes.values[i]) ?? -1);
    }
  });
  await Promise.all(sent);
  return sizes;
}

/** `broadcast`: true: to all of the workers; a number: to so many. */
async function copyFurther(
  request: Request,
  keys: readonly KeyBytes[],
  workers: readonly WorkerPeer[],
  context: RpcContext,
): Promise<void> {
  const broadcast = request.value("broadcast");
  if (broadcast === null || broadcast === false || broadcast === 0) return;
  const n = broadcast === true ? workers.length : (request.optionalNumber("broadcast") ?? 1);
  await replicateKeys(keys, { n, workers: () => workers, branching_factor: 2, delete: true }, context);
}

/** A client that has left while its data was on the way wants nothing: nobody would ever take that want back. */
function present(client: string | null, context: RpcContext): string | null {
  return client !== null && context.cluster.clients.has(client) ? client : null;
}

function registered(addresses: readonly string[], context: RpcContext): string[] {
  return addresses.filter((address) => context.cluster.workers.has(address));
}

export const SCATTER_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["scatter", scatter],
  ["update_data", updateData],
];
