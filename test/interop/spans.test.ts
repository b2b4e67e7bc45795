import { afterEach, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

test.each(RELEASES)("spans of a real %s client", async (release) => {
  const cluster = new RealCluster(release);
  clusters.push(cluster);
  await cluster.startScheduler();
  cluster.startWorker({ name: "a" });
  cluster.startWorker({ name: "b" });
  const printed = await cluster.runClient("spans.py");
  expect(printed.match(/^ok /gm)).toHaveLength(7);
  expect(cluster.scheduler.output).not.toContain("met a bug");
});
