import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { Summary } from "../../src/results/summary.ts";
import { checkFolder, MAIN } from "../cli/rsds-process.ts";
import { type Program, RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

async function clusterOf(release: string, whose: "rsds" | "dask"): Promise<RealCluster> {
  const cluster = new RealCluster(release);
  clusters.push(cluster);
  await cluster.startScheduler([], whose);
  return cluster;
}

function profile(cluster: RealCluster, ...args: string[]): Program {
  return cluster.start("rsds profile", process.execPath, [MAIN, "profile", cluster.address, ...args]);
}

describe.each(RELEASES)("rsds profile with real clients and workers of %s", (release) => {
  test("two windows: the hops of real workers, the graphs' waterfalls, and how far the clocks may be off", async () => {
    const cluster = await clusterOf(release, "rsds");
    for (const name of ["one", "two"]) cluster.startWorker({ name });
    // What comes before the window is none of it.
    await cluster.runClient("profiled.py");
    for (const round of [1, 2]) {
      const out = join(cluster.folder, `profile-${round}`);
      const profiler = profile(cluster, "--out", out);
      await profiler.waitFor("profiling", () => profiler.output.includes("profiling tcp"), 60_000);
      await cluster.runClient("profiled.py");
      expect(await profiler.end("SIGINT")).toBe(130);
      expect(await checkFolder(out)).toContain("0 breaches");
      expectRealRun(JSON.parse(readFileSync(join(out, "summary.json"), "utf8")), release);
    }
    expect(cluster.scheduler.output.match(/Tracing is off: .* has its window/g)).toHaveLength(2);
  });
});

test("a window opened at once after the scheduler's start has nothing of its training", async () => {
  const cluster = new RealCluster("2026.8.0");
  clusters.push(cluster);
  await cluster.startScheduler(["--training", "on"]);
  const out = join(cluster.folder, "profile");
  expect(await profile(cluster, "--out", out, "--seconds", "2").ended).toBe(0);
  const summary: Summary = JSON.parse(readFileSync(join(out, "summary.json"), "utf8"));
  expect(summary.run.tasks).toBe(0);
  // Training takes a second of work.
  expect(summary.phases?.find(({ phase }) => phase === "idle")?.share).toBeGreaterThan(0.8);
});

function expectRealRun(summary: Summary, release: string): void {
  expect(summary.run).toMatchObject({ zero_workers: 0, workers: 2, release: release.replace(/\.\d+$/, "") });
  expect(summary.run.tasks).toBeGreaterThan(450);
  const counts = new Map(summary.hops?.map((row) => [row.hop, row.count]));
  // A stolen task is sent twice.
  expect(counts.get("encoded→written")).toBe(summary.ledger.tasks_sent);
  for (const hop of ["submit→known", "written→start", "start→stop", "stop→read"])
    expect([hop, counts.get(hop)]).toEqual([hop, summary.run.tasks]);
  expect(counts.get("reported→read")).toBeUndefined();
  const { clocks } = summary.run;
  // All on one machine: the clocks are one, but for what heartbeats on a busy machine tell workers of ours.
  expect(clocks).toMatchObject({ ahead_us_max: expect.any(Number), behind_us_max: expect.any(Number) });
  const { ahead_us_max, behind_us_max } = clocks as { ahead_us_max: number; behind_us_max: number };
  expect(Math.min(ahead_us_max, behind_us_max)).toBeGreaterThan(-50_000);
  // The map, the sum, the bag.
  expect(summary.graphs).toHaveLength(3);
  for (const graph of summary.graphs) {
    for (const name of ["decode_s", "unpack_s", "order_s", "insert_s", "first_task_s"] as const)
      expect([name, graph[name] > 0]).toEqual([name, true]);
    const { decode_s, wait_s, unpack_s, order_s, insert_s, last_task_s } = graph;
    expect(decode_s + wait_s + unpack_s + order_s + insert_s).toBeLessThanOrEqual(last_task_s + 1e-3);
  }
  expect(summary.unpacker_cpu_us_per_task?.median).toBeGreaterThan(0);
  expect(summary.phases?.find(({ phase }) => phase === "unpack")?.total_s).toBeGreaterThan(0);
}

test("Dask's own scheduler is told from ours in one line", async () => {
  const cluster = await clusterOf("2026.8.0", "dask");
  const profiler = profile(cluster, "--seconds", "1", "--out", join(cluster.folder, "none"));
  expect(await profiler.ended).toBe(1);
  expect(profiler.output).toMatch(/^rsds profile: the scheduler at tcp:\S+ is not rsds[^\n]*\n$/);
});
