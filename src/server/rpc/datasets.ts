import type { Machine } from "../../base/machine.ts";
import { type KeyBytes, keyText } from "../../protocol/keys.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Cluster } from "../peers/cluster.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import { keyId, type Request, toKey } from "./request.ts";
import { keyList } from "./wire-shapes.ts";

/** As often the asker's being there is looked at, while its stream has not caught up with its request. */
const FLUSH_CHECK_MS = 30_000;
/** Flushes that are remembered: 2024's clients ask for one once for each dataset that they publish in one go. */
const FLUSHED_MAX = 10_000;

interface Dataset {
  readonly name: KeyBytes;
  /** Opaque. */
  readonly data: WireValue;
  readonly keys: readonly KeyBytes[];
}

/**
 * Published datasets: a name, an opaque payload and the keys it stands on, which are wanted in the dataset's own
 * name, so that they outlive the client that published them.
 */
export class Datasets {
  readonly #cluster: Cluster;
  readonly #machine: Machine;
  readonly #by_name = new Map<string, Dataset>();
  readonly #flushed = new Set<string>();
  readonly #awaited = new Map<string, Set<() => void>>();

  constructor(cluster: Cluster, machine: Machine) {
    this.#machine = machine;
    this.#cluster = cluster;
  }

  names(): WireValue[] {
    const sorted = [...this.#by_name.values()].sort((a, b) => (keyText(a.name) < keyText(b.name) ? -1 : 1));
    return keyList(sorted.map((dataset) => dataset.name));
  }

  get(name: KeyBytes): WireValue {
    const dataset = this.#by_name.get(keyId(name));
    return dataset === undefined ? null : WireMap.of({ data: dataset.data, keys: keyList(dataset.keys) });
  }

  put(dataset: Dataset, override: boolean): void {
    const earlier = this.#by_name.get(keyId(dataset.name));
    if (earlier !== undefined && !override) {
      throw new PythonError("KeyError", `Dataset ${keyText(dataset.name)} already exists`);
    }
    // First wanted, then let go: keys of both must not be forgotten in between.
    if (earlier !== undefined) {
      const kept = new Set(dataset.keys.map(keyId));
      this.#release(
        dataset.name,
        earlier.keys.filter((key) => !kept.has(keyId(key))),
      );
    }
    this.#cluster.desireKeys(wantedAs(dataset.name), dataset.keys);
    this.#by_name.set(keyId(dataset.name), dataset);
  }

  delete(name: KeyBytes): void {
    const dataset = this.#by_name.get(keyId(name));
    if (dataset === undefined) return;
    this.#by_name.delete(keyId(name));
    this.#release(name, dataset.keys);
  }

  /** The client's stream has got as far as its `publish_flush_batched_send` of this uid. */
  flush(uid: string): void {
    this.#flushed.add(uid);
    const [oldest] = this.#flushed.size > FLUSHED_MAX ? this.#flushed : [];
    if (oldest !== undefined) this.#flushed.delete(oldest);
    const waiting = this.#awaited.get(uid);
    this.#awaited.delete(uid);
    for (const proceed of waiting ?? []) proceed();
  }

  /**
   * Waits for {@link flush} of the uid: a request that speaks of keys may overtake the stream that makes them.
   * Rejects once the client is gone.
   */
  async flushed(uid: string, client: string | null): Promise<void> {
    if (this.#flushed.has(uid)) return;
    const waiting = this.#awaited.get(uid) ?? new Set();
    this.#awaited.set(uid, waiting);
    await new Promise<void>((resolve, reject) => {
      const proceed = (): void => {
        this.#machine.cancel(timer);
        resolve();
      };
      const timer = this.#machine.every(FLUSH_CHECK_MS, () => {
        if (client === null || this.#cluster.clients.has(client)) return;
        this.#machine.cancel(timer);
        waiting.delete(proceed);
        if (waiting.size === 0) this.#awaited.delete(uid);
        reject(new PythonError("TimeoutError", `client ${client} is gone`));
      });
      timer.unref();
      waiting.add(proceed);
    });
  }

  #release(name: KeyBytes, keys: readonly KeyBytes[]): void {
    if (keys.length > 0) this.#cluster.releaseKeys(wantedAs(name), keys, `unpublish-${keyText(name)}`);
  }
}

/** `publish_put`: 2026 sends lists of all and a flush to wait for, earlier releases one dataset. */
async function publishPut(request: Request, context: RpcContext): Promise<WireValue> {
  const override = request.boolean("override", false);
  if (request.fields.get("names") === undefined) {
    const name = request.key("name");
    context.datasets.put({ name, data: request.value("data"), keys: request.keys("keys") }, override);
    return WireMap.of({ status: "OK", name: keyList([name])[0] ?? null });
  }
  await waitForStream(request, context);
  const data = request.list("data");
  const keys = request.list("keys");
  request.keys("names").forEach((name, i) => {
    const list = keys[i];
    if (!Array.isArray(list)) throw new PythonError("TypeError", "publish_put: a list of keys for each name");
    context.datasets.put({ name, data: data[i] ?? null, keys: list.map(toKey) }, override);
  });
  return null;
}

async function publishDelete(request: Request, context: RpcContext): Promise<WireValue> {
  if (request.fields.get("names") === undefined) {
    context.datasets.delete(request.key("name"));
    return null;
  }
  await waitForStream(request, context);
  for (const name of request.keys("names")) context.datasets.delete(name);
  return null;
}

function publishGet(request: Request, context: RpcContext): WireValue {
  if (request.fields.get("names") === undefined) return context.datasets.get(request.key("name"));
  return request.keys("names").map((name) => context.datasets.get(name));
}

/** 2024: the client itself asks to wait. */
async function publishWaitFlush(request: Request, context: RpcContext): Promise<WireValue> {
  await context.datasets.flushed(request.string("uid"), null);
  return null;
}

async function waitForStream(request: Request, context: RpcContext): Promise<void> {
  await context.datasets.flushed(request.string("uid"), request.string("client"));
}

function wantedAs(name: KeyBytes): string {
  return `published-${keyText(name)}`;
}

export const DATASET_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["publish_put", publishPut],
  ["publish_delete", publishDelete],
  ["publish_get", publishGet],
  ["publish_list", (_request, context) => context.datasets.names()],
  ["publish_wait_flush", publishWaitFlush],
];
