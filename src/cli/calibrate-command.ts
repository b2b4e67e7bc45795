import { type Command, Option } from "commander";
import type { CalibrateOptions } from "../../simulator/calibrate/calibrate.ts";
import type { Calibration } from "../results/calibration.ts";
import { renderCalibration } from "../results/calibration-table.ts";
import { machineFacts, rsdsVersion } from "../results/machine.ts";
import { textOptionsOf } from "../results/text.ts";
import { positiveInteger, WORKERS_MAX } from "./run-options.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface CalibrateArguments {
  readonly zeroWorkers?: number;
  readonly workload?: string;
  readonly transport: "tcp" | "memory";
  readonly flush: "turn" | "each";
  readonly repeat: number;
  readonly python?: string;
  readonly subtract: boolean;
  readonly cpuProfile: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

const FAILED = 1;
const WRONG_USAGE = 2;
const INTERRUPTED = 130;
const RELEASE = "2026.8";
const PLANTED_RUN = { zero_workers: 24, workload: "merge:10000" } as const;
/** Its transports are far enough apart: over tcp the other one costs but half a microsecond more than in memory. */
const SUBTRACTED_RUN = { zero_workers: 168, workload: "tree:13" } as const;

/** Adds `rsds calibrate`. */
export function addCalibrateCommand(program: Command): Command {
  return program
    .command("calibrate")
    .description("plant known delays in zero runs and print planted against attributed")
    .option(
      "--zero-workers <n>",
      `how many zero workers (default: ${PLANTED_RUN.zero_workers}, with --subtract ${SUBTRACTED_RUN.zero_workers})`,
      positiveInteger(WORKERS_MAX),
    )
    .option(
      "--workload <spec>",
      `as in a zero run (default: ${PLANTED_RUN.workload}, with --subtract ${SUBTRACTED_RUN.workload})`,
    )
    .addOption(
      new Option("--transport <name>", "what is between scheduler and workers")
        .choices(["tcp", "memory"])
        .default("tcp"),
    )
    .addOption(
      new Option("--flush <when>", "when a zero worker writes its reports")
        .choices(["turn", "each"])
        .default("turn"),
    )
    .option("--repeat <r>", "rounds of one repeat for each phase", positiveInteger(1000), 5)
    .option(
      "--python <path>",
      "Python with distributed, for the unpacker's delays (default: as the scheduler)",
    )
    .option("--subtract", "instead of planting: differences between transports against phases", false)
    .option("--cpu-profile", "instead of planting: phases against V8's own profile", false)
    .option("--json", "print one JSON document", false)
    .option("--quiet", "no progress on stderr", false);
}

/**
 * `rsds calibrate`: 0, every figure is within its bound; 1, one is not, or it failed; 2, an unusable workload; 130,
 * interrupted, without a result.
 */
export async function calibrateMain(
  args: CalibrateArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const { WorkloadError } = await import("../../simulator/workloads/index.ts");
  try {
    const calibration = await calibrate(args, signal, (text) => {
      if (!args.quiet) stderr.write(`${text}\n`);
    });
    if (args.json) stdout.write(`${JSON.stringify(calibration)}\n`);
    else stdout.write(renderCalibration(calibration, textOptionsOf(stdout)));
    return calibration.ok ? 0 : FAILED;
  } catch (error) {
    if (signal.aborted) return INTERRUPTED;
    const text = error instanceof Error ? error.message : String(error);
    stderr.write(`rsds calibrate: ${text.replaceAll("\n", " ")}\n`);
    return error instanceof WorkloadError ? WRONG_USAGE : FAILED;
  }
}

type Say = (text: string) => void;

async function calibrate(args: CalibrateArguments, signal: AbortSignal, say: Say): Promise<Calibration> {
  const simulator = await import("../../simulator/calibrate/calibrate.ts");
  const { ERROR_MAX } = await import("../../simulator/calibrate/bounds.ts");
  const started_at = new Date().toISOString();
  const usual = args.subtract ? SUBTRACTED_RUN : PLANTED_RUN;
  const options = {
    zero_workers: args.zeroWorkers ?? usual.zero_workers,
    workload: args.workload ?? usual.workload,
    transport: args.transport,
    release: RELEASE,
    flush: args.flush,
    rounds: args.repeat,
    seed: 1,
  } as const;
  const run = await simulator.calibrationRun(options);
  say(`${run.workload}: ${run.tasks} tasks, ${run.zero_workers} zero workers`);
  const planting = !args.subtract && !args.cpuProfile;
  const planted = planting ? await plant(options, args.python ?? null, signal, say) : NOTHING_PLANTED;
  const subtract = args.subtract ? await simulator.calibrateLayers(options, { say, signal }) : undefined;
  const cpu_profile = args.cpuProfile
    ? await simulator.calibrateProfile(options, { say, signal })
    : undefined;
  return {
    schema: "rsds.calibration/1",
    rsds: { version: rsdsVersion() },
    machine: machineFacts(),
    started_at,
    run,
    bound: ERROR_MAX,
    ...planted,
    ...(subtract === undefined ? {} : { subtract }),
    ...(cpu_profile === undefined ? {} : { cpu_profile }),
    ok: [...planted.plants, ...(subtract ?? []), cpu_profile].every((check) => check?.ok !== false),
  };
}

type Plants = Pick<Calibration, "plants" | "left_out">;

const NOTHING_PLANTED: Plants = { plants: [], left_out: [] };

async function plant(
  options: CalibrateOptions,
  python: string | null,
  signal: AbortSignal,
  say: Say,
): Promise<Plants> {
  const { calibratePhases } = await import("../../simulator/calibrate/calibrate.ts");
  const { plantInUnpacker } = await import("../../simulator/calibrate/unpacker.ts");
  const { rows, absent } = await calibratePhases(options, rsdsVersion(), { say, signal });
  const left_out = absent.map((planted_in) => ({ planted_in, reason: "the run has no such span" }));
  say("  the unpacker, with a Python client");
  const unpacker = await plantInUnpacker(python, options.rounds, rsdsVersion(), signal);
  if (typeof unpacker !== "string") return { plants: [...rows, unpacker], left_out };
  return { plants: rows, left_out: [...left_out, { planted_in: "unpacker", reason: unpacker }] };
}
