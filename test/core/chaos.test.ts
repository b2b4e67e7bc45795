import { env } from "node:process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DaskPolicy } from "../../src/schedulers/dask/policy.ts";
import { DEFAULT_DASK_SETTINGS } from "../../src/schedulers/dask/settings.ts";
import { createPolicy } from "../../src/schedulers/index.ts";
import type { Policy } from "../../src/schedulers/policy.ts";
import { RandomPolicy } from "../../src/schedulers/random.ts";
import { WorkStealingPolicy } from "../../src/schedulers/work-stealing.ts";
import { LateAnswers } from "../schedulers/late-answers.ts";
import { QueuingPolicy } from "../schedulers/queuing-policy.ts";
import { Chaos, MOVES, type Step } from "./chaos.ts";

/** Whatever it depends on, a task of a large group is a root task; steals are asked for at every occasion. */
const ROOTS = {
  ...DEFAULT_DASK_SETTINGS,
  rootish_groups: 100,
  rootish_tasks: 1e6,
  stealing_interval_ns: 1,
  unknown_duration_s: 5,
};

const POLICIES: Readonly<Record<string, () => Policy>> = {
  random: () => new RandomPolicy(3),
  workstealing: () => new WorkStealingPolicy(3),
  queuing: () => new QueuingPolicy(),
  external: () => lateAnswers(11, null),
  "external, and fails": () => lateAnswers(12, 15),
  dask: () => new DaskPolicy(ROOTS),
  "blevel-gt": () => createPolicy("blevel-gt", 3),
  etf: () => createPolicy("etf", 3),
  single: () => createPolicy("single", 3),
  "dask, nothing withheld": () => new DaskPolicy({ ...ROOTS, worker_saturation: Number.POSITIVE_INFINITY }),
};

const OTHER_SIDES = new WeakMap<Policy, LateAnswers>();

function lateAnswers(seed: number, fails_after: number | null): Policy {
  const other_side = new LateAnswers(seed, fails_after);
  OTHER_SIDES.set(other_side.policy, other_side);
  return other_side.policy;
}

/** More runs, or others: `RSDS_CHAOS_RUNS=2000 RSDS_CHAOS_SEED=7 npx vitest run test/core/chaos.test.ts`. */
const { RSDS_CHAOS_RUNS: runs = "150", RSDS_CHAOS_SEED: seed = "20260801" } = env;

const step: fc.Arbitrary<Step> = fc.tuple(fc.nat(MOVES.length), fc.nat(1000), fc.nat(1000));

/** Mostly all at once. */
const slice = fc.constantFrom(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 1, 3);

/** What a policy keeps of its own agrees with the books. */
function check(policy: Policy, { world }: Chaos): void {
  if (policy instanceof DaskPolicy) expect(policy.breach(world.scheduler.books)).toBe(null);
}

describe.each(Object.entries(POLICIES))("%s", (_, make) => {
  test("no order of joins, losses, reports, cancels and steals breaks an invariant or loses a task", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 120, size: "max" }), slice, (steps, slice) => {
        const policy = make();
        const chaos = new Chaos(policy, slice);
        chaos.onQuiet = () => OTHER_SIDES.get(policy)?.catchUp() ?? false;
        chaos.join(1, 1);
        chaos.join(2, 3);
        chaos.run(steps);
        check(policy, chaos);
        chaos.heal();
        check(policy, chaos);
        chaos.end();
        if (policy instanceof DaskPolicy) expect(policy.groups_kept).toBe(0);
      }),
      { numRuns: Number(runs), seed: Number(seed), interruptAfterTimeLimit: 40_000 },
    );
  });
});
