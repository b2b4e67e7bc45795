import { type Command, InvalidArgumentError, Option } from "commander";
import type { FaultOptions } from "../../simulator/faults/fault-run.ts";
import type { VirtualOptions } from "../../simulator/virtual/options.ts";
import type { RecordedRun, Workload } from "../../simulator/workloads/index.ts";
import { rsdsVersion } from "../results/machine.ts";
import { POLICY_NAMES } from "../schedulers/index.ts";
import { defaultPlace, makeWritable, oneLine } from "./result-place.ts";
import { positiveInteger, WORKERS_MAX, wholeNumber } from "./run-options.ts";
import { sayer } from "./say.ts";
import { simulateStimuli } from "./simulate-stimuli.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface SimulateArguments {
  readonly faults: boolean;
  readonly seed: number;
  readonly workers?: number;
  readonly json: boolean;
  readonly quiet: boolean;
  // Faults.
  readonly count: number;
  readonly steps?: readonly number[];
  readonly clients?: number;
  readonly bail: boolean;
  readonly shrink: boolean;
  readonly log: boolean;
  // Virtual time.
  readonly workload?: readonly string[];
  readonly stimuli?: readonly string[];
  readonly cores?: number;
  readonly scheduler?: string;
  readonly network: VirtualOptions["network"];
  readonly fetch?: VirtualOptions["fetch"];
  readonly submit: VirtualOptions["submit"];
  readonly bandwidth?: number;
  readonly latency?: number;
  readonly messageDelay?: number;
  readonly schedulingDelay: number;
  readonly decisionDelay: number;
  readonly repeat: number;
  readonly out?: string;
}

const FAILED = 1;
const WRONG_USAGE = 2;
const INTERRUPTED = 130;
/** Of a graph alone; a recording has its own. */
const DEFAULTS: Setup = {
  ...{ workers: 168, cores: 1, scheduler: "workstealing", fetch: "each" },
  ...{ bandwidth: 1e9, latency_ns: 0.1e6, message_ns: 0.1e6 },
};
type Setup = Pick<
  VirtualOptions,
  "workers" | "cores" | "scheduler" | "fetch" | "bandwidth" | "latency_ns" | "message_ns"
>;

/** Adds `rsds simulate`. */
export function addSimulateCommand(program: Command): Command {
  const command = program
    .command("simulate")
    .description(
      "the same scheduler in virtual time, in worlds in which everything goes wrong, or told once more what it was told",
    )
    .option(
      "--workload <spec>",
      "in virtual time: merge:N, merge-slow:N:SECONDS, tree:E, random:N:SEED, estee:NAME:SEED[:SIZE], or a recorded graph's path; repeatable",
      (spec: string, before: readonly string[] | undefined) => [...(before ?? []), spec],
    )
    .option(
      "--stimuli <file>",
      "a log of rsds scheduler --stimulus-log, told to a core again and checked; repeatable",
      (file: string, before: readonly string[] | undefined) => [...(before ?? []), file],
    )
    .option("--faults", "worlds in which everything goes wrong, checked after each step", false)
    .option("--seed <n>", "the first seed", wholeNumber, 1)
    .option(
      "--workers <n>",
      "how many (default: 168, or as recorded; with --faults, as the seed says)",
      positiveInteger(100_000),
    )
    .option("--count <k>", "with --faults: how many seeds", positiveInteger(1e9), 1)
    .option("--steps <list>", "with --faults: only these steps, such as 3,17,40; none: no step", steps)
    .option("--clients <n>", "with --faults: how many (default: as the seed says)", positiveInteger(1000))
    .option("--bail", "with --faults: stop at the first world that fails", false)
    .option("--no-shrink", "with --faults: leave a world that failed as it is")
    .option("--log", "with --faults: write everything that happens to stderr", false)
    .option("--json", "print the report as one JSON document", false)
    .option("--quiet", "no progress on stderr", false);
  return addVirtualOptions(command);
}

