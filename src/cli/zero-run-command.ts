import { join } from "node:path";
import { buildResults } from "../results/build.ts";
import { adoptResultFolder, writeResultFolder } from "../results/folder.ts";
import type { Summary } from "../results/summary.ts";
import { renderTable } from "../results/table.ts";
import { textOptionsOf } from "../results/text.ts";
import { findClinic, runUnderClinic } from "./clinic.ts";
import { fileTime, makeWritable, oneLine, RESULTS } from "./result-place.ts";
import type { RunArguments } from "./run-options.ts";
import { workloadsOf } from "./run-options.ts";
import { sayer } from "./say.ts";

/** What a command needs of its process. */
export interface CommandProcess {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Exit statuses of CONTRACT.md. */
const FAILED = 1;
const WRONG_USAGE = 2;
const INTERRUPTED = 130;

/**
 * `rsds --zero-workers N`: runs each workload, prints the attribution, writes the result folders. Answers the exit
 * status: 0; 1 a run failed; 2 an unusable workload; 130 interrupted, with what could be written on disk.
 */
export async function zeroRunMain(args: RunArguments, parts: CommandProcess): Promise<number> {
  const { stdout, stderr, signal } = parts;
  const { parseWorkload, WorkloadError } = await import("../../simulator/workloads/index.ts");
  const complain = (error: unknown): number => {
    stderr.write(`rsds: ${oneLine(error)}\n`);
    return error instanceof WorkloadError ? WRONG_USAGE : FAILED;
  };
  const specs = workloadsOf(args);
  try {
    // All before the first runs: nobody should wait for a run to hear of a typing error in the next.
    if (specs.length > 1 || args.clinic !== undefined) for (const spec of specs) await parseWorkload(spec);
    makeWritable(args.out ?? RESULTS);
  } catch (error) {
    return complain(error);
  }
  const clinic = args.clinic === undefined ? null : findClinic();
  if (args.clinic !== undefined && clinic === null) {
    stderr.write("rsds: --clinic needs clinic: install it beside rsds (npm install --save-dev clinic@13)\n");
    return WRONG_USAGE;
  }
  const folders = foldersOf(args, specs);
  const summaries: Summary[] = [];
  let status = 0;
  for (let i = 0; i < specs.length && !signal.aborted; i++) {
    try {
      const one = { args, workload: specs[i]!, folder: folders[i]! };
      summaries.push(...(clinic === null ? await runOne(one, parts) : await runInClinic(clinic, one, parts)));
    } catch (error) {
      status = complain(error);
    }
  }
  // Without any result stdout stays empty: there is no document to print.
  if (args.json && summaries.length > 0)
    stdout.write(`${JSON.stringify(specs.length > 1 ? summaries : summaries[0])}\n`);
  return signal.aborted ? INTERRUPTED : status;
}

interface OneRun {
  readonly args: RunArguments;
  readonly workload: string;
  readonly folder: string;
}

/** The same as a process of its own under clinic, whose page comes into the folder. */
async function runInClinic(
  clinic: string,
  { args, workload, folder }: OneRun,
  { stdout, stderr, signal }: CommandProcess,
): Promise<readonly Summary[]> {
  const tool = args.clinic ?? "doctor";
  const say = sayer(args.quiet, stderr);
  const run = await runUnderClinic(tool, clinic, args, workload, say, signal);
  try {
    if (run.page === null || !run.complete) {
      if (!signal.aborted) throw new Error(`clinic ${tool} left no result; last was said: ${run.said}`);
      stderr.write(`rsds: ${workload}: interrupted before there was a result, nothing to write\n`);
      return [];
    }
    makeWritable(folder);
    const page = { name: `clinic-${tool}.html`, from: run.page };
    const { summary } = await adoptResultFolder(run.folder, folder, page, { clinic: tool });
    if (!args.json) stdout.write(`${renderTable(summary, textOptionsOf(stdout))}\nfiles in ${folder}\n`);
    return [summary];
  } finally {
    await run.remove();
  }
}

/** One workload, its table and its folder; nothing when it was interrupted before there was anything to write. */
async function runOne(
  { args, workload, folder }: OneRun,
  { stdout, stderr, signal }: CommandProcess,
): Promise<readonly Summary[]> {
  const { zeroRun } = await import("../../simulator/run/zero-run.ts");
  const say = sayer(args.quiet, stderr);
  const options = {
    zero_workers: args.zeroWorkers,
    workload,
    scheduler: args.scheduler,
    transport: args.transport,
    release: args.release,
    flush: args.flush,
    order: args.order,
    repeats: args.repeat,
    seed: args.seed,
    trace: args.trace,
    training: args.training === "on",
    cpu_profile: args.cpuProfile,
  };
  const { input, tables, profile, interrupted } = await zeroRun(options, { say }, signal);
  const done = input.repeats.length;
  if (done === 0) {
    stderr.write(`rsds: ${workload}: interrupted before its first repeat was over, nothing to write\n`);
    return [];
  }
  if (interrupted) say(`interrupted after ${done} of ${args.repeat} repeats: the result is theirs`);
  const { summary: unwritten, histograms, traceEvents } = buildResults(input);
  makeWritable(folder);
  const extras = profile === null ? [] : [{ name: "scheduler.cpuprofile", text: JSON.stringify(profile) }];
  const { summary } = await writeResultFolder(folder, unwritten, histograms, traceEvents, tables, extras);
  if (!args.json) stdout.write(`${renderTable(summary, textOptionsOf(stdout))}\nfiles in ${folder}\n`);
  return [summary];
}

/** A folder for each workload, no two alike. */
function foldersOf(args: RunArguments, specs: readonly string[]): string[] {
  if (args.out !== undefined && specs.length === 1) return [args.out];
  const time = fileTime(new Date());
  const names = new Set<string>();
  for (const spec of specs) {
    const name = spec
      .replace(/^.*\//, "")
      .replace(/\.jsonl\.gz$/, "")
      .replace(/[^\w.-]+/g, "-");
    let unique = name;
    for (let i = 2; names.has(unique); i++) unique = `${name}-${i}`;
    names.add(unique);
  }
  return [...names].map((name) =>
    args.out === undefined ? join(RESULTS, `${time}-${name}`) : join(args.out, name),
  );
}
