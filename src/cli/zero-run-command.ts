import { join } from "node:path";
import { buildResults } from "../results/build.ts";
import { writeResultFolder } from "../results/folder.ts";
import type { Summary } from "../results/summary.ts";
import { renderTable } from "../results/table.ts";
import { textOptionsOf } from "../results/text.ts";
import type { RunArguments } from "./run-options.ts";
import { workloadsOf } from "./run-options.ts";

/** What a command needs of its process. */
export interface CommandProcess {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/**
 * `rsds --zero-workers N`: runs each workload, prints the attribution, writes the result folders. Answers the exit
 * status: 0; 1 a run failed; 2 an unusable workload; 130 interrupted, with what could be written on disk.
 */
export async function zeroRunMain(
  args: RunArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const { zeroRun } = await import("../../simulator/run/zero-run.ts");
  const { WorkloadError } = await import("../../simulator/workloads/index.ts");
  const specs = workloadsOf(args);
  const say = (text: string): void => {
    if (!args.quiet) stderr.write(`${text}\n`);
  };
  const summaries: Summary[] = [];
  let status = 0;
  for (const workload of specs) {
    if (signal.aborted) break;
    try {
      const { input, interrupted } = await zeroRun(
        {
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
        },
        { say },
        signal,
      );
      if (interrupted) status = 130;
      if (input.repeats.length === 0) continue;
      const results = buildResults(input);
      const folder = folderOf(args, workload, specs.length > 1);
      const { summary } = await writeResultFolder(
        folder,
        results.summary,
        results.histograms,
        results.traceEvents,
      );
      summaries.push(summary);
      if (!args.json) stdout.write(`${renderTable(summary, textOptionsOf(stdout))}\n\nfiles in ${folder}\n`);
    } catch (error) {
      status = error instanceof WorkloadError ? 2 : 1;
      stderr.write(`rsds: ${error instanceof Error ? error.message : String(error)}\n`);
      if (status === 2) break;
    }
  }
  if (args.json) stdout.write(`${JSON.stringify(specs.length > 1 ? summaries : (summaries[0] ?? null))}\n`);
  return status;
}

function folderOf(args: RunArguments, workload: string, several: boolean): string {
  const name = workload
    .replace(/^.*\//, "")
    .replace(/\.jsonl\.gz$/, "")
    .replace(/[^\w.-]+/g, "-");
  if (args.out !== undefined) return several ? join(args.out, name) : args.out;
  const time = new Date()
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replaceAll(":", "");
  return join("rsds-results", `${time}-${name}`);
}
