import { keyBytes } from "../../protocol/keys.ts";
import { packValue, unpackValue } from "../../protocol/msgpack.ts";
import type { WireValue } from "../../protocol/values.ts";
import { PythonError } from "../rpc/python-error.ts";
import { keyId } from "../rpc/request.ts";

/** `[[partition, worker], …]` as the unpacker wrote it: pairs of a partition's id, as msgpack, and an address. */
function readOutputs(worker_for: Uint8Array): (readonly [partition: WireValue, worker: string])[] {
  const pairs = unpackValue(worker_for);
  if (!Array.isArray(pairs)) throw new Error("outputs that are not a list");
  return pairs.map((pair) => {
    const [partition, worker] = Array.isArray(pair) ? pair : [];
    if (partition === undefined || typeof worker !== "string")
      throw new Error("an output that is not a pair");
    return [partition, worker];
  });
}

/** The workers that have outputs. */
export function workersOf(worker_for: Uint8Array): Set<string> {
  return new Set(readOutputs(worker_for).map(([, worker]) => worker));
}

/**
 * What shuffles with common output tasks have given to workers already; null for none. Throws PythonError where they
 * disagree, so that no worker could hold the parts of all of them.
 */
export function mergeOutputs(existing: readonly Uint8Array[], id: string): Uint8Array | null {
  if (existing.length <= 1) return existing[0] ?? null;
  const merged = new Map<string, readonly [WireValue, string]>();
  for (const worker_for of existing)
    for (const pair of readOutputs(worker_for)) {
      const name = keyId(keyBytes(pair[0]));
      const known = merged.get(name);
      if (known !== undefined && known[1] !== pair[1])
        throw new PythonError(
          "RuntimeError",
          `Failed to initialize shuffle ${id}: the shuffles that it shares outputs with have an output on two ` +
            `workers, ${known[1]} and ${pair[1]}`,
        );
      merged.set(name, pair);
    }
  return packValue([...merged.values()].map((pair) => [...pair]));
}
