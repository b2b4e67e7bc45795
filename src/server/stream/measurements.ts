import { NONE } from "../../base/ids.ts";
import type { KeyTable } from "../../core/key-table.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { toNumber, WireMap } from "../../protocol/values.ts";
import type { PolicyWatch } from "../../schedulers/policy.ts";
import type { WorkerPeer } from "../peers/cluster.ts";

/** Tells a policy what a worker's heartbeat brought: how long its tasks run already, how fast its transfers were. */
export function tellMeasurements(peer: WorkerPeer, keys: KeyTable, watch: PolicyWatch): void {
  const bandwidth = peer.metrics.get("bandwidth");
  if (bandwidth instanceof WireMap) watch.bandwidthMeasured(toNumber(bandwidth.get("total")) ?? 0);
  const { executing } = peer;
  if (executing === null) return;
  for (const [i, value] of executing.keys.entries()) {
    const key = packValue(value);
    const task = keys.findKey(key);
    const since_s = toNumber(executing.values[i]) ?? 0;
    if (task !== NONE && since_s > 0) watch.taskRunning(task, since_s);
  }
}
