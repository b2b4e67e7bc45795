import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ALL_RELEASES, RealCluster } from "./support/processes.ts";

interface Outcome {
  readonly name: string;
  readonly error: string | null;
}

const SCENARIOS = [
  "submit",
  "map_and_gather",
  "futures_as_arguments",
  "tuple_keys",
  "compute",
  "tree_of_delayed",
  "scatter",
  "persist",
  "exception",
  "retries",
  "restrictions",
  "cancel",
  "array_sums",
  "timeseries_groupby",
  "two_clients",
  "release",
  "client_close",
];

describe.each(ALL_RELEASES)("unmodified clients and workers of %s", (release) => {
  const cluster = new RealCluster(release);
  const outcomes = new Map<string, Outcome>();

  beforeAll(async () => {
    await cluster.startScheduler();
    cluster.startWorker({ name: "one" });
    cluster.startWorker({ name: "two", nanny: true });
    const printed = await cluster.runClient("acceptance.py", SCENARIOS, 400_000);
    for (const line of printed.split("\n").filter((text) => text.startsWith("{"))) {
      const outcome = JSON.parse(line) as Outcome;
      outcomes.set(outcome.name, outcome);
    }
  }, 420_000);
  afterAll(() => cluster.close());

  test.each(SCENARIOS)("%s", (name) => {
    const outcome = outcomes.get(name);
    expect(outcome, `${name} did not run`).toBeDefined();
    // The error is the client's traceback.
    expect(outcome?.error).toBeNull();
  });

  test("the scheduler ends cleanly when it is asked to", async () => {
    expect(await cluster.scheduler.end("SIGTERM")).toBe(0);
  });
});

test.each(ALL_RELEASES)(
  "a client of %s restarts the cluster, and goes on",
  async (release) => {
    const cluster = new RealCluster(release);
    try {
      await cluster.startScheduler();
      for (const name of ["one", "two"]) cluster.startWorker({ name, nanny: true });
      await cluster.runClient("restarts.py");
    } finally {
      await cluster.close();
    }
  },
  150_000,
);
