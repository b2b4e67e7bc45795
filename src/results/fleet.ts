import type { Histogram } from "../trace/histogram.ts";
import { ResultFolder } from "./files.ts";
import { writeHistograms, writeSummary } from "./folder.ts";
import { machineFacts, rsdsVersion } from "./machine.ts";
import { percentilesOf } from "./rows.ts";
import type { Json, Machine, Percentiles } from "./summary.ts";
import { bytes, columns, grouped, seconds, significant, styled, type TextOptions } from "./text.ts";

/** What a fleet can see of a scheduler that is not ours: `rsds.fleet/1`. No phases: those are its own affair. */
export interface FleetDocument extends FleetCounts {
  readonly schema: "rsds.fleet/1";
  readonly rsds: { readonly version: string };
  readonly machine: Machine;
  readonly started_at: string;
  readonly run: FleetRunFacts;
  /** Reported as finished. */
  readonly tasks: number;
  /** First compute-task received → last task reported as finished. */
  readonly window_s: number;
  readonly us_per_task: number;
  readonly tasks_per_s: number;
  /** Messages in one batch of a stream. */
  readonly batch_in: BatchSizes;
  readonly batch_out: BatchSizes;
  /** From a worker's report to the next task that it is sent. */
  readonly report_to_next_task: Percentiles;
  /** CPU of the fleet's own threads; null where the system does not tell. */
  readonly fleet_cpu_us_per_task: number | null;
  readonly files: readonly string[];
}

/** As the fleet sees it: `in` comes from the scheduler. */
interface FleetCounts {
  readonly steals_asked: number;
  readonly steals_done: number;
  readonly messages_in: number;
  readonly messages_out: number;
  readonly bytes_in: number;
  readonly bytes_out: number;
}

interface FleetRunFacts {
  readonly address: string;
  readonly workers: number;
  readonly release: string;
  readonly [more: string]: Json;
}

interface BatchSizes {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** What the fleet counted. Times in nanoseconds of one clock. */
export interface FleetInput extends FleetCounts {
  readonly run: FleetRunFacts;
  readonly started_at_ms: number;
  readonly tasks: number;
  /** null when no task came. */
  readonly first_task_ns: number | null;
  readonly last_finished_ns: number | null;
  /** Of messages in a batch. */
  readonly batch_in: Histogram;
  readonly batch_out: Histogram;
  /** Nanoseconds. */
  readonly report_to_next_task: Histogram;
  readonly cpu_ns: number | null;
}

export function buildFleetDocument(input: FleetInput): FleetDocument {
  const { tasks, first_task_ns, last_finished_ns } = input;
  const window_s =
    first_task_ns === null || last_finished_ns === null
      ? 0
      : Math.max(0, last_finished_ns - first_task_ns) / 1e9;
  return {
    schema: "rsds.fleet/1",
    rsds: { version: rsdsVersion() },
    machine: machineFacts(),
    started_at: new Date(input.started_at_ms).toISOString(),
    run: input.run,
    tasks,
    window_s,
    us_per_task: tasks > 0 ? (window_s * 1e6) / tasks : 0,
    tasks_per_s: window_s > 0 ? tasks / window_s : 0,
    steals_asked: input.steals_asked,
    steals_done: input.steals_done,
    messages_in: input.messages_in,
    messages_out: input.messages_out,
    bytes_in: input.bytes_in,
    bytes_out: input.bytes_out,
    batch_in: batchSizes(input.batch_in),
    batch_out: batchSizes(input.batch_out),
    report_to_next_task: percentilesOf(input.report_to_next_task),
    fleet_cpu_us_per_task: input.cpu_ns === null || tasks === 0 ? null : input.cpu_ns / 1e3 / tasks,
    files: [],
  };
}

/** summary.json, latency.hlog and the distribution of the times between a report and the next task. */
export async function writeFleetFolder(
  path: string,
  document: FleetDocument,
  report_to_next_task: Histogram,
): Promise<FleetDocument> {
  const folder = await ResultFolder.create(path);
  const start_ms = Date.parse(document.started_at);
  const histograms = new Map<string, Histogram>();
  if (report_to_next_task.count > 0) histograms.set("fleet.report-next", report_to_next_task);
  await writeHistograms(
    folder,
    [{ start_ms, end_ms: start_ms + document.window_s * 1e3, histograms }],
    start_ms,
  );
  return writeSummary(folder, document);
}

export function renderFleetTable(document: FleetDocument, options: TextOptions): string {
  const { run, report_to_next_task: next } = document;
  const title = `${styled(options, "bold", run.address)}  ${styled(options, "dim", `${grouped(run.workers)} zero workers · ${run.release}`)}`;
  const rows = [
    [
      "tasks",
      grouped(document.tasks),
      `${grouped(document.steals_done)} of ${grouped(document.steals_asked)} steals done`,
    ],
    ["first task → last finished", seconds(document.window_s), ""],
    [
      "per task",
      `${significant(document.us_per_task)} µs`,
      `${grouped(document.tasks_per_s)} tasks a second`,
    ],
    ["in", bytes(document.bytes_in), messages(document.messages_in, document.batch_in)],
    ["out", bytes(document.bytes_out), messages(document.messages_out, document.batch_out)],
    [
      "report → next task",
      `${significant(next.p50_us)} µs`,
      `p90 ${significant(next.p90_us)}, p99 ${significant(next.p99_us)}, p99.9 ${significant(next.p999_us)}, max ${significant(next.max_us)} µs`,
    ],
  ];
  if (document.fleet_cpu_us_per_task !== null) {
    rows.push(["fleet CPU per task", `${significant(document.fleet_cpu_us_per_task)} µs`, ""]);
  }
  return `${[title, "", ...columns(rows, 3).map((line) => `  ${line}`)].join("\n")}\n`;
}

function messages(count: number, batch: BatchSizes): string {
  return `${grouped(count)} messages in ${grouped(batch.count)} batches (p50 ${grouped(batch.p50)}, p99 ${grouped(batch.p99)}, max ${grouped(batch.max)})`;
}

function batchSizes(histogram: Histogram): BatchSizes {
  return {
    count: histogram.count,
    p50: histogram.percentile(50),
    p90: histogram.percentile(90),
    p99: histogram.percentile(99),
    max: histogram.max,
  };
}