function addVirtualOptions(command: Command): Command {
  return command
    .option("--cores <n>", "of each worker (default: 1, or as recorded)", positiveInteger(WORKERS_MAX))
    .addOption(
      new Option("--scheduler <name>", "scheduling policy (default: workstealing, or as recorded)").choices([
        ...POLICY_NAMES,
      ]),
    )
    .addOption(
      new Option("--network <model>", "no time at all; latency and bandwidth; shared max-min fair")
        .choices(["instant", "simple", "maxmin"])
        .default("simple"),
    )
    .option(
      "--bandwidth <mb>",
      "MB a second of each worker, each way (default: 1000, or as recorded)",
      positive,
    )
    .option("--latency <ms>", "of a transfer (default: 0.1, or as recorded)", notNegative)
    .option(
      "--message-delay <ms>",
      "of a message between scheduler and worker (default: 0.1, or as recorded)",
      notNegative,
    )
    .addOption(
      new Option(
        "--fetch <rule>",
        "input by input, or all of one worker in one go (default: each; recorded: gather)",
      ).choices(["each", "gather"]),
    )
    .addOption(
      new Option(
        "--submit <when>",
        "when a recording's graphs come: as recorded, or after the results that they waited for",
      )
        .choices(["recorded", "results"])
        .default("recorded"),
    )
    .option("--scheduling-delay <ms>", "the policy is asked no more often than this", notNegative, 0)
    .option("--decision-delay <ms>", "what it decides leaves so much later", notNegative, 0)
    .option("--repeat <r>", "runs, each with the next seed", positiveInteger(10_000), 1)
    .option("--out <dir>", "result folder (default: rsds-results/<utc time>-<workload>)");
}

function steps(text: string): readonly number[] {
  if (text === "none") return [];
  if (!/^\d+(,\d+)*$/.test(text))
    throw new InvalidArgumentError("It must be numbers with commas between them.");
  return text.split(",").map(Number);
}

function notNegative(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1e12))
    throw new InvalidArgumentError("It must be a number of at least 0.");
  return value;
}

function positive(text: string): number {
  const value = notNegative(text);
  if (value === 0) throw new InvalidArgumentError("It must be more than 0.");
  return value;
}

/** `rsds simulate`: 0, done; 1, a world failed, or the run; 2, wrong usage; 130, interrupted. */
export async function simulateMain(args: SimulateArguments, parts: CommandProcess): Promise<number> {
  const workloads = args.workload ?? [];
  const stimuli = args.stimuli ?? [];
  const asked = [args.faults, workloads.length > 0, stimuli.length > 0].filter(Boolean).length;
  if (asked > 1) return refuse(parts, "give one of --workload, --faults and --stimuli");
  if (stimuli.length > 0) return simulateStimuli(args, stimuli, parts);
  if (args.faults) return simulateFaults(args, parts);
  if (workloads.length === 0)
    return refuse(parts, "say what to simulate: --workload SPEC, --faults or --stimuli FILE");
  const { WorkloadError } = await import("../../simulator/workloads/index.ts");
  try {
    await simulateWorkloads(args, workloads, parts);
    return 0;
  } catch (error) {
    if (parts.signal.aborted) return INTERRUPTED;
    parts.stderr.write(`rsds simulate: ${oneLine(error)}\n`);
    return error instanceof WorkloadError ? WRONG_USAGE : FAILED;
  }
}

function refuse({ stderr }: CommandProcess, text: string): number {
  stderr.write(`rsds simulate: ${text}\n`);
  return WRONG_USAGE;
}

async function simulateWorkloads(
  args: SimulateArguments,
  workloads: readonly string[],
  parts: CommandProcess,
): Promise<void> {
  const documents: unknown[] = [];
  for (const spec of workloads) documents.push(await simulateWorkload(args, spec, workloads.length, parts));
  if (args.json) parts.stdout.write(`${JSON.stringify(documents.length === 1 ? documents[0] : documents)}\n`);
}

