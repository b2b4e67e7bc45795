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

const P2P = [
  "shuffle",
  "twice",
  "persisted",
  "merge",
  "set_index",
  "rechunk",
  "concurrently",
  "worker_killed",
];

describe.each(["2023.12.1", "2025.5.1"])("unmodified clients and workers of %s", (release) => {
  const cluster = new RealCluster(release);
  const errors = new Map<string, string | null>();

  async function outcomes(script: string, names: readonly string[]): Promise<string[]> {
    const printed = await cluster.runClient(script, names, 290_000);
    return printed.split("\n").filter((text) => text.startsWith("{"));
  }

  beforeAll(async () => {
    await cluster.startScheduler();
    cluster.startWorker({ name: "one" });
    cluster.startWorker({ name: "two", nanny: true });
    for (const line of await outcomes("acceptance.py", SCENARIOS)) {
      const { name, error } = JSON.parse(line) as { name: string; error: string | null };
      errors.set(name, error);
    }
    for (const line of await outcomes("p2p.py", P2P)) {
      const { name, fault } = JSON.parse(line) as { name: string; fault: string | null };
      errors.set(`p2p ${name}`, fault);
    }
  });
  afterAll(() => cluster.close());

  // undefined: it did not run; else the client's traceback.
  test.each([...SCENARIOS, ...P2P.map((name) => `p2p ${name}`)])("%s", (name) =>
    expect(errors.get(name)).toBeNull(),
  );
});
