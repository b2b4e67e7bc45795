import { arch, endianness, platform, release } from "node:os";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import { workerIdentity } from "../registration/worker-record.ts";
import type { Handler, RpcContext } from "./context.ts";
import type { Request } from "./request.ts";
import { floatValue } from "./wire-shapes.ts";

/** `identity {n_workers?}`: clients poll it every two seconds; -1 or absent: all workers, else the first so many. */
function identity(request: Request, context: RpcContext): WireValue {
  const n_workers = request.optionalNumber("n_workers") ?? -1;
  return identityMap(context, n_workers < 0 ? Number.POSITIVE_INFINITY : n_workers, "all");
}

/** What the server says of itself and of up to `workers_max` workers, in the order of their addresses. */
export function identityMap(context: RpcContext, workers_max: number, parts: "all" | "lasting"): WireMap {
  const { cluster, server } = context;
  let total_threads = 0;
  let total_memory_bytes = 0;
  for (const peer of cluster.workers.values()) {
    total_threads += peer.nthreads;
    total_memory_bytes += peer.memory_limit_bytes;
  }
  const workers = new WireMap();
  if (workers_max > 0) {
    for (const peer of sortedWorkers(context).slice(0, workers_max)) {
      workers.set(peer.address, workerIdentity(peer, parts));
    }
  }
  return WireMap.of({
    type: "Scheduler",
    id: server.id,
    address: server.address,
    services: server.services,
    started: floatValue(server.started_s),
    n_workers: cluster.workers.size,
    total_threads,
    total_memory: total_memory_bytes,
    workers,
  });
}

/** Dask keeps its workers sorted by address, and shows them so. */
export function sortedWorkers(context: RpcContext): WorkerPeer[] {
  return [...context.cluster.workers.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
}

/**
 * `versions {packages?}`: of the Python that opens clients' graphs, since that is what must fit theirs. What runs instead
 * of Dask's scheduler is named beside them.
 */
function versions(request: Request, context: RpcContext): Promise<WireValue> {
  return versionsMap(request.optionalStrings("packages") ?? [], context);
}

/** What runs here: the packages that Dask compares, and those asked for. */
export async function versionsMap(asked: readonly string[], context: RpcContext): Promise<WireMap> {
  const known = await context.pythonPackages();
  const packages = WireMap.of({ python: known.get("python") ?? null });
  for (const name of [...COMPARED_PACKAGES, ...asked]) packages.set(name, known.get(name) ?? null);
  packages.set("rsds", context.server.version).set("node", process.versions.node);
  const { LANG, LC_ALL } = process.env;
  const host = WireMap.of({
    python: known.get("python") ?? null,
    "python-bits": 64,
    OS: platform() === "linux" ? "Linux" : platform(),
    "OS-release": release(),
    machine: arch() === "x64" ? "x86_64" : arch(),
    processor: "",
    byteorder: endianness() === "LE" ? "little" : "big",
    LC_ALL: LC_ALL ?? "None",
    LANG: LANG ?? "None",
  });
  return WireMap.of({ host, packages });
}

/** distributed.versions: required_packages and optional_packages. */
const COMPARED_PACKAGES = [
  "dask",
  "distributed",
  "msgpack",
  "cloudpickle",
  "tornado",
  "toolz",
  "numpy",
  "pandas",
  "lz4",
];

export const IDENTITY_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["identity", identity],
  ["versions", versions],
  ["echo", (request) => request.value("data")],
];
