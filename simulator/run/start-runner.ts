import { rsdsVersion } from "../../src/results/machine.ts";
import { DirectRunner } from "./direct-run.ts";
import type { Runner, RunnerParts } from "./measure.ts";
import { WireRunner } from "./wire-run.ts";

/** What runs a workload over the transport of its options. */
export function startRunner(parts: RunnerParts): Promise<Runner> {
  return parts.options.transport === "direct"
    ? Promise.resolve(new DirectRunner(parts))
    : WireRunner.start(parts, rsdsVersion());
}
