import { type Command, InvalidArgumentError } from "commander";
import { rsdsVersion } from "../results/machine.ts";
import { positiveInteger, WORKERS_MAX, wholeNumber } from "./run-options.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface SimulateArguments {
  readonly faults: boolean;
  readonly seed: number;
  readonly count: number;
  readonly steps?: readonly number[];
  readonly workers?: number;
  readonly clients?: number;
  readonly bail: boolean;
  readonly shrink: boolean;
  readonly log: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

const FAILED = 1;
const WRONG_USAGE = 2;
const INTERRUPTED = 130;

/** Adds `rsds simulate`. */
export function addSimulateCommand(program: Command): Command {
  return program
    .command("simulate")
    .description("the same scheduler in a simulated world: faults by seed")
    .option("--faults", "worlds in which everything goes wrong, checked after each step", false)
    .option("--seed <n>", "the first seed", wholeNumber, 1)
    .option("--count <k>", "how many seeds", positiveInteger(1e9), 1)
    .option("--steps <list>", "only these steps of the world, such as 3,17,40; none: no step", steps)
    .option(
      "--workers <n>",
      "so many workers at the beginning (default: as the seed says)",
      positiveInteger(WORKERS_MAX),
    )
    .option(
      "--clients <n>",
      "so many clients at the beginning (default: as the seed says)",
      positiveInteger(1000),
    )
    .option("--bail", "stop at the first world that fails", false)
    .option("--no-shrink", "leave a world that failed as it is")
    .option("--log", "write everything that happens to stderr", false)
    .option("--json", "print the report as one JSON document", false)
    .option("--quiet", "no progress on stderr", false);
}

function steps(text: string): readonly number[] {
  if (text === "none") return [];
  const list = text.split(",").map(Number);
  if (!/^\d+(,\d+)*$/.test(text))
    throw new InvalidArgumentError("It must be numbers with commas between them.");
  return list;
}

/** `rsds simulate`: 0, everything held; 1, a world failed; 2, wrong usage; 130, interrupted. */
export async function simulateMain(
  args: SimulateArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  if (!args.faults) {
    stderr.write("rsds simulate: say what to simulate: --faults\n");
    return WRONG_USAGE;
  }
  const { renderFaults, runSeeds } = await import("../../simulator/faults/fault-run.ts");
  const report = await runSeeds(
    {
      seed: args.seed,
      count: args.count,
      steps: args.steps ?? null,
      workers: args.workers ?? null,
      clients: args.clients ?? null,
      bail: args.bail,
      shrink: args.shrink,
    },
    rsdsVersion(),
    {
      signal,
      say: (text) => {
        if (!args.quiet) stderr.write(`${text}\n`);
      },
      witness: args.log ? (line) => void stderr.write(`${line}\n`) : null,
    },
  );
  stdout.write(args.json ? `${JSON.stringify(report)}\n` : renderFaults(report));
  if (report.failures.length > 0) return FAILED;
  return signal.aborted ? INTERRUPTED : 0;
}
