import { afterEach, describe, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

describe.each(RELEASES)("a real %s client with zero workers", (release) => {
  test("gets 42 for a merge of 10,000 futures and for a bag", async () => {
    const cluster = new RealCluster(release);
    clusters.push(cluster);
    await cluster.startScheduler(["--zero-workers", "168"]);
    await cluster.runClient("zero_workers.py", ["168", "10000"]);
  });
});

test("a scheduler serves its first client while its own code is being compiled", async () => {
  const cluster = new RealCluster("2026.8.0");
  clusters.push(cluster);
  await cluster.startScheduler(["--training", "on"]);
  cluster.startFleet(24);
  await cluster.runClient("zero_workers.py", ["24", "1000"]);
});

test("a scheduler compiles its code when nothing is asked of it, once Python can open graphs", async () => {
  const cluster = new RealCluster("2026.8.0", { DASK_LOGGING__DISTRIBUTED: "debug" });
  clusters.push(cluster);
  await cluster.startScheduler(["--training", "on"]);
  await cluster.scheduler.waitFor("trained", () => cluster.scheduler.output.includes("Trained in"), 60_000);
  const { output } = cluster.scheduler;
  expect(output.indexOf("Unpacker: Python")).toBeGreaterThan(0);
  expect(output.indexOf("Unpacker: Python")).toBeLessThan(output.indexOf("Trained in"));
});

test("a fleet of zero workers serves Dask's own scheduler", async () => {
  const cluster = new RealCluster("2026.8.0");
  clusters.push(cluster);
  await cluster.startScheduler([], "dask");
  cluster.startFleet(168);
  await cluster.runClient("zero_workers.py", ["168", "1000"]);
});
