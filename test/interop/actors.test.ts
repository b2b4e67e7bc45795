import { afterEach, expect, test } from "vitest";
import { RealCluster } from "./support/processes.ts";

let cluster: RealCluster | null = null;
afterEach(async () => {
  await cluster?.close();
  cluster = null;
});

test.each(["2022.12.1", "2026.8.0"])(
  "actors of %s are actors, by whatever way their graphs come",
  async (release) => {
    cluster = new RealCluster(release);
    await cluster.startScheduler([]);
    for (const name of ["a", "b", "c"]) cluster.startWorker({ name });
    expect(await cluster.runClient("actors.py")).toBe("OK\n");
  },
);
