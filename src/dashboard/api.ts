import type { ClusterReader } from "../server/cluster-reader.ts";
import { plainJson } from "../server/rpc/plain-json.ts";
import { PythonError } from "../server/rpc/python-error.ts";
import { UnreachableError } from "../server/rpc/worker-pool.ts";
import { jsonReply, plainReply, type Reply, type Route } from "./http-server.ts";

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
    get("/adaptive_target", () =>
      answerOf(async () => ({
        workers: plainJson(await reader.request("adaptive_target", {}, ANSWER_MS_MAX)),
      })),
    ),
    {
      method: "POST",
      pattern: /^\/api\/v1\/retire_workers$/,
      answer: ({ body }) => answerOf(() => retire(reader, body)),
    },
  ];
}

/** Data may have to be moved from workers that retire. */
const ANSWER_MS_MAX = 600_000;

/** `{"workers": [address, …]}`, or `{"n": count}` of those that the scheduler would choose. */
async function retire(reader: ClusterReader, body: string): Promise<unknown> {
  const wish = readWish(body);
  const chosen =
    wish.n > 0 ? await reader.request("workers_to_close", { n: wish.n }, ANSWER_MS_MAX) : wish.workers;
  return plainJson(await reader.request("retire_workers", { workers: chosen }, ANSWER_MS_MAX));
}

function readWish(body: string): { readonly n: number; readonly workers: string[] } {
  const wish: unknown = JSON.parse(body);
  if (typeof wish !== "object" || wish === null) throw new SyntaxError("not a JSON object");
  const { n = 0, workers = [] } = wish as { readonly n?: unknown; readonly workers?: unknown };
  const names = Array.isArray(workers) ? workers.filter((name) => typeof name === "string") : [];
  if (typeof n !== "number" || !Number.isInteger(n)) throw new SyntaxError("n is not a number of workers");
  return { n, workers: names };
}

/** As Dask answers: the result, or 500 with nothing but that. */
async function answerOf(make: () => Promise<unknown>): Promise<Reply> {
  try {
    return jsonReply(await make());
  } catch (error) {
    const known = [PythonError, UnreachableError, SyntaxError].some((kind) => error instanceof kind);
    if (!known) throw error;
    return jsonReply({ Error: "Internal Server Error" }, 500);
  }
}
