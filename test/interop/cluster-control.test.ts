import { afterEach, expect, test, vi } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const cluster of clusters.splice(0)) await cluster.close();
});

test.each(RELEASES)(
  "a real %s client moves results, scales, cancels, and learns what cannot run",
  async (release) => {
    const settings = {
      WORKER__MEMORY__REBALANCE__MEASURE: "managed",
      WORKER__MEMORY__REBALANCE__SENDER_MIN: "0",
      WORKER__MEMORY__REBALANCE__SENDER_RECIPIENT_GAP: "0",
      SCHEDULER__NO_WORKERS_TIMEOUT: "1s",
      SCHEDULER__ALLOWED_FAILURES: "1",
    };
    for (const [name, value] of Object.entries(settings)) vi.stubEnv(`DASK_DISTRIBUTED__${name}`, value);
    const cluster = new RealCluster(release);
    clusters.push(cluster);
    await cluster.startScheduler();
    for (const name of ["a", "b", "c"]) cluster.startWorker({ name, args: ["--nthreads", "1"] });
    await cluster.runClient("cluster_control.py", []);
    expect(cluster.scheduler.running).toBe(true);
  },
);
