import { WireFloat, WireMap, type WireValue } from "../../src/protocol/values.ts";
import type { ReleaseTraits } from "./release.ts";
import { RESULT_NBYTES } from "./report-writer.ts";

/** What a worker says of itself. */
export interface WorkerIdentity {
  /** The address that its listener has; also its name, as in the paper. */
  readonly address: string;
  readonly server_id: string;
  /** What `versions` claims: see `WorkerSession`. */
  readonly versions: WireMap;
}

/** What a worker's metrics are about. */
export interface WorkerLoad {
  readonly unix_s: number;
  /** Keys held. */
  readonly keys: number;
  readonly rss_bytes: number;
}

/** Real workers report the size of the machine or of a container; a zero worker stores nothing. */
const MEMORY_LIMIT_BYTES = 2 ** 30;
const BANDWIDTH_BYTES_PER_S = 100_000_000;
const TASK_STATES_2022 = [
  ...["executing", "long-running", "memory", "ready", "constrained"],
  ...["waiting", "fetch", "missing", "flight", "other"],
];

/** `register-worker`, with the fields of the release's real worker. */
export function registerWorker(traits: ReleaseTraits, identity: WorkerIdentity, load: WorkerLoad): WireMap {
  const { unix_s } = load;
  const message = WireMap.of({
    op: "register-worker",
    reply: false,
    address: identity.address,
    status: "init",
  });
  if (traits.is_2022) message.set("keys", []);
  message.set("nthreads", 1).set("name", identity.address);
  if (traits.is_2022) message.set("nbytes", WireMap.of({})).set("types", WireMap.of({}));
  return message
    .set("now", float(unix_s))
    .set("resources", WireMap.of({}))
    .set("memory_limit", MEMORY_LIMIT_BYTES)
    .set("local_directory", "")
    .set("services", WireMap.of({}))
    .set("nanny", null)
    .set("pid", process.pid)
    .set("versions", identity.versions)
    .set("metrics", workerMetrics(traits, load))
    .set("extra", WireMap.of({}))
    .set("stimulus_id", `worker-connect-${unix_s}`)
    .set("server_id", identity.server_id);
}

/** `heartbeat_worker`. Nothing is ever executing: tasks end in the turn that brings them. */
export function heartbeat(traits: ReleaseTraits, identity: WorkerIdentity, load: WorkerLoad): WireMap {
  const extensions = traits.is_2022
    ? WireMap.of({})
    : WireMap.of({ spans: WireMap.of({}), shuffle: WireMap.of({}) });
  return WireMap.of({
    op: "heartbeat_worker",
    address: identity.address,
    now: float(load.unix_s),
    metrics: workerMetrics(traits, load),
    executing: WireMap.of({}),
    extensions,
    reply: true,
  });
}

function workerMetrics(traits: ReleaseTraits, load: WorkerLoad): WireMap {
  const metrics = WireMap.of({
    task_counts: taskCounts(traits, load.keys),
    bandwidth: WireMap.of({ total: BANDWIDTH_BYTES_PER_S, workers: WireMap.of({}), types: WireMap.of({}) }),
  });
  if (!traits.is_2022) metrics.set("digests_total_since_heartbeat", WireMap.of({}));
  return metrics
    .set("managed_bytes", load.keys * RESULT_NBYTES)
    .set("spilled_bytes", WireMap.of({ memory: 0, disk: 0 }))
    .set("transfer", noTransfers())
    .set("event_loop_interval", 0.02)
    .set("cpu", float(0))
    .set("memory", load.rss_bytes)
    .set("time", float(load.unix_s))
    .set("host_net_io", WireMap.of({ read_bps: float(0), write_bps: float(0) }))
    .set("host_disk_io", WireMap.of({ read_bps: float(0), write_bps: float(0) }))
    .set("num_fds", 0);
}

/** 2022.12 lists every state; later releases only those that occur. */
function taskCounts(traits: ReleaseTraits, keys: number): WireMap {
  if (!traits.is_2022) return keys > 0 ? WireMap.of({ memory: keys }) : WireMap.of({});
  const counts = WireMap.from(TASK_STATES_2022.map((state) => [state, 0] as const));
  return counts.set("memory", keys);
}

function noTransfers(): WireMap {
  const fields = ["bytes", "count", "count_total"];
  const names = ["incoming", "outgoing"].flatMap((way) => fields.map((field) => `${way}_${field}`));
  return WireMap.from(names.map((name) => [name, 0] as const));
}

function float(value: number): WireValue {
  return new WireFloat(value);
}
