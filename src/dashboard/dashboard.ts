import type { SecureContextOptions } from "node:tls";
import type { ClusterReader } from "../server/cluster-reader.ts";
import { html } from "../server/html.ts";
import type { Log } from "../server/peers/log.ts";
import { identityMap } from "../server/rpc/identity.ts";
import { plainJson } from "../server/rpc/plain-json.ts";
import type { DashboardAddress } from "./address.ts";
import { apiRoutes } from "./api.ts";
import { HttpServer, htmlReply, jsonReply, plainReply, type Route } from "./http-server.ts";
import { infoRoutes } from "./info-pages.ts";
import { Metrics } from "./metrics.ts";
import { statusRoutes, styleRoute } from "./status-page.ts";

export interface DashboardOptions {
  /** At least one; the port of the first is the one that peers are told of. */
  readonly addresses: readonly DashboardAddress[];
  /** Before all paths; slashes around it do not matter. */
  readonly prefix: string;
  /** Whether there is a page for people under `/status`; the rest is served in any case, as Dask does. */
  readonly status_page: boolean;
  /** Names of Dask's modules, each of which stands for some paths (`distributed.scheduler.http.routes`). */
  readonly route_modules: readonly string[];
  /** What the names of metrics begin with. */
  readonly prometheus_namespace: string;
  /** Certificate and key for https; null: http. */
  readonly tls: SecureContextOptions | null;
}

/** Dask's default of `distributed.scheduler.http.routes`. */
export const DEFAULT_ROUTE_MODULES: readonly string[] = [
  "distributed.http.scheduler.prometheus",
  "distributed.http.scheduler.info",
  "distributed.http.scheduler.json",
  "distributed.http.health",
  "distributed.http.proxy",
  "distributed.http.statics",
];

/** HTTP cannot be served where it was asked for. The message is one line that says what to change. */
export class DashboardListenError extends Error {
  override readonly name = "DashboardListenError";
}

/** HTTP for people and monitoring: pages, JSON and metrics, all read from the books when somebody asks. */
export class Dashboard {
  /** Of the first address. */
  readonly port: number;
  readonly #server: HttpServer;
  readonly #metrics: Metrics;

  private constructor(server: HttpServer, metrics: Metrics, port: number) {
    this.#server = server;
    this.#metrics = metrics;
    this.port = port;
  }

  /**
   * Listens. A port that is taken is replaced by a free one, with Dask's warning; other failures
   * reject with a DashboardListenError.
   */
  static async start(reader: ClusterReader, options: DashboardOptions, log: Log): Promise<Dashboard> {
    const metrics = new Metrics(reader, options.prometheus_namespace);
    const bare = options.prefix.replace(/^\/+|\/+$/g, "");
    const prefix = bare === "" ? "" : `/${bare}`;
    const server = new HttpServer({
      routes: routesOf(reader, options, metrics, prefix),
      prefix,
      tls: options.tls,
      onBug: (path, error) => {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
        log.writeLimited("ERROR", "dashboard", `Answering ${path} met a bug: ${text}`);
      },
    });
    const ports: number[] = [];
    try {
      for (const address of options.addresses) ports.push(await listenSomewhere(server, address, log));
    } catch (error) {
      server.close();
      throw error;
    }
    return new Dashboard(server, metrics, ports[0] ?? 0);
  }

  close(): void {
    this.#server.close();
    this.#metrics.close();
  }
}

async function listenSomewhere(server: HttpServer, address: DashboardAddress, log: Log): Promise<number> {
  try {
    return await server.listen(address);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (address.port === 0 || (code !== "EADDRINUSE" && code !== "EACCES")) {
      const why = error instanceof Error ? error.message : String(error);
      throw new DashboardListenError(
        `Cannot serve the dashboard on ${address.host}:${address.port}: ${why}. Choose another by --dashboard-address`,
      );
    }
    const port = await server.listen({ host: address.host, port: 0 });
    const why = code === "EACCES" ? "is not permitted" : "is already in use";
    log.write(
      "WARNING",
      `Port ${address.port} ${why}. Perhaps you already have a cluster running? ` +
        `Hosting the HTTP server on port ${port} instead`,
    );
    return port;
  }
}

function routesOf(
  reader: ClusterReader,
  options: DashboardOptions,
  metrics: Metrics,
  prefix: string,
): readonly Route[] {
  const by_module = new Map<string, () => readonly Route[]>([
    ["distributed.http.health", () => [get(/^\/health$/, () => plainReply(200, "ok"))]],
    ["distributed.http.scheduler.info", () => infoRoutes(reader)],
    ["distributed.http.scheduler.json", () => jsonRoutes(reader)],
    ["distributed.http.scheduler.prometheus", () => [metricsRoute(metrics)]],
    ["distributed.http.scheduler.api", () => apiRoutes(reader)],
  ]);
  const served = options.route_modules.flatMap((name) => by_module.get(name)?.() ?? []);
  const pages = options.status_page ? statusRoutes(reader, prefix) : [];
  return [...served, ...pages, styleRoute()];
}

function get(pattern: RegExp, answer: Route["answer"]): Route {
  return { method: "GET", pattern, answer };
}

function metricsRoute(metrics: Metrics): Route {
  const type = "text/plain; version=0.0.4";
  return get(/^\/metrics$/, () => ({ status: 200, type, body: metrics.text() }));
}

function jsonRoutes(reader: ClusterReader): Route[] {
  const index = html`<!DOCTYPE html>
<html><body>
<h2>Index of JSON routes</h2>
<p>These are typically used by automated services to query the state of the scheduler</p>
<ul><li><a href="counts.json">counts.json</a></li><li><a href="identity.json">identity.json</a></li></ul>
</body></html>`.text;
  return [
    get(/^\/json\/counts\.json$/, () => jsonReply(reader.counts())),
    get(/^\/json\/identity\.json$/, () =>
      jsonReply(plainJson(identityMap(reader.context, Number.POSITIVE_INFINITY, "all"))),
    ),
    get(/^\/json\/index\.html$/, () => htmlReply(index)),
    // What asks for this looks for a dashboard with Bokeh's plots; here there are none.
    get(/^\/individual-plots\.json$/, () => jsonReply({})),
  ];
}
