import { join } from "node:path";
import { buildResults } from "../results/build.ts";
import { writeResultFolder } from "../results/folder.ts";
import type { Summary } from "../results/summary.ts";
import { renderTable } from "../results/table.ts";
import { textOptionsOf } from "../results/text.ts";
import { fileTime, makeWritable, oneLine, RESULTS } from "./result-place.ts";
import type { RunArguments } from "./run-options.ts";
import { workloadsOf } from "./run-options.ts";

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
    if (specs.length > 1) for (const spec of specs) await parseWorkload(spec);
    makeWritable(args.out ?? RESULTS);
  } catch (error) {
    return complain(error);
  }
  const folders = foldersOf(args, specs);
  const summaries: Summary[] = [];
  let status = 0;
  for (let i = 0; i < specs.length && !signal.aborted; i++) {
    try {
      summaries.push(...(await runOne(args, specs[i]!, folders[i]!, parts)));
    } catch (error) {
      status = complain(error);
    }
  }
  // Without any result stdout stays empty: there is no document to print.
  if (args.json && summaries.length > 0)
    stdout.write(`${JSON.stringify(specs.length > 1 ? summaries : summaries[0])}\n`);
  return signal.aborted ? INTERRUPTED : status;
}

/** One workload, its table and its folder; nothing when it was interrupted before there was anything to write. */
async function runOne(
  args: RunArguments,
  workload: string,
  folder: string,
  { stdout, stderr, signal }: CommandProcess,
): Promise<readonly Summary[]> {
  const { zeroRun } = await import("../../simulator/run/zero-run.ts");
  const say = (text: string): void => {
    if (!args.quiet) stderr.write(`${text}\n`);
  };
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
