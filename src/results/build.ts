import { assert } from "../base/assert.ts";
import { longest, type WindowFigures } from "../trace/figures.ts";
import type { Histogram } from "../trace/histogram.ts";
import { HOPS, SPAN_PHASES, TOP_PHASES } from "../trace/phases.ts";
import type { HistogramInterval, RepeatInput, Results, RunInput, TraceTrack } from "./input.ts";
import { machineFacts, rsdsVersion } from "./machine.ts";
import {
  type Extent,
  fleetSummary,
  hopHistograms,
  hopRows,
  merged,
  mergedPhase,
  partsOf,
  perTask,
  phaseRows,
  sum,
} from "./rows.ts";
import type { Ledger, LoopSummary, ProbeSummary, RepeatSummary, RunFacts, Stat, Summary } from "./summary.ts";

const GRAPHS_MAX = 100;

/** The summary (without `files`, which the writer knows) and what goes with it. At least one repeat. */
export function buildResults(input: RunInput): Results {
  const { repeats } = input;
  assert(repeats.length > 0, "a run's results need a repeat");
  // An interrupted run has fewer than were asked for.
  const run: RunFacts = { ...input.run, repeats: repeats.length };
  const tasks = run.tasks;
  const each = repeats.map((repeat) => repeatSummary(repeat, run));
  const stat = (value: (repeat: RepeatSummary) => number): Stat => statOf(each.map(value));
  const own_thread = each.flatMap((repeat) => repeat.scheduler_thread_cpu_us_per_task ?? []);
  const unpacker = each.flatMap((repeat) => repeat.unpacker_cpu_us_per_task ?? []);
  const summary: Summary = {
    schema: "rsds.summary/1",
    rsds: { version: rsdsVersion() },
    machine: input.machine ?? machineFacts(),
    started_at: new Date(input.started_at_ms).toISOString(),
    run,
    makespan_s: stat((repeat) => repeat.makespan_s),
    us_per_task: stat((repeat) => repeat.us_per_task),
    scheduler_cpu_us_per_task: stat((repeat) => repeat.scheduler_cpu_us_per_task),
    ...(own_thread.length > 0 ? { scheduler_thread_cpu_us_per_task: statOf(own_thread) } : {}),
    ...(unpacker.length > 0 ? { unpacker_cpu_us_per_task: statOf(unpacker) } : {}),
    graph_s: stat((repeat) => repeat.graph_s),
    first_task_s: stat((repeat) => repeat.first_task_s),
    ...(input.training === undefined ? {} : { training: input.training }),
    cold: input.cold && {
      makespan_s: input.cold.makespan_s,
      ...cpuPerTask(input.cold, tasks),
    },
    memory_bytes_per_task: input.memory_bytes_per_task,
    rss_max_bytes: input.rss_max_bytes,
    ...windowSections(repeats, run),
    ledger: sumLedgers(repeats.map((repeat) => repeat.ledger)),
    repeats: each,
    files: [],
  };
  return { summary, histograms: intervalsOf(repeats), traceEvents: tracksOf(repeats) };
}

function repeatSummary(repeat: RepeatInput, run: RunFacts): RepeatSummary {
  return {
    makespan_s: repeat.makespan_s,
    us_per_task: perTask(repeat.makespan_s * 1e6, run.tasks),
    ...cpuPerTask(repeat, run.tasks),
    ...(repeat.unpacker_cpu_us === undefined
      ? {}
      : { unpacker_cpu_us_per_task: perTask(repeat.unpacker_cpu_us, run.tasks) }),
    graph_s: repeat.graph_s,
    first_task_s: repeat.first_task_s,
    ...windowSections([repeat], run),
    ledger: repeat.ledger,
  };
}

function cpuPerTask(
  { scheduler_cpu_us, scheduler_thread_cpu_us: thread }: NonNullable<RunInput["cold"]>,
  tasks: number,
): Pick<RepeatSummary, "scheduler_cpu_us_per_task" | "scheduler_thread_cpu_us_per_task"> {
  return {
    scheduler_cpu_us_per_task: perTask(scheduler_cpu_us, tasks),
    ...(thread === undefined ? {} : { scheduler_thread_cpu_us_per_task: perTask(thread, tasks) }),
  };
}

type WindowSections = Pick<
  Summary,
  "phases" | "fleet" | "unattributed_share" | "hops" | "graphs" | "probe" | "loop"
>;

/** What one window or several together show. */
function windowSections(repeats: readonly RepeatInput[], run: RunFacts): WindowSections {
  const figures = repeats.flatMap((repeat) => repeat.figures ?? []);
  const task_runs = run.tasks * repeats.length;
  const fleet = fleetSummary(
    repeats.flatMap((repeat) => repeat.fleet),
    task_runs,
  );
  const wall_ns = sum(figures.map((f) => f.end_ns - f.start_ns));
  const graphs = repeats.flatMap((repeat) => repeat.graphs).sort((a, b) => b.bytes - a.bytes);
  return {
    ...(figures.length > 0 ? tracedSections(repeats, figures, { wall_ns, task_runs, run }) : {}),
    ...(fleet === null ? {} : { fleet }),
    graphs: graphs.slice(0, GRAPHS_MAX),
    probe: probeSummary(figures, wall_ns),
    loop: loopSummary(repeats, figures),
  };
}

