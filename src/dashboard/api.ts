import type { ClusterReader } from "../server/cluster-reader.ts";
import { plainJson } from "../server/rpc/plain-json.ts";
import { jsonReply, plainReply, type Route } from "./http-server.ts";

/** Dask's `/api/v1` (distributed.http.scheduler.api): served only where the configuration names its module. */
export function apiRoutes(reader: ClusterReader): Route[] {
  const { cluster } = reader.context;
  const get = (name: string, answer: Route["answer"]): Route => {
    return { method: "GET", pattern: new RegExp(`^/api/v1${name}$`), answer };
  };
  return [
    get("", () => plainReply(200, "API V1")),
    get("/get_workers", () => {
      const workers = [...cluster.workers.values()].map(({ name, address }) => {
        return { name: plainJson(name), address };
      });
      return jsonReply({ num_workers: workers.length, workers });
    }),
    get("/adaptive_target", () => jsonReply({ workers: reader.desiredWorkers() })),
  ];
}
