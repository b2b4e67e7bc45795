import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { RELEASES, RealCluster } from "../interop/support/processes.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const clusters: RealCluster[] = [];

afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.close()));
});

async function scheduler(
  release: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<RealCluster> {
  const cluster = new RealCluster(release, env);
  clusters.push(cluster);
  await cluster.startScheduler(args, "rsds");
  return cluster;
}

function dashboardPort(cluster: RealCluster): number {
  const file = readFileSync(join(cluster.folder, "scheduler.json"), "utf8");
  return (JSON.parse(file) as { services: { dashboard: number } }).services.dashboard;
}

interface Answers {
  readonly answers: Record<
    string,
    { status: number; type: string | null; location: string | null; body: string }
  >;
  readonly metrics: Record<string, string>;
  readonly link: string;
  readonly port: number;
}

/** What a worker, a client and a few HTTP requests see: at Dask's own scheduler, or at the one that is given. */
async function answersOf(release: string, ...where: string[]): Promise<Answers> {
  const python = join(ROOT, ".venvs", `dask-${release}`, "bin", "python");
  const child = spawn(python, [join(ROOT, "test/dashboard/dask_answers.py"), ...where], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 100_000,
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  child.stderr.on("data", (text) => {
    err += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`dask_answers.py ended with ${code}: ${err}`);
  return JSON.parse(out) as Answers;
}

/** The form of a JSON document: names and kinds of values. Addresses stand for one another. */
function shape(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  const names = Object.keys(value).sort();
  return Object.fromEntries(
    names.map((name) => [
      /^\w+:\/\//.test(name) ? "ADDRESS" : name,
      // What a worker measures is its own affair, and grows as it works.
      name === "metrics" ? "…" : shape((value as Record<string, unknown>)[name]),
    ]),
  );
}

/** Name → kind, from Prometheus' text. */
function metricKinds(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name!, kind!]));
}

/** Figures that Dask gathers for each prefix as tasks pass, which would cost here with every task, and Python's own. */
const NOT_SERVED = [
  "dask_scheduler_gil_contention_seconds_total",
  "dask_scheduler_prefix_state_totals_total",
  "dask_scheduler_task_groups",
  "dask_scheduler_tasks_compute_seconds_total",
  "dask_scheduler_tasks_output_bytes",
  "dask_scheduler_tasks_suspicious_total",
  "dask_scheduler_tasks_transfer_seconds_total",
];

describe.each(RELEASES)("HTTP beside Dask's own, with peers of %s", (release) => {
  test("answers as Dask does", async () => {
    const cluster = await scheduler(release);
    const ours = await answersOf(release, cluster.address, `${dashboardPort(cluster)}`);
    const dasks = await answersOf(release);
    const paths = Object.keys(dasks.answers).filter((path) => !path.startsWith("/api/"));
    const seen = (answers: Answers): unknown =>
      paths.map((path) => [path, answers.answers[path]?.status, answers.answers[path]?.location]);
    expect(seen(ours)).toEqual(seen(dasks));
    expect(ours.link.replace(`${ours.port}`, "PORT")).toBe(dasks.link.replace(`${dasks.port}`, "PORT"));

    const json = (answers: Answers, path: string): unknown => JSON.parse(answers.answers[path]!.body);
    expect(json(ours, "/json/counts.json")).toEqual(json(dasks, "/json/counts.json"));
    // Newer releases say more: what an older one says is there.
    expect(shape(json(ours, "/json/identity.json"))).toMatchObject(
      shape(json(dasks, "/json/identity.json")) as object,
    );
    expect(ours.answers["/api/v1"]?.status).toBe(404);
    expect(ours.answers["/info/main/exceptions.html"]?.body).toContain("ZeroDivisionError");
    expect(ours.answers["/info/logs/WORKER.html"]?.body).toContain("Registered to");

    const kinds = metricKinds(ours.answers["/metrics"]!.body);
    for (const [name, kind] of Object.entries(dasks.metrics)) {
      expect([name, kinds.get(name)]).toEqual([name, NOT_SERVED.includes(name) ? undefined : kind]);
    }
    const others = [...kinds.keys()].filter((name) => !(name in dasks.metrics));
    expect(others.filter((name) => !/^(process|rsds)_/.test(name))).toEqual([]);
  }, 120_000);
});

