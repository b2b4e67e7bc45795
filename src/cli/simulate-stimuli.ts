import { oneLine } from "./result-place.ts";
import { sayer } from "./say.ts";
import type { CommandProcess } from "./zero-run-command.ts";

const FAILED = 1;
const WRONG_USAGE = 2;
const INTERRUPTED = 130;

/** `rsds simulate --stimuli FILE`: 0, all as recorded; 1, an invariant broke or an effect is another; 2, no such log. */
export async function simulateStimuli(
  { json, quiet }: { readonly json: boolean; readonly quiet: boolean },
  files: readonly string[],
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const { renderStimuli, replayStimuli } = await import("../../simulator/stimuli/report.ts");
  const { StimulusLogError } = await import("../../simulator/stimuli/read.ts");
  const say = sayer(quiet, stderr);
  try {
    const reports = [];
    for (const file of files) {
      const report = await replayStimuli(file, { say, signal });
      reports.push(report);
      if (!json) stdout.write(renderStimuli(report));
    }
    if (json) stdout.write(`${JSON.stringify(reports.length === 1 ? reports[0] : reports)}\n`);
    return reports.some(({ differences, breach }) => differences > 0 || breach !== null) ? FAILED : 0;
  } catch (error) {
    if (signal.aborted) return INTERRUPTED;
    stderr.write(`rsds simulate: ${oneLine(error)}\n`);
    return error instanceof StimulusLogError ? WRONG_USAGE : FAILED;
  }
}
