import { listOf } from "../../src/base/grouped.ts";
import { ResultFolder } from "../../src/results/files.ts";
import { writeSummary } from "../../src/results/folder.ts";
import { machineFacts } from "../../src/results/machine.ts";
import type { Machine } from "../../src/results/summary.ts";
import type { Workload } from "../workloads/index.ts";
import type { Timeline } from "./cluster.ts";
import type { VirtualOptions } from "./options.ts";
import { type Bounds, boundsOf, type VirtualRepeat } from "./virtual-run.ts";

interface Statistic {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** `summary.json` of a simulated run, and what `rsds simulate --json` prints. */
export interface SimulationSummary {
  readonly schema: "rsds.simulation/1";
  readonly rsds: { readonly version: string };
  readonly machine: Machine;
  readonly started_at: string;
  readonly run: VirtualOptions & { readonly tasks: number; readonly dependencies: number };
  readonly makespan_s: Statistic;
  /** Of the run that was recorded; null: the workload is a graph alone. */
  readonly recorded_makespan_s: number | null;
  readonly utilisation: Statistic;
  readonly bytes_moved: Statistic;
  readonly transfers: Statistic;
  readonly bounds: Bounds;
  readonly cpu_s: number;
  readonly rss_max_bytes: number;
  readonly repeats: readonly VirtualRepeat[];
  readonly files: readonly string[];
}

export function simulationSummary(
  workload: Workload,
  options: VirtualOptions,
  repeats: readonly VirtualRepeat[],
  facts: { readonly version: string; readonly started_at: string },
): SimulationSummary {
  const statistic = (of: (repeat: VirtualRepeat) => number): Statistic => {
    const values = repeats.map(of).sort((a, b) => a - b);
    const middle = values.length >> 1;
    const median = values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2;
    return { min: values[0]!, median, max: values.at(-1)! };
  };
  return {
    schema: "rsds.simulation/1",
    rsds: { version: facts.version },
    machine: machineFacts(),
    started_at: facts.started_at,
    run: { ...options, workload: workload.name, tasks: workload.tasks, dependencies: workload.dependencies },
    makespan_s: statistic(({ makespan_s }) => makespan_s),
    recorded_makespan_s: workload.recorded?.makespan_s ?? null,
    utilisation: statistic(({ utilisation }) => utilisation),
    bytes_moved: statistic(({ bytes_moved }) => bytes_moved),
    transfers: statistic(({ transfers }) => transfers),
    bounds: boundsOf(workload, options),
    cpu_s: repeats.reduce((sum, { cpu_s }) => sum + cpu_s, 0),
    rss_max_bytes: process.resourceUsage().maxRSS * 1024,
    repeats,
    files: [],
  };
}

/** Tasks in the trace: the Perfetto UI takes no more with comfort. */
const TRACE_TASKS_MAX = 200_000;

/** Writes `summary.json`, and of the last repeat `tasks.csv.gz` and `trace.json.gz`. */
export async function writeSimulation(
  path: string,
  summary: SimulationSummary,
  workload: Workload,
  timeline: Timeline,
): Promise<SimulationSummary> {
  const folder = await ResultFolder.create(path);
  await folder.writeGzip("tasks.csv.gz", taskRows(workload, timeline));
  await folder.writeGzip("trace.json.gz", traceEvents(workload, timeline, summary));
  return writeSummary(folder, summary);
}

function* taskRows(workload: Workload, timeline: Timeline): Generator<string> {
  const seconds = (ns: number): string => (ns < 0 ? "" : (ns / 1e9).toFixed(9));
  yield "key,worker,assigned_s,start_s,stop_s\n";
  for (let i = 0; i < workload.tasks; i++) {
    const times = [timeline.assigned_ns[i]!, timeline.start_ns[i]!, timeline.stop_ns[i]!].map(seconds);
    yield `${workload.key(i)},${timeline.worker[i]},${times.join(",")}\n`;
  }
}

/** Each worker's cores as rows: which task ran when, in Chrome's format. */
function* traceEvents(workload: Workload, timeline: Timeline, summary: SimulationSummary): Generator<string> {
  const order = Array.from({ length: workload.tasks }, (_, i) => i)
    .filter((i) => timeline.start_ns[i]! >= 0)
    .sort((a, b) => timeline.start_ns[a]! - timeline.start_ns[b]! || a - b)
    .slice(0, TRACE_TASKS_MAX);
  const facts = {
    workload: workload.name,
    tasks: workload.tasks,
    shown: order.length,
    version: summary.rsds.version,
  };
  yield `{"displayTimeUnit":"ns","otherData":${JSON.stringify(facts)},"traceEvents":[\n`;
  yield JSON.stringify({
    ph: "M",
    pid: 1,
    name: "process_name",
    args: { name: `simulated ${workload.name}` },
  });
  // A worker's tasks lie in rows, one for each that runs at the same time.
  const rows = new Map<number, number[]>();
  for (const i of order) {
    const worker = timeline.worker[i]!;
    const ends = listOf(rows, worker);
    const start_ns = timeline.start_ns[i]!;
    const free = ends.findIndex((end_ns) => end_ns <= start_ns);
    const row = free < 0 ? ends.length : free;
    ends[row] = timeline.stop_ns[i]!;
    const tid = worker * summary.run.cores + row + 1;
    if (free < 0)
      yield `,\n${JSON.stringify({ ph: "M", pid: 1, tid, name: "thread_name", args: { name: `worker ${worker}` } })}`;
    const name = JSON.stringify(workload.key(i));
    yield `,\n{"ph":"X","pid":1,"tid":${tid},"name":${name},"ts":${(start_ns / 1e3).toFixed(3)},"dur":${((timeline.stop_ns[i]! - start_ns) / 1e3).toFixed(3)}}`;
  }
  yield "\n]}\n";
}

/** The summary as a few lines of text. */
export function renderSimulation(summary: SimulationSummary): string {
  const { run, makespan_s, utilisation, bytes_moved, transfers, bounds, repeats } = summary;
  const seconds = (value: number): string =>
    value < 1 ? `${(value * 1e3).toPrecision(4)} ms` : `${value.toPrecision(5)} s`;
  const range = ({ min, median, max }: Statistic, show: (value: number) => string): string =>
    min === max ? show(median) : `${show(median)}   ${show(min)} – ${show(max)}`;
  const number = (value: number): string => Math.round(value).toLocaleString("en-US");
  const recorded_s = summary.recorded_makespan_s;
  const steals = repeats.reduce((sum, { steals_done }) => sum + steals_done, 0);
  const asked = repeats.reduce((sum, { steals_asked }) => sum + steals_asked, 0);
  const events = repeats.reduce((sum, repeat) => sum + repeat.events, 0);
  return [
    `${run.workload}  ${number(run.tasks)} tasks · ${number(run.workers)} workers of ${run.cores} cores · ${run.scheduler} · ${run.network} network · virtual time · ${repeats.length} repeats`,
    "",
    `  makespan        ${range(makespan_s, seconds)}`,
    ...(recorded_s === null ? [] : [`  recorded        ${seconds(recorded_s)}`]),
    `  utilisation     ${range(utilisation, (value) => `${(100 * value).toFixed(1)} %`)}`,
    `  moved           ${range(bytes_moved, (value) => `${(value / 1e6).toPrecision(4)} MB`)} in ${range(transfers, number)} transfers`,
    `  steals          ${number(steals)} of ${number(asked)} asked for`,
    `  no makespan is below ${seconds(Math.max(bounds.critical_path_s, bounds.work_per_core_s))}: critical path ${seconds(bounds.critical_path_s)}, work over cores ${seconds(bounds.work_per_core_s)}`,
    `  simulated in    ${summary.cpu_s.toFixed(1)} s of CPU, ${number(events)} events, resident at most ${number(summary.rss_max_bytes / 1e6)} MB`,
    "",
  ].join("\n");
}
