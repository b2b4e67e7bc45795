import { afterEach, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

test.each(RELEASES)(
  "real %s workers get no task that their memory cannot hold, and share what is bound loosely",
  async (release) => {
    // With so little memory they would spill and pause at once.
    const off = Object.fromEntries(
      ["TARGET", "SPILL", "PAUSE"].map((name) => [`DASK_DISTRIBUTED__WORKER__MEMORY__${name}`, "False"]),
    );
    const cluster = new RealCluster(release, off);
    clusters.push(cluster);
    await cluster.startScheduler();
    const args = ["--nthreads", "1", "--memory-limit", "100kB"];
    for (const name of ["a", "b"]) cluster.startWorker({ name, args });
    await cluster.runClient("limits.py", []);
    expect(cluster.scheduler.running).toBe(true);
  },
);
