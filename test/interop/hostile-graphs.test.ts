import { afterEach, describe, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

describe.each(RELEASES)("graphs of %s that do not unpack", (release) => {
  test("are errors of their own futures; the scheduler and other clients go on", async () => {
    const cluster = new RealCluster(release);
    clusters.push(cluster);
    await cluster.startScheduler();
    cluster.startWorker({ name: "one" });
    await cluster.runClient("hostile_graphs.py");
    expect(cluster.scheduler.running).toBe(true);
  });
});
