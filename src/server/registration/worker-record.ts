import type { Connection } from "../../comm/connection.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { WorkerPeer, WorkerStatus } from "../peers/cluster.ts";
import { releaseOf } from "../peers/release.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue } from "../rpc/wire-shapes.ts";
import { addressHost } from "./addresses.ts";

const STATUSES: readonly string[] = [
  "init",
  "running",
  "paused",
  "closing_gracefully",
  "closing",
  "closed",
] satisfies WorkerStatus[];

/** The status of that name, or the sender's ValueError. */
export function workerStatus(name: string): WorkerStatus {
  if (!STATUSES.includes(name)) throw new PythonError("ValueError", `unknown worker status ${name}`);
  return name as WorkerStatus;
}

/** More threads than that is a mistake or an attack: tables grow with it. */
const NTHREADS_MAX = 1_000_000;

/** A worker as its register-worker describes it. Throws PythonError for fields that cannot be. */
export function workerPeer(
  request: Request,
  place: { id: number; address: string; stream: Connection; now_ms: number },
): WorkerPeer {
  const nthreads = request.optionalNumber("nthreads") ?? 0;
  if (!Number.isInteger(nthreads) || nthreads < 0 || nthreads > NTHREADS_MAX) {
    throw new PythonError("ValueError", `a worker cannot have ${nthreads} threads`);
  }
  const now_s = request.optionalNumber("now");
  return {
    kind: "worker",
    id: place.id,
    address: place.address,
    name: request.value("name") ?? place.address,
    nthreads,
    memory_limit_bytes: request.optionalNumber("memory_limit") ?? 0,
    release: releaseOf("worker", request.value("versions"), request.fields),
    server_id: request.optionalString("server_id") ?? place.address,
    pid: request.optionalNumber("pid") ?? 0,
    services: request.value("services") ?? new WireMap(),
    local_directory: request.optionalString("local_directory") ?? "",
    nanny: request.optionalString("nanny"),
    extra: optionalMap(request.value("extra")),
    versions: request.value("versions"),
    stream: place.stream,
    status: workerStatus(request.optionalString("status") ?? "init"),
    resources: numbersOf(request.value("resources")),
    metrics: optionalMap(request.value("metrics")),
    executing: null,
    last_seen_ms: place.now_ms,
    time_delay_s: now_s === null ? 0 : place.now_ms / 1000 - now_s,
  };
}

/** What `identity` says of a worker (Dask's `WorkerState.identity`). */
export function workerIdentity(peer: WorkerPeer, parts: "all" | "lasting" = "all"): WireMap {
  const identity = WireMap.of({
    type: "Worker",
    id: peer.name,
    host: addressHost(peer.address),
    resources: peer.resources,
    local_directory: peer.local_directory,
    name: peer.name,
    nthreads: peer.nthreads,
    memory_limit: peer.memory_limit_bytes,
  });
  if (parts === "all") identity.set("last_seen", floatValue(peer.last_seen_ms / 1000));
  identity.set("services", peer.services);
  if (parts === "all") identity.set("metrics", peer.metrics);
  identity.set("status", peer.status).set("nanny", peer.nanny);
  for (let i = 0; i < peer.extra.size; i++) {
    const name = peer.extra.keys[i];
    if (typeof name === "string") identity.set(name, peer.extra.values[i] ?? null);
  }
  return identity;
}

/** The entries of a dict that are numbers under a name: resources. */
export function numbersOf(value: WireValue): WireMap {
  const numbers = new WireMap();
  if (!(value instanceof WireMap)) return numbers;
  for (let i = 0; i < value.size; i++) {
    const name = value.keys[i];
    const amount = toNumber(value.values[i]);
    if (typeof name === "string" && amount !== undefined) numbers.set(name, value.values[i] ?? null);
  }
  return numbers;
}

function optionalMap(value: WireValue): WireMap {
  return value instanceof WireMap ? value : new WireMap();
}
