import { env } from "node:process";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { Policy } from "../../src/schedulers/policy.ts";
import { RandomPolicy } from "../../src/schedulers/random.ts";
import { WorkStealingPolicy } from "../../src/schedulers/work-stealing.ts";
import { QueuingPolicy } from "../schedulers/queuing-policy.ts";
import { Chaos, MOVES, type Step } from "./chaos.ts";

const POLICIES: Readonly<Record<string, () => Policy>> = {
  random: () => new RandomPolicy(3),
  workstealing: () => new WorkStealingPolicy(3),
  queuing: () => new QueuingPolicy(),
};

/** More runs, or others: `RSDS_CHAOS_RUNS=2000 RSDS_CHAOS_SEED=7 npx vitest run test/core/chaos.test.ts`. */
const { RSDS_CHAOS_RUNS: runs = "150", RSDS_CHAOS_SEED: seed = "20260801" } = env;

const step: fc.Arbitrary<Step> = fc.tuple(fc.nat(MOVES.length), fc.nat(1000), fc.nat(1000));

describe.each(Object.entries(POLICIES))("%s", (_, make) => {
  test("no order of joins, losses, reports, cancels and steals breaks an invariant or loses a task", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 120, size: "max" }), (steps) => {
        const chaos = new Chaos(make());
        chaos.join(1, 1);
        chaos.join(2, 3);
        chaos.run(steps);
        chaos.heal();
        chaos.end();
      }),
      { numRuns: Number(runs), seed: Number(seed), interruptAfterTimeLimit: 40_000 },
    );
  });
});
