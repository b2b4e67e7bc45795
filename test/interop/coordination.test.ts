import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ALL_RELEASES, RealCluster } from "./support/processes.ts";

const SCENARIOS = [
  "queue",
  "queue_of_futures",
  "queue_of_results_that_failed",
  "queue_closed_with_futures_in_it",
  "queue_between_tasks",
  "variable",
  "variable_of_a_future",
  "variable_whose_reader_dies",
  "lock",
  "lock_whose_holder_dies",
  "semaphore",
  "multi_lock",
  "event",
];
/** Gone in 2026. */
const OLDER = ["pubsub"];
/** In 2022 locks have no lease: a holder that dies keeps its lock, in Dask too. */
const NEWER = ["lock_whose_holder_dies"];

interface Outcome {
  readonly name: string;
  readonly fault: string | null;
}

describe.each(ALL_RELEASES)("what clients and tasks of %s coordinate by", (release) => {
  const names = [...SCENARIOS, ...(release < "2026" ? OLDER : [])].filter(
    (name) => release > "2023" || !NEWER.includes(name),
  );
  const cluster = new RealCluster(release);
  let outcomes = new Map<string, string | null>();

  beforeAll(async () => {
    await cluster.startScheduler();
    for (const name of ["a", "b"]) cluster.startWorker({ name });
    const lines = (await cluster.runClient("coordination.py", names)).trim().split("\n");
    outcomes = new Map(lines.map((line) => JSON.parse(line) as Outcome).map((one) => [one.name, one.fault]));
  }, 300_000);

  afterAll(() => cluster.close());

  test.each(names)("%s", (name) => {
    expect(outcomes.get(name)).toBe(null);
  });

  test("leaves the scheduler without a word of its own mistakes", () => {
    expect(cluster.scheduler.output).not.toMatch(/met a bug|rsds: |is not known/);
  });
});