test("the API answers and retires workers, where the configuration asks for it", async () => {
  const cluster = await scheduler("2026.8.0", [], {
    DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES:
      "['distributed.http.scheduler.api', 'distributed.http.scheduler.json']",
  });
  const base = `http://127.0.0.1:${dashboardPort(cluster)}`;
  const post = async (body: string): Promise<[number, unknown]> => {
    const reply = await fetch(`${base}/api/v1/retire_workers`, { method: "POST", body });
    return [reply.status, await reply.json()];
  };
  const workers = async (): Promise<{ name: string; address: string }[]> => {
    const reply = await fetch(`${base}/api/v1/get_workers`);
    return ((await reply.json()) as { workers: { name: string; address: string }[] }).workers;
  };
  cluster.startWorker({ name: "a" });
  cluster.startWorker({ name: "b" });
  for (let i = 0; i < 400 && (await workers()).length < 2; i++) await sleep(100);
  const known = await workers();
  expect(known.map(({ name }) => name).sort()).toEqual(["a", "b"]);
  const target = (await (await fetch(`${base}/api/v1/adaptive_target`)).json()) as { workers: number };
  expect(target.workers).toBeGreaterThanOrEqual(0);

  const first = known[0]!.address;
  const [status, retired] = await post(JSON.stringify({ workers: [first] }));
  expect([status, Object.keys(retired as object)]).toEqual([200, [first]]);
  expect((await workers()).map(({ address }) => address)).toEqual([known[1]!.address]);
  expect(await post("nonsense")).toEqual([500, { Error: "Internal Server Error" }]);
  expect((await fetch(`${base}/api/v1/retire_workers`)).status).toBe(405);
}, 90_000);

describe("rsds scheduler", () => {
  test("takes another port where the wanted one is taken, and says so", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const taken = holder.address();
    const port = typeof taken === "object" && taken !== null ? taken.port : 0;
    try {
      const cluster = await scheduler("2026.8.0", ["--dashboard-address", `127.0.0.1:${port}`]);
      const other = dashboardPort(cluster);
      expect(other).not.toBe(port);
      expect(cluster.scheduler.output).toContain(`Port ${port} is already in use`);
      expect((await fetch(`http://127.0.0.1:${other}/health`)).status).toBe(200);
    } finally {
      holder.close();
    }
  });

  test("serves all but the page for people with --no-dashboard, below a prefix", async () => {
    const cluster = await scheduler("2026.8.0", ["--no-dashboard", "--dashboard-prefix", "deep/er"]);
    const base = `http://127.0.0.1:${dashboardPort(cluster)}`;
    expect(await (await fetch(`${base}/deep/er/health`)).text()).toBe("ok");
    expect((await fetch(`${base}/deep/er/status`)).status).toBe(404);
    expect((await fetch(`${base}/health`)).status).toBe(404);
  });

  test("shows a status page whose figures move, with zero workers at work", async () => {
    const cluster = await scheduler("2026.8.0", ["--zero-workers", "3"]);
    await cluster.scheduler.waitFor("fleet", () => cluster.scheduler.output.includes("attached"), 60_000);
    const base = `http://127.0.0.1:${dashboardPort(cluster)}`;
    const page = await (await fetch(`${base}/status`)).text();
    for (const [, path] of page.matchAll(/(?:src|href)="((?!data:)[^"]+)"/g))
      expect([path, (await fetch(`${base}/${path}`)).status]).toEqual([path, 200]);
    const status = (await (await fetch(`${base}/json/status.json`)).json()) as {
      workers: { address: string; nthreads: number }[];
      worker_states: Record<string, number>;
      tasks: Record<string, number>;
    };
    expect(status.workers).toHaveLength(3);
    expect(status.worker_states).toMatchObject({ idle: 3, saturated: 0, paused: 0, retiring: 0 });
    expect(Object.keys(status.tasks)).toEqual([
      "released",
      "waiting",
      "no-worker",
      "queued",
      "processing",
      "memory",
      "erred",
      "forgotten",
    ]);
  });

  test("that cannot serve HTTP ends with one line that says why", async () => {
    const cluster = new RealCluster("2026.8.0");
    clusters.push(cluster);
    await expect(cluster.startScheduler(["--dashboard-address", "192.0.2.77:1"], "rsds")).rejects.toThrow(
      /Cannot serve the dashboard on 192\.0\.2\.77:1/,
    );
  });
});