async function simulateWorkload(
  args: SimulateArguments,
  spec: string,
  count: number,
  { stdout, stderr, signal }: CommandProcess,
): Promise<unknown> {
  const { parseWorkload } = await import("../../simulator/workloads/index.ts");
  const { runVirtual } = await import("../../simulator/virtual/virtual-run.ts");
  const { renderSimulation, simulationSummary, writeSimulation } = await import(
    "../../simulator/virtual/document.ts"
  );
  const started_at = new Date().toISOString();
  const workload = await parseWorkload(spec);
  const name = workload.name.replaceAll(":", "-");
  const folder = args.out === undefined ? defaultPlace(name) : count === 1 ? args.out : `${args.out}/${name}`;
  makeWritable(folder);
  const options = virtualOptions(args, spec, workload);
  const say = sayer(args.quiet, stderr);
  for (const note of replayNotes(args, workload)) say(note);
  let last = await runVirtual(workload, options, options.seed, { say, signal });
  const repeats = [last.repeat];
  while (repeats.length < options.repeats) {
    last = await runVirtual(workload, options, options.seed + repeats.length, { say, signal });
    repeats.push(last.repeat);
  }
  const summary = simulationSummary(workload, options, repeats, { version: rsdsVersion(), started_at });
  const written = await writeSimulation(folder, summary, workload, last.timeline);
  if (!args.json) stdout.write(`${renderSimulation(written)}  results in      ${folder}\n`);
  return written;
}

/** What is not given is as recorded, where the workload is a recording. */
function virtualOptions(args: SimulateArguments, spec: string, workload: Workload): VirtualOptions {
  const given = workload.recorded === undefined ? DEFAULTS : setupOf(workload.recorded);
  return {
    workload: spec,
    workers: args.workers ?? given.workers,
    cores: args.cores ?? given.cores,
    scheduler: args.scheduler ?? given.scheduler,
    network: args.network,
    fetch: args.fetch ?? given.fetch,
    submit: args.submit,
    bandwidth: args.bandwidth === undefined ? given.bandwidth : args.bandwidth * 1e6,
    latency_ns: args.latency === undefined ? given.latency_ns : args.latency * 1e6,
    message_ns: args.messageDelay === undefined ? given.message_ns : args.messageDelay * 1e6,
    scheduling_delay_ns: args.schedulingDelay * 1e6,
    decision_delay_ns: args.decisionDelay * 1e6,
    seed: args.seed,
    repeats: args.repeat,
  };
}

/** What of a recording's setup there is not here, unless something else was asked for. */
function replayNotes(args: SimulateArguments, { recorded }: Workload): string[] {
  if (recorded === undefined) return [];
  const { scheduler, workers } = recorded.setup;
  const notes: string[] = [];
  if (args.scheduler === undefined && !POLICY_NAMES.includes(scheduler))
    notes.push(
      `it was recorded under the policy ${scheduler}, which is not to be had here: it is replayed under ${DEFAULTS.scheduler}`,
    );
  if (args.cores === undefined && new Set(workers).size > 1)
    notes.push(
      `its workers had from ${Math.min(...workers)} to ${Math.max(...workers)} threads: all are given ${setupOf(recorded).cores}`,
    );
  return notes;
}

/** Workers that had different numbers of threads are taken for as many that have the middle one. */
function setupOf({ setup }: RecordedRun): Setup {
  const threads = setup.workers.toSorted((a, b) => a - b);
  const known = POLICY_NAMES.includes(setup.scheduler);
  const { transfer_latency_us, transfer_bandwidth } = setup;
  return {
    workers: Math.max(1, threads.length),
    cores: Math.max(1, threads[threads.length >> 1] ?? 1),
    scheduler: known ? setup.scheduler : DEFAULTS.scheduler,
    fetch: "gather",
    ...(transfer_latency_us === null
      ? { bandwidth: DEFAULTS.bandwidth, latency_ns: DEFAULTS.latency_ns }
      : { bandwidth: transfer_bandwidth ?? DEFAULTS.bandwidth, latency_ns: transfer_latency_us * 1e3 }),
    message_ns: setup.message_us * 1e3,
  };
}

async function simulateFaults(
  args: SimulateArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const { renderFaults, runSeeds } = await import("../../simulator/faults/fault-run.ts");
  const options: FaultOptions = {
    seed: args.seed,
    count: args.count,
    steps: args.steps ?? null,
    workers: args.workers ?? null,
    clients: args.clients ?? null,
    bail: args.bail,
    shrink: args.shrink,
  };
  const report = await runSeeds(options, rsdsVersion(), {
    signal,
    say: (text) => {
      if (!args.quiet) stderr.write(`${text}\n`);
    },
    witness: args.log ? (line) => void stderr.write(`${line}\n`) : null,
  });
  stdout.write(args.json ? `${JSON.stringify(report)}\n` : renderFaults(report));
  if (report.failures.length > 0) return FAILED;
  return signal.aborted ? INTERRUPTED : 0;
}
