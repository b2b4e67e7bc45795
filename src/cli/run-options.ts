import { type Command, InvalidArgumentError, Option } from "commander";
import { isPolicy, POLICY_CHOICES } from "../schedulers/index.ts";

/** CONTRACT's run options, as parsed. */
export interface RunArguments {
  readonly zeroWorkers: number;
  readonly workload: readonly string[];
  readonly scheduler: string;
  readonly transport: "tcp" | "memory" | "direct";
  readonly release: "2022.12" | "2024.12" | "2026.8";
  readonly flush: "turn" | "each";
  readonly order: boolean;
  readonly repeat: number;
  readonly seed: number;
  readonly out?: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly trace: "off" | "phases" | "tasks";
  readonly training: "on" | "off";
  readonly cpuProfile: boolean;
  readonly clinic?: "doctor" | "flame" | "bubbleprof";
}

const DEFAULT_WORKLOAD = "merge:10000";
/** A compute-task names workers by ports of one address: more do not fit. */
export const WORKERS_MAX = 20_000;

/** The value of `--scheduler`. */
export function parsePolicy(name: string): string {
  if (isPolicy(name)) return name;
  throw new InvalidArgumentError(`It must be one of ${POLICY_CHOICES}.`);
}

/** A whole number of at least 1. */
export function positiveInteger(maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < 1 || value > maximum)
      throw new InvalidArgumentError(`It must be a whole number from 1 to ${maximum}.`);
    return value;
  };
}

/** Reads `--seconds`: a timer of Node's takes no longer times, and would be over at once. */
export const wholeSeconds = positiveInteger(2_147_483);

/** Adds the options of a pure overhead run. */
export function addRunOptions(command: Command): Command {
  return command
    .option("--zero-workers <n>", "run the scheduler against N zero workers", positiveInteger(WORKERS_MAX))
    .option(
      "--workload <spec>",
      `merge:N, merge-slow:N:SECONDS, tree:E, random:N:SEED, estee:NAME:SEED[:SIZE], or a recorded graph's path; repeatable (default: ${DEFAULT_WORKLOAD})`,
      (spec: string, before: readonly string[] | undefined) => [...(before ?? []), spec],
    )
    .addOption(
      new Option("--scheduler <name>", `scheduling policy: ${POLICY_CHOICES}`)
        .argParser(parsePolicy)
        .default("workstealing"),
    )
    .addOption(
      new Option("--transport <name>", "what is between scheduler and workers")
        .choices(["tcp", "memory", "direct"])
        .default("tcp"),
    )
    .addOption(
      new Option("--release <release>", "the wire that the fleet speaks")
        .choices(["2022.12", "2024.12", "2026.8"])
        .default("2026.8"),
    )
    .addOption(
      new Option("--flush <when>", "when a zero worker writes its reports")
        .choices(["turn", "each"])
        .default("turn"),
    )
    .option("--order", "leave ordering to the scheduler", false)
    .option("--repeat <r>", "timed repeats, after one warm-up", positiveInteger(10_000), 5)
    .option("--seed <s>", "seed of the policy's lots", wholeNumber, 1)
    .option("--out <dir>", "result folder (default: rsds-results/<utc time>-<workload>)")
    .option("--json", "print the summary as one JSON document", false)
    .option("--quiet", "no progress on stderr", false)
    .addOption(
      new Option("--trace <level>", "what is recorded").choices(["off", "phases", "tasks"]).default("phases"),
    )
    .addOption(trainingOption())
    .addOption(
      new Option("--clinic <tool>", "run under clinic and put its page into the result folder").choices([
        "doctor",
        "flame",
        "bubbleprof",
      ]),
    )
    .option("--cpu-profile", "write V8's own profile of the timed repeats too: scheduler.cpuprofile", false);
}

/** `--training`, of everything that starts a scheduler. */
export function trainingOption(): Option {
  return new Option(
    "--training <when>",
    "whether the scheduler's code is compiled before there is work for it",
  )
    .choices(["on", "off"])
    .env("RSDS_TRAINING")
    .default("on");
}

/** A whole number of at least 0. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError("It must be a whole number.");
  return value;
}

export function workloadsOf(args: RunArguments): readonly string[] {
  return args.workload ?? [DEFAULT_WORKLOAD];
}
