import { listOf } from "../../base/grouped.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import { type KeyId, keyId, keyTexts, type Request, toKey } from "./request.ts";
import { keyList, keyMap } from "./wire-shapes.ts";
import { ask, UnreachableError, type WorkerPool } from "./worker-pool.ts";

/** A busy worker is asked again after so long; Dask waits 150 ms each time. */
const BUSY_WAIT_MS_FIRST = 50;
const BUSY_WAIT_MS_MAX = 1_000;

/** What a gather brings together. */
interface Gathered {
  /** In the order in which they came. */
  readonly data: (readonly [KeyBytes, WireValue])[];
  readonly failed: KeyBytes[];
}

/** `gather {keys}`: values of keys, fetched from their holders and passed on unopened. */
async function gather(request: Request, context: RpcContext): Promise<WireValue> {
  const keys = request.keys("keys");
  const { data, failed } = await gatherKeys(keys, request.value("serializers"), context);
  context.events.publish(["all"], WireMap.of({ action: "gather", count: keys.length }));
  if (failed.length === 0) return WireMap.of({ status: "OK", data: keyMap(data) });
  context.log.writeLimited("ERROR", "gather", `Couldn't gather keys: ${keyTexts(failed)}`);
  // 2022 answers a dict here, of which its client only takes the keys: a list serves all releases.
  return WireMap.of({ status: "error", keys: keyList(failed) });
}

/**
 * Fetches each key from one of its holders, all workers at once. A holder that cannot be reached or no longer has
 * the key is not asked for it again; who holds what is looked up anew while keys are missing, for tasks may have
 * moved or been computed again in between.
 */
async function gatherKeys(
  keys: readonly KeyBytes[],
  serializers: WireValue,
  context: RpcContext,
): Promise<Gathered> {
  const missing = new Map<KeyId, KeyBytes>(keys.map((key) => [keyId(key), key]));
  const gathered: Gathered = { data: [], failed: [] };
  const excluded = new Excluded();
  let busy_wait_ms = BUSY_WAIT_MS_FIRST;
  while (missing.size > 0) {
    const { requests, busy } = plan(missing, excluded, gathered.failed, context);
    if (requests.size === 0 && busy) {
      await context.machine.sleep(busy_wait_ms);
      busy_wait_ms = Math.min(2 * busy_wait_ms, BUSY_WAIT_MS_MAX);
      excluded.busy.clear();
      continue;
    }
    const fetched = [...requests].map(async ([address, wanted]) => {
      await fetchFrom(address, wanted, { missing, gathered, excluded, serializers, context });
    });
    await Promise.all(fetched);
  }
  return gathered;
}

/** Holders that are not to be asked: at all, for now, or for one key. */
class Excluded {
  readonly workers = new Set<string>();
  readonly busy = new Set<string>();
  readonly #keys = new Map<KeyId, Set<string>>();

  excludeKey(id: KeyId, address: string): void {
    const addresses = this.#keys.get(id);
    if (addresses === undefined) this.#keys.set(id, new Set([address]));
    else addresses.add(address);
  }

  has(id: KeyId, address: string): boolean {
    return this.workers.has(address) || this.#keys.get(id)?.has(address) === true;
  }
}

/** Whom to ask for what; keys that nobody has left move from `missing` to `failed`. */
function plan(
  missing: Map<KeyId, KeyBytes>,
  excluded: Excluded,
  failed: KeyBytes[],
  context: RpcContext,
): { requests: Map<string, KeyBytes[]>; busy: boolean } {
  const requests = new Map<string, KeyBytes[]>();
  let busy = false;
  let turn = 0;
  for (const [id, key] of missing) {
    const holders = (context.cluster.holders(key) ?? []).filter((address) => !excluded.has(id, address));
    const ready = holders.filter((address) => !excluded.busy.has(address));
    if (holders.length === 0) {
      missing.delete(id);
      failed.push(key);
    } else if (ready.length === 0) {
      busy = true;
    } else {
      // By turns among the holders: keys that lie on several are shared out.
      const address = ready[turn++ % ready.length] ?? "";
      listOf(requests, address).push(key);
    }
  }
  return { requests, busy };
}

interface Progress {
  readonly missing: Map<KeyId, KeyBytes>;
  readonly gathered: Gathered;
  readonly excluded: Excluded;
  /** What the asker can read, or null: the workers' own choice. */
  readonly serializers: WireValue;
  readonly context: RpcContext;
}

async function fetchFrom(address: string, keys: readonly KeyBytes[], progress: Progress): Promise<void> {
  const { missing, gathered, excluded, serializers, context } = progress;
  let reply: WireMap;
  try {
    reply = await getData(context.pool, address, keys, serializers);
  } catch (error) {
    if (error instanceof UnreachableError) {
      excluded.workers.add(address);
      return;
    }
    if (!(error instanceof PythonError || error instanceof ProtocolError)) throw error;
    // The worker has the data and cannot send it (it fails to serialize): another try would fail alike.
    context.log.writeLimited(
      "ERROR",
      `gather ${address}`,
      `Cannot collect from ${address}: ${error.message}`,
    );
    for (const key of keys) {
      missing.delete(keyId(key));
      gathered.failed.push(key);
    }
    return;
  }
  if (reply.get("status") === "busy") {
    excluded.busy.add(address);
    return;
  }
  const data = reply.get("data");
  if (data instanceof WireMap) {
    for (let i = 0; i < data.size; i++) {
      const key = toKey(data.keys[i] ?? null);
      if (missing.delete(keyId(key))) gathered.data.push([key, data.values[i] ?? null]);
    }
  }
  for (const key of keys) if (missing.has(keyId(key))) excluded.excludeKey(keyId(key), address);
}

/** `get_data` of a worker: it wants to be told "OK" once its answer has arrived in full. */
function getData(
  pool: WorkerPool,
  address: string,
  keys: readonly KeyBytes[],
  serializers: WireValue,
): Promise<WireMap> {
  return pool.use(address, async (channel) => {
    const message = WireMap.of({ op: "get_data", keys: keyList(keys), who: null, reply: true });
    if (serializers !== null) message.set("serializers", serializers);
    const reply = await ask(channel, message);
    if (!(reply instanceof WireMap))
      throw new ProtocolError("BAD_REPLY", "get_data was not answered with a dict");
    if (reply.get("status") === "OK") channel.write("OK");
    return reply;
  });
}

export const GATHER_HANDLERS: readonly (readonly [string, Handler])[] = [["gather", gather]];
