import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RealCluster } from "../interop/support/processes.ts";

const SCENARIOS = [
  "submit",
  "map_and_gather",
  "exception",
  "scatter",
  "cancel",
  "array_sums",
  "timeseries_groupby",
];

describe.each(["2023.12.1", "2025.5.1"])("unmodified clients and workers of %s", (release) => {
  const cluster = new RealCluster(release);
  const errors = new Map<string, string | null>();

  beforeAll(async () => {
    await cluster.startScheduler();
    cluster.startWorker({ name: "one" });
    cluster.startWorker({ name: "two", nanny: true });
    const printed = await cluster.runClient("acceptance.py", SCENARIOS, 290_000);
    for (const line of printed.split("\n").filter((text) => text.startsWith("{"))) {
      const { name, error } = JSON.parse(line) as { name: string; error: string | null };
      errors.set(name, error);
    }
  });
  afterAll(() => cluster.close());

  // undefined: it did not run; else the client's traceback.
  test.each(SCENARIOS)("%s", (name) => expect(errors.get(name)).toBeNull());
});
