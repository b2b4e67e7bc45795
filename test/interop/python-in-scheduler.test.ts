import { afterEach, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

test.each(RELEASES)("a real %s client runs Python beside the scheduler", async (release) => {
  const cluster = new RealCluster(release);
  clusters.push(cluster);
  await cluster.startScheduler();
  cluster.startWorker({ name: "a" });
  cluster.startWorker({ name: "b" });
  await cluster.runClient("python_in_scheduler.py", []);
  expect(cluster.scheduler.running).toBe(true);
});
