import { describe, expect, test } from "vitest";
import { type TrainingOptions, train } from "../../../simulator/run/training.ts";
import { merge, random, tree } from "../../../simulator/workloads/generators.ts";
import { union } from "../../../simulator/workloads/union.ts";

const OPTIONS: TrainingOptions = {
  scheduler: "workstealing",
  transport: "memory",
  release: "2026.8",
  flush: "turn",
  order: false,
  trace: "off",
  seed: 1,
};

/** What keeps a process: an ended training must have left none of it. */
function sockets(): string[] {
  return process.getActiveResourcesInfo().filter((name) => /TCP|Server|Socket/.test(name));
}

describe("training", () => {
  test.each(["tcp", "memory", "direct"] as const)(
    "over %s: says what it took, and leaves nothing open",
    async (transport) => {
      const before = sockets();
      const training = await train({ ...OPTIONS, transport }, new AbortController().signal);
      expect(training?.seconds).toBeGreaterThan(0);
      expect(training?.cpu_s).toBeGreaterThan(0);
      await expect.poll(sockets).toEqual(before);
    },
  );

  test("another process's policy is not asked", async () => {
    const options = { ...OPTIONS, scheduler: "external:/no/such/program" };
    expect(await train(options, new AbortController().signal)).not.toBeNull();
  });

  test("is over soon after it was aborted, with nothing left open", async () => {
    const before = sockets();
    const abort = new AbortController();
    const training = train({ ...OPTIONS, transport: "tcp" }, abort.signal);
    // In the middle of a graph, or of a server's start: wherever it is then.
    setTimeout(() => abort.abort(), 30);
    expect(await training).toBeNull();
    await expect.poll(sockets).toEqual(before);
  });
});

test("a union is its parts side by side, with keys of its own", () => {
  const parts = [merge("merge", 5), tree("tree", 3), random("random", 20, 1)];
  const whole = union("whole", parts);
  expect(whole.tasks).toBe(6 + 7 + 20);
  expect(whole.dependencies).toBe(parts.reduce((sum, part) => sum + part.dependencies, 0));
  const keys = Array.from({ length: whole.tasks }, (_, id) => whole.key(id));
  expect(new Set(keys).size).toBe(whole.tasks);
  let first = 0;
  for (const part of parts) {
    for (let id = 0; id < part.tasks; id++) {
      const of = (workload: typeof part, task: number): number[] =>
        Array.from(
          workload.dependency_ids.subarray(
            workload.dependency_offsets[task]!,
            workload.dependency_offsets[task + 1]!,
          ),
        );
      expect(of(whole, first + id)).toEqual(of(part, id).map((dependency) => first + dependency));
    }
    expect(whole.wanted).toEqual(expect.arrayContaining(part.wanted.map((id) => first + id)));
    first += part.tasks;
  }
});
