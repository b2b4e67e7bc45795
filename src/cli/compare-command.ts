import { type Command, InvalidArgumentError } from "commander";
import { compare } from "../results/compare.ts";
import { compareSimulations } from "../results/compare-simulations.ts";
import type { Comparison } from "../results/comparison.ts";
import { renderComparison } from "../results/comparison-table.ts";
import { ResultFolderError, readResult } from "../results/read.ts";
import { textOptionsOf } from "../results/text.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface CompareArguments {
  readonly failAbove?: number;
  readonly json: boolean;
}

const FAILED = 1;
const WRONG_USAGE = 2;

/** Adds `rsds compare`. */
export function addCompareCommand(program: Command): Command {
  return program
    .command("compare")
    .description("two result folders side by side")
    .argument("<a>", "the result folder that is compared with")
    .argument("<b>", "the other")
    .option(
      "--fail-above <percent>",
      "exit status 1 when B is slower by more than that and the noise",
      percentOf,
    )
    .option("--json", "print one JSON document", false);
}

function percentOf(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || !Number.isFinite(value))
    throw new InvalidArgumentError("It must be a number of per cent, such as 5 or 2.5.");
  return value;
}

/** `rsds compare A B`: 0; 1, B is slower than `--fail-above` allows; 2, a folder without a run's summary. */
export async function compareMain(
  a: string,
  b: string,
  args: CompareArguments,
  { stdout, stderr }: CommandProcess,
): Promise<number> {
  try {
    const comparison = await comparisonOf(a, b, args.failAbove ?? null);
    if (args.json) stdout.write(`${JSON.stringify(comparison)}\n`);
    else stdout.write(renderComparison(comparison, textOptionsOf(stdout)));
    return comparison.slower.length > 0 ? FAILED : 0;
  } catch (error) {
    if (!(error instanceof ResultFolderError)) throw error;
    stderr.write(`rsds compare: ${error.message.replaceAll("\n", " ")}\n`);
    return WRONG_USAGE;
  }
}

async function comparisonOf(a: string, b: string, fail_above_percent: number | null): Promise<Comparison> {
  const [one, other] = [await readResult(a), await readResult(b)];
  if (one.kind === "run" && other.kind === "run")
    return compare(
      { folder: a, summary: one.summary },
      { folder: b, summary: other.summary },
      fail_above_percent,
    );
  if (one.kind === "simulation" && other.kind === "simulation")
    return compareSimulations(
      { folder: a, summary: one.summary },
      { folder: b, summary: other.summary },
      fail_above_percent,
    );
  const [simulated, real] = one.kind === "simulation" ? [a, b] : [b, a];
  throw new ResultFolderError(
    `${simulated} is of a simulation, in virtual time, and ${real} of a real run: compare two of a kind`,
  );
}
