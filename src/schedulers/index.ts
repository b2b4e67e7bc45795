import { DaskPolicy } from "./dask/policy.ts";
import { type DaskPolicySettings, DEFAULT_DASK_SETTINGS } from "./dask/settings.ts";
import { FreeThreadsPolicy } from "./lists/free-threads.ts";
import { ListPolicy } from "./lists/list-policies.ts";
import { SinglePolicy } from "./lists/single.ts";
import type { Policy } from "./policy.ts";
import { RandomPolicy } from "./random.ts";
import { WorkStealingPolicy } from "./work-stealing.ts";

/** docs/schedulers.md says what each does. */
const POLICIES: Readonly<Record<string, (seed: number, settings: DaskPolicySettings) => Policy>> = {
  workstealing: (seed) => new WorkStealingPolicy(seed),
  random: (seed) => new RandomPolicy(seed),
  dask: (_seed, settings) => new DaskPolicy(settings),
  blevel: (seed, settings) => new FreeThreadsPolicy("blevel", seed, settings),
  tlevel: (seed, settings) => new FreeThreadsPolicy("tlevel", seed, settings),
  "blevel-gt": (seed, settings) => new FreeThreadsPolicy("blevel-gt", seed, settings),
  etf: (_seed, settings) => new ListPolicy("etf", settings),
  dls: (_seed, settings) => new ListPolicy("dls", settings),
  mcp: (_seed, settings) => new ListPolicy("mcp", settings),
  single: (_seed, settings) => new SinglePolicy(settings),
};

/** Those that need no process of their own. */
export const POLICY_NAMES: readonly string[] = Object.keys(POLICIES);

/** Throws RangeError for a name that is not in {@link POLICY_CHOICES}. */
export function createPolicy(
  name: string,
  seed: number,
  settings: DaskPolicySettings = DEFAULT_DASK_SETTINGS,
): Policy {
  const make = POLICIES[name];
  if (make === undefined)
    throw new RangeError(`unknown scheduler '${name}': one of ${POLICY_NAMES.join(", ")}`);
  return make(seed, settings);
}

const EXTERNAL = "external:";

/** The command of `external:CMD`, or null for another name. */
export function externalCommand(name: string): string | null {
  const command = name.startsWith(EXTERNAL) ? name.slice(EXTERNAL.length).trim() : "";
  return command === "" ? null : command;
}

/** What `--scheduler` may be. */
export const POLICY_CHOICES = `${POLICY_NAMES.join(", ")}, ${EXTERNAL}CMD`;

export function isPolicy(name: string): boolean {
  return name in POLICIES || externalCommand(name) !== null;
}
