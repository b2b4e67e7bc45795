import { NONE } from "../../base/ids.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { toNumber, WireMap } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";

/** Tells a policy what a worker's heartbeat brought: how long its tasks run already, how fast its transfers were. */
export function tellMeasurements(peer: WorkerPeer, scheduler: Scheduler): void {
  const bandwidth = peer.metrics.get("bandwidth");
  if (bandwidth instanceof WireMap) scheduler.bandwidthMeasured(toNumber(bandwidth.get("total")) ?? 0);
  const { executing } = peer;
  if (executing === null) return;
  for (const [i, value] of executing.keys.entries()) {
    const key = packValue(value);
    const task = scheduler.books.keys.findKey(key);
    const since_s = toNumber(executing.values[i]) ?? 0;
    if (task !== NONE && since_s > 0) scheduler.taskRunning(task, since_s);
  }
}
