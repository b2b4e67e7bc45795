import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { PAYLOAD_PICKLED } from "../../src/core/payloads.ts";
import { Scheduler } from "../../src/core/scheduler.ts";
import { packValue } from "../../src/protocol/msgpack.ts";
import { RandomPolicy } from "../../src/schedulers/random.ts";
import type { Workload } from "../workloads/index.ts";
import { DirectFleet } from "./direct-fleet.ts";

/**
 * What the scheduler's tables take for each task of a workload, beside key and payload bytes: the growth of heap
 * and external memory after a forced collection, with all tasks known and none run. A scheduler of its own, so that
 * nothing of the timed runs is in it.
 */
export function memoryBytesPerTask(workload: Workload): number {
  const collect = garbageCollector();
  const fleet = new DirectFleet();
  const scheduler = new Scheduler({ policy: new RandomPolicy(1), outbox: fleet, key_seed: 1 });
  fleet.attach(scheduler);
  const client = scheduler.clientJoined("memory");
  const before = used(collect);
  const builder = scheduler.graph({ client, buffer: NO_BYTES, generation: 1, user_priority: 0 });
  const ids = new Int32Array(workload.tasks);
  for (let i = 0; i < workload.tasks; i++) {
    const key = packValue(workload.key(i));
    ids[i] = builder.internKey(key);
  }
  const { dependency_offsets, dependency_ids } = workload;
  for (let i = 0; i < workload.tasks; i++) {
    const start = dependency_offsets[i]!;
    const own = Int32Array.from(dependency_ids.subarray(start, dependency_offsets[i + 1]!), (id) => ids[id]!);
    builder.define(ids[i]!, NO_PAYLOAD, own, 0, own.length, i);
  }
  builder.commit(workload.wanted.map((id) => ids[id]!));
  const after = used(collect);
  const bytes = after - before - scheduler.books.keys.key_bytes - ids.byteLength;
  return Math.max(0, bytes / workload.tasks);
}

function used(collect: () => void): number {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Node hides the collector unless it was started with a flag; the flag can be set late for a new context. */
export function garbageCollector(): () => void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return collect;
}

const NO_BYTES = new Uint8Array(0);
const NO_PAYLOAD = { kind: PAYLOAD_PICKLED, offset: 0, header_bytes: 0, body_bytes: -1 };
