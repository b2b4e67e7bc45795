#!/usr/bin/env node
import { Command, CommanderError, Option } from "commander";
import { rsdsVersion } from "../results/machine.ts";
import { type FleetArguments, fleetMain } from "./fleet-command.ts";
import { addRunOptions, positiveInteger, type RunArguments, WORKERS_MAX } from "./run-options.ts";
import { runScheduler } from "./scheduler-process.ts";
import { type CommandProcess, zeroRunMain } from "./zero-run-command.ts";

/** Wrong usage ends with this status, as CONTRACT has it; commander's own is 1. */
const USAGE_STATUS = 2;

async function main(argv: readonly string[]): Promise<number> {
  // Dask's own options are parsed apart: all of them, and their errors, are to be Dask's.
  if (argv[0] === "scheduler") return runScheduler(argv.slice(1));
  let status: Promise<number> = Promise.resolve(0);
  const program = new Command("rsds")
    .description("A Dask scheduler that shows where every microsecond of a task goes.")
    .version(rsdsVersion())
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "rsds: ")) })
    .showHelpAfterError(false);
  addRunOptions(program).action((args: RunArguments) => {
    if (args.zeroWorkers === undefined)
      program.error("rsds: say how many workers: --zero-workers N (see --help)");
    status = withSignal((process_parts) => zeroRunMain(args, process_parts));
  });
  program
    .command("scheduler")
    .description("drop-in for `dask scheduler`: see rsds scheduler --help")
    .allowUnknownOption();
  fleetCommand(program).action((address: string, args: FleetArguments) => {
    status = withSignal((process_parts) => fleetMain(address, args, process_parts));
  });
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : USAGE_STATUS;
  }
  return status;
}

function fleetCommand(program: Command): Command {
  return program
    .command("fleet")
    .description("attach zero workers to any scheduler that speaks the dask protocol")
    .argument("<address>", "the scheduler, such as tcp://127.0.0.1:8786")
    .requiredOption("--workers <n>", "how many zero workers", positiveInteger(WORKERS_MAX))
    .addOption(
      new Option("--release <release>", "the wire that they speak")
        .choices(["2022.12", "2024.12", "2026.8"])
        .default("2026.8"),
    )
    .addOption(
      new Option("--flush <when>", "when a worker writes its reports")
        .choices(["turn", "each"])
        .default("turn"),
    )
    .option("--seconds <s>", "leave after so long", positiveInteger(1e9))
    .option("--out <dir>", "write what was seen to this folder")
    .option("--json", "print the document as JSON", false)
    .option("--quiet", "no progress on stderr", false);
}

/** The first Ctrl-C asks the command to end in order, the second ends the process. */
async function withSignal(command: (parts: CommandProcess) => Promise<number>): Promise<number> {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort());
  return command({ stdout: process.stdout, stderr: process.stderr, signal: controller.signal });
}

process.exitCode = await main(process.argv.slice(2));