function tracedSections(
  repeats: readonly RepeatInput[],
  figures: readonly WindowFigures[],
  extent: Extent,
): Pick<Summary, "phases" | "unattributed_share" | "hops"> {
  const phases = phaseRows(figures, extent);
  const attributed = sum(phases.map((row) => (row.parent === null ? row.share : 0)));
  // Minus some 1e-16 is rounding; more than that would be a defect and is shown.
  const rest = 1 - attributed;
  return {
    phases,
    unattributed_share: rest < 0 && rest > -1e-6 ? 0 : rest,
    hops: hopRows(repeats, extent.run),
  };
}

function probeSummary(figures: readonly WindowFigures[], wall_ns: number): ProbeSummary {
  return {
    cost_ns: figures[0]?.probe.cost_ns ?? 0,
    count: sum(figures.map((f) => f.probe.count)),
    share: wall_ns > 0 ? sum(figures.map((f) => f.probe.total_ns)) / wall_ns : 0,
  };
}

function loopSummary(repeats: readonly RepeatInput[], figures: readonly WindowFigures[]): LoopSummary {
  if (figures.length > 0) {
    const turns = merged(figures.map((f) => f.turn_histogram));
    return {
      turns: turns.count,
      turn_max_ms: turns.max / 1e6,
      turn_p999_ms: turns.percentile(99.9) / 1e6,
      turn_max_plain_ms: Math.max(...figures.map((f) => f.plain_turn_max_ns)) / 1e6,
      large_messages: longest(figures.flatMap((f) => f.large_messages)).map(({ turn_ns, ...message }) => ({
        ...message,
        turn_ms: turn_ns / 1e6,
      })),
    };
  }
  const loops = repeats.flatMap((repeat) => repeat.loop ?? []);
  return {
    turns: sum(loops.map((loop) => loop.turns)),
    turn_max_ms: Math.max(0, ...loops.map((loop) => loop.turn_max_ms)),
    turn_p999_ms: Math.max(0, ...loops.map((loop) => loop.turn_p999_ms)),
  };
}

function intervalsOf(repeats: readonly RepeatInput[]): HistogramInterval[] {
  return repeats.flatMap((repeat) => {
    const { figures, window_start_ms } = repeat;
    if (figures === null) return [];
    const histograms = new Map<string, Histogram>();
    const put = (tag: string, histogram: Histogram): void => {
      if (histogram.count > 0) histograms.set(tag, histogram);
    };
    for (const top of TOP_PHASES) {
      put(top, mergedPhase([figures], top));
      const parts = partsOf(top);
      if (parts.length < 2) continue;
      for (const phase of parts) put(`${top}.${SPAN_PHASES[phase]!.name}`, figures.phase_histograms[phase]!);
    }
    HOPS.forEach(({ name }, id) => {
      put(hopTag(name), merged(hopHistograms(repeat, id)));
    });
    put("loop.turn", figures.turn_histogram);
    const length_ms = (figures.end_ns - figures.start_ns) / 1e6;
    return [{ start_ms: window_start_ms, end_ms: window_start_ms + length_ms, histograms }];
  });
}

/** Tags of the interval log know no arrows. */
function hopTag(hop: string): string {
  return `hop.${hop.replace("→", "-")}`;
}

function tracksOf(repeats: readonly RepeatInput[]): TraceTrack[] {
  return repeats.flatMap(({ figures, fleet }, repeat) => [
    ...(figures === null ? [] : [{ thread: "scheduler", repeat, events: figures.events }]),
    ...fleet.flatMap((thread, i) =>
      thread.figures === null ? [] : [{ thread: `fleet ${i}`, repeat, events: thread.figures.events }],
    ),
  ]);
}

function statOf(values: readonly number[]): Stat {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { min: sorted[0]!, median, max: sorted.at(-1)! };
}

function sumLedgers(ledgers: readonly Ledger[]): Ledger {
  const total: Record<keyof Ledger, number> = {
    tasks_sent: 0,
    tasks_finished: 0,
    steals_asked: 0,
    steals_done: 0,
    bytes_in: 0,
    bytes_out: 0,
    messages_in: 0,
    messages_out: 0,
    batches_in: 0,
    batches_out: 0,
    recomputed: 0,
  };
  for (const ledger of ledgers) {
    for (const name of Object.keys(total) as (keyof Ledger)[]) total[name] += ledger[name];
  }
  return total;
}
