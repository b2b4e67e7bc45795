import { join } from "node:path";
import { chromeTrace } from "./chrome-trace.ts";
import { hopsCsv, phasesCsv, type TaskTable, tasksCsv } from "./csv.ts";
import { ResultFolder } from "./files.ts";
import { intervalLog, percentileDistributions } from "./hdr.ts";
import type { HistogramInterval, TraceTrack } from "./input.ts";
import { readSummary } from "./read.ts";
import type { Summary } from "./summary.ts";

/** A written folder: the summary as it stands in it, `files` filled in. */
export interface WrittenFolder {
  readonly path: string;
  readonly summary: Summary;
}

/** A file of somebody else's form, such as V8's profile. */
export interface ExtraFile {
  readonly name: string;
  readonly text: string;
}

/**
 * Writes a run's result folder, which is made if need be. With `--trace off` (a summary without phases) it holds
 * the summary alone. Rejects with the file system's error; what was complete by then stays.
 */
export async function writeResultFolder(
  path: string,
  summary: Summary,
  histograms: readonly HistogramInterval[],
  traceEvents: readonly TraceTrack[],
  taskRows: readonly TaskTable[] = [],
  extras: readonly ExtraFile[] = [],
): Promise<WrittenFolder> {
  const folder = await ResultFolder.create(path);
  if (summary.phases !== undefined && summary.hops !== undefined) {
    await folder.write("phases.csv", phasesCsv(summary.phases));
    await folder.write("hops.csv", hopsCsv(summary.hops));
    await writeHistograms(folder, histograms, Date.parse(summary.started_at));
    await folder.writeGzip("trace.json.gz", chromeTrace(traceEvents, summary));
  }
  if (taskRows.length > 0) await folder.writeGzip("tasks.csv.gz", tasksCsv(taskRows));
  for (const { name, text } of extras) await folder.write(name, text);
  return { path, summary: await writeSummary(folder, summary) };
}

/** Takes over what another process wrote for one run, with a file more and a fact more about the run. */
export async function adoptResultFolder(
  from: string,
  path: string,
  extra: { readonly name: string; readonly from: string },
  facts: Readonly<Record<string, string>>,
): Promise<WrittenFolder> {
  const summary = await readSummary(from);
  const folder = await ResultFolder.create(path);
  for (const name of summary.files) if (name !== "summary.json") await folder.copy(name, join(from, name));
  await folder.copy(extra.name, extra.from);
  return { path, summary: await writeSummary(folder, { ...summary, run: { ...summary.run, ...facts } }) };
}

/** latency.hlog and a .hgrm for each tag. */
export async function writeHistograms(
  folder: ResultFolder,
  histograms: readonly HistogramInterval[],
  started_at_ms: number,
): Promise<void> {
  await folder.write("latency.hlog", await intervalLog(histograms, started_at_ms));
  for (const [tag, text] of await percentileDistributions(histograms))
    await folder.write(`${tag}.hgrm`, text);
}

/** Writes the document, which names all files of the folder, itself included. */
export async function writeSummary<D extends { readonly files: readonly string[] }>(
  folder: ResultFolder,
  document: D,
): Promise<D> {
  const complete = { ...document, files: ["summary.json", ...folder.files] };
  await folder.write("summary.json", `${JSON.stringify(complete, null, 2)}\n`);
  return complete;
}
