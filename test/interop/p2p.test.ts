import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const SCENARIOS = [
  "shuffle",
  "shuffle_to_more_partitions",
  "twice",
  "persisted",
  "merge",
  "set_index",
  "rechunk",
  "rechunk_in_parts",
  "concurrently",
  "from_two_clients",
  "error_in_an_input",
  "restricted_to_one_worker",
  "cancelled",
] as const;
const LOSSES = ["worker_killed", "worker_killed_among_outputs"] as const;

interface Outcome {
  readonly name: string;
  readonly fault: string | null;
}

async function run(cluster: RealCluster, names: readonly string[]): Promise<Map<string, string | null>> {
  const lines = (await cluster.runClient("p2p.py", names, 240_000)).trim().split("\n");
  const outcomes = lines.map((line) => JSON.parse(line) as Outcome);
  return new Map(outcomes.map(({ name, fault }) => [name, fault]));
}

describe.each(RELEASES)("P2P with clients and workers of %s", (release) => {
  let cluster: RealCluster;
  let outcomes = new Map<string, string | null>();

  beforeAll(async () => {
    cluster = new RealCluster(release);
    await cluster.startScheduler();
    for (const name of ["a", "b"]) cluster.startWorker({ name });
    // Nannies bring back what the last scenarios kill.
    cluster.startWorker({ name: "c", nanny: true });
    outcomes = await run(cluster, SCENARIOS);
  }, 300_000);

  afterAll(() => cluster.close());

  test.each(SCENARIOS)("%s", (name) => {
    expect(outcomes.get(name)).toBe(null);
  });

  test.each(LOSSES)("%s", async (name) => {
    const killed = new RealCluster(release);
    try {
      await killed.startScheduler();
      for (const worker of ["a", "b", "c"]) killed.startWorker({ name: worker });
      expect((await run(killed, [name])).get(name)).toBe(null);
      expect(killed.scheduler.output).toMatch(/Shuffle .* restarted due to the loss of worker/);
    } finally {
      await killed.close();
    }
  });

  test("leaves the scheduler without a word of its own mistakes", () => {
    expect(cluster.scheduler.output).not.toMatch(/ERROR|met a bug|Traceback/);
  });
});

test("2022.12's P2P shuffles work where that release is asked for them", { timeout: 120_000 }, async () => {
  const cluster = new RealCluster("2022.12.1");
  try {
    await cluster.startScheduler();
    for (const name of ["a", "b"]) cluster.startWorker({ name });
    const printed = await cluster.runClient("p2p_early.py", [], 110_000);
    expect(printed.match(/^ok /gm)).toHaveLength(4);
    expect(cluster.scheduler.output).not.toContain("met a bug");
  } finally {
    await cluster.close();
  }
});
