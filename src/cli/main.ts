#!/usr/bin/env node
import { Command, CommanderError, Option } from "commander";
import { rsdsVersion } from "../results/machine.ts";
import { externalCommand } from "../schedulers/index.ts";
import { addCalibrateCommand, type CalibrateArguments, calibrateMain } from "./calibrate-command.ts";
import { addCompareCommand, type CompareArguments, compareMain } from "./compare-command.ts";
import { type FleetArguments, fleetMain } from "./fleet-command.ts";
import { giveHeapHeadroom } from "./heap-headroom.ts";
import { tolerateClosedStream } from "./log.ts";
import { type ProfileArguments, profileMain } from "./profile-command.ts";
import { addRecordCommand, type RecordArguments, recordMain } from "./record-command.ts";
import {
  addRunOptions,
  positiveInteger,
  type RunArguments,
  WORKERS_MAX,
  wholeSeconds,
} from "./run-options.ts";
import { runScheduler } from "./scheduler-process.ts";
import { addSimulateCommand, type SimulateArguments, simulateMain } from "./simulate-command.ts";
import { type CommandProcess, zeroRunMain } from "./zero-run-command.ts";

/** Wrong usage ends with this status, as CONTRACT has it; commander's own is 1. */
const USAGE_STATUS = 2;

async function main(argv: readonly string[]): Promise<number> {
  // Dask's own options are parsed apart: all of them, and their errors, are to be Dask's.
  if (argv[0] === "scheduler") return runScheduler(argv.slice(1));
  if (argv[0] === "help" && argv[1] === "scheduler") return runScheduler(["--help"]);
  tolerateClosedStream(process.stdout);
  tolerateClosedStream(process.stderr);
  let command: (parts: CommandProcess) => Promise<number> = () => Promise.resolve(0);
  const program = new Command("rsds")
    .description("A Dask scheduler that shows where every microsecond of a task goes.")
    .version(rsdsVersion())
    .exitOverride()
    // What stands behind a command's name is the command's own, whatever the root has by that name.
    .enablePositionalOptions()
    .allowExcessArguments()
    .helpCommand("help [command]", "display help for a command")
    // Suggestions come on a line of their own; an error is one line.
    .configureOutput({ outputError: (text, write) => write(`rsds: ${oneLine(text)}\n`) })
    .showHelpAfterError(false);
  addRunOptions(program).action((args: RunArguments) => {
    if (program.args.length > 0)
      program.error(
        `unknown command '${program.args[0]}': the commands are scheduler, fleet, profile, record, simulate, calibrate and compare`,
      );
    if (argv.length === 0) program.help({ error: true });
    if (args.zeroWorkers === undefined) program.error("say how many workers: --zero-workers N (see --help)");
    if (externalCommand(args.scheduler) !== null && args.transport === "direct")
      program.error("a policy outside the process needs time to answer: --transport tcp or memory");
    noteWireOptions(program, args);
    command = (parts) => zeroRunMain(args, parts);
  });
  schedulerCommand(program);
  program.hook("preSubcommand", () => refuseMisplaced(program));
  addCompareCommand(program).action((a: string, b: string, args: CompareArguments) => {
    command = (parts) => compareMain(a, b, args, parts);
  });
  addCalibrateCommand(program).action((args: CalibrateArguments) => {
    command = (parts) => calibrateMain(args, parts);
  });
  addSimulateCommand(program).action((args: SimulateArguments) => {
    command = (parts) => simulateMain(args, parts);
  });
  fleetCommand(program).action((address: string, args: FleetArguments) => {
    command = (parts) => fleetMain(address, args, parts);
  });
  profileCommand(program).action((address: string, args: ProfileArguments) => {
    command = (parts) => profileMain(address, args, parts);
  });
  addRecordCommand(program).action((address: string, args: RecordArguments) => {
    command = (parts) => recordMain(address, args, parts);
  });
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : USAGE_STATUS;
  }
  return withSignal(command);
}

function oneLine(text: string): string {
  return text
    .replace(/^error: /, "")
    .trim()
    .replaceAll(/\s*\n\s*/g, " ");
}

/** An option before a command's name would be of no effect. */
function refuseMisplaced(program: Command): void {
  const misplaced = program.options.find(
    (option) => program.getOptionValueSource(option.attributeName()) === "cli",
  );
  if (misplaced !== undefined) program.error(`put ${misplaced.long} behind the name of the command`);
}

/** For --help, and for those who give other options first. */
function schedulerCommand(program: Command): void {
  program
    .command("scheduler")
    .description("drop-in for `dask scheduler`: see rsds scheduler --help")
    .allowUnknownOption()
    .allowExcessArguments()
    .helpOption(false)
    .action(() => program.error("put the options of the scheduler behind its name: rsds scheduler …"));
}

/** `direct` has no wire: what is chosen of it is of no effect, and whoever chose it is told. */
function noteWireOptions(program: Command, args: RunArguments): void {
  if (args.transport !== "direct") return;
  for (const name of ["release", "flush"]) {
    if (program.getOptionValueSource(name) !== "cli") continue;
    process.stderr.write(`rsds: --${name} has no effect over --transport direct, which has no wire\n`);
  }
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
    .option("--seconds <s>", "leave after so long", wholeSeconds)
    .option("--out <dir>", "write what was seen to this folder")
    .option("--json", "print the document as JSON", false)
    .option("--quiet", "no progress on stderr", false);
}

function profileCommand(program: Command): Command {
  return program
    .command("profile")
    .description("trace a running rsds scheduler, with whatever it is doing")
    .argument("<address>", "the scheduler, such as tcp://127.0.0.1:8786")
    .option("--seconds <s>", "for so long (default: until Ctrl-C)", wholeSeconds)
    .addOption(
      new Option("--trace <level>", "what is recorded").choices(["phases", "tasks"]).default("phases"),
    )
    .option("--out <dir>", "result folder (default: rsds-results/<utc time>-profile)")
    .option("--json", "print the summary as one JSON document", false)
    .option("--quiet", "no progress on stderr", false);
}

/** The first Ctrl-C asks the command to end in order, the second ends the process. */
async function withSignal(command: (parts: CommandProcess) => Promise<number>): Promise<number> {
  giveHeapHeadroom();
  const controller = new AbortController();
  // A profiler that was preloaded may have a handler that ends the process at once, before anything is written.
  process.removeAllListeners("SIGINT");
  process.once("SIGINT", () => controller.abort());
  return command({ stdout: process.stdout, stderr: process.stderr, signal: controller.signal });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`rsds: ${oneLine(error instanceof Error ? error.message : String(error))}\n`);
  process.exitCode = 1;
}
