import type { Policy } from "./policy.ts";
import { RandomPolicy } from "./random.ts";
import { WorkStealingPolicy } from "./work-stealing.ts";

const POLICIES: Readonly<Record<string, (seed: number) => Policy>> = {
  workstealing: (seed) => new WorkStealingPolicy(seed),
  random: (seed) => new RandomPolicy(seed),
};

export const POLICY_NAMES: readonly string[] = Object.keys(POLICIES);

/** Throws RangeError for a name that is not in {@link POLICY_NAMES}. */
export function createPolicy(name: string, seed: number): Policy {
  const make = POLICIES[name];
  if (make === undefined)
    throw new RangeError(`unknown scheduler '${name}': one of ${POLICY_NAMES.join(", ")}`);
  return make(seed);
}
