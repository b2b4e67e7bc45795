import type { RepeatInput } from "../../src/results/input.ts";
import type { Ledger } from "../../src/results/summary.ts";
import type { Workload } from "../workloads/index.ts";
import type { ZeroRunOptions } from "./options.ts";

/** One submission, measured. */
export type Measured = RepeatInput;

/** Something that can run the workload again and again: one for each transport. */
export interface Runner {
  /** Submits fresh keys, waits for the end, releases everything. */
  run(repeat: number): Promise<Measured>;
  close(): Promise<void>;
}

export interface RunnerParts {
  readonly options: ZeroRunOptions;
  readonly workload: Workload;
  readonly log: (text: string) => void;
}

export function ledgerBetween(before: Ledger, after: Ledger): Ledger {
  const keys = Object.keys(after) as (keyof Ledger)[];
  return Object.fromEntries(keys.map((key) => [key, after[key] - before[key]])) as unknown as Ledger;
}
