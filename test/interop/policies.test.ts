import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { RealCluster } from "./support/processes.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PYTHON = join(ROOT, ".venvs", "dask-2026.8.0", "bin", "python");
const EXAMPLE = join(ROOT, "profiles", "external", "greedy.py");

let cluster: RealCluster | null = null;
afterEach(async () => {
  await cluster?.close();
  cluster = null;
});

async function clusterOf(scheduler: string): Promise<RealCluster> {
  cluster = new RealCluster("2026.8.0");
  await cluster.startScheduler(["--scheduler", scheduler]);
  for (const name of ["a", "b"]) cluster.startWorker({ name });
  return cluster;
}

describe("real clients and workers are served", () => {
  // One of each kind: every policy passes the suite of test/schedulers.
  test.each(["dask", "blevel-gt", "etf"])("by %s", async (name) => {
    const { runClient } = await clusterOf(name);
    expect(await runClient.call(cluster, "policies.py")).toBe("OK\n");
  });

  test("by a policy in another process", async () => {
    const served = await clusterOf(`external:exec ${PYTHON} ${EXAMPLE}`);
    expect(await served.runClient("policies.py")).toBe("OK\n");
    expect(served.scheduler.output).not.toContain("failed");
  });

  test("after a policy in another process was killed, by the one that stands in", async () => {
    const served = await clusterOf(`external:echo $$ >&2; exec ${PYTHON} ${EXAMPLE}`);
    const pid = /policy: (\d+)/.exec(served.scheduler.output)?.[1] ?? "";
    expect(await served.runClient("policies.py", [pid])).toBe("OK\n");
    const errors = served.scheduler.output.split("\n").filter((line) => line.includes(" - ERROR - "));
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/failed: it was ended by SIGKILL.*placed by the policy workstealing/);
  });
});

test("a policy's process that says nothing sensible at its start ends the scheduler with the reason", async () => {
  cluster = new RealCluster("2026.8.0");
  await expect(cluster.startScheduler(["--scheduler", "external:echo hello there"])).rejects.toThrow(
    /The policy `echo hello there` cannot be used: a message of \d+ bytes, or something else/,
  );
  expect(await cluster.scheduler.ended).toBe(1);
});
