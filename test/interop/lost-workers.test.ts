import { afterEach, describe, expect, test } from "vitest";
import { ALL_RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

async function clusterOf(release: string): Promise<RealCluster> {
  const cluster = new RealCluster(release);
  clusters.push(cluster);
  await cluster.startScheduler();
  return cluster;
}

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

describe.each(ALL_RELEASES)("a real %s worker that is killed while it computes", (release) => {
  test("for good leaves the result right", async () => {
    const cluster = await clusterOf(release);
    const victim = cluster.startWorker({ name: "victim" });
    cluster.startWorker({ name: "other" });
    await cluster.runClient("killed_worker.py", ["victim", "stays-away"]);
    expect(victim.running).toBe(false);
    expect(cluster.scheduler.running).toBe(true);
  });

  test("under a nanny comes back, and the result is right", async () => {
    const cluster = await clusterOf(release);
    const nanny = cluster.startWorker({ name: "victim", nanny: true });
    cluster.startWorker({ name: "other" });
    await cluster.runClient("killed_worker.py", ["victim", "comes-back"]);
    expect(nanny.running).toBe(true);
  });
});
