import type { EventList } from "../trace/events.ts";
import type { WindowFigures } from "../trace/figures.ts";
import { Histogram } from "../trace/histogram.ts";
import type { LoopFigures } from "../trace/loop-meter.ts";
import { HOPS, PHASE, SPAN_PHASES, TOP_PHASES, type TopPhase } from "../trace/phases.ts";
import { machineFacts, rsdsVersion } from "./machine.ts";
import type {
  FleetPhaseRow,
  FleetSummary,
  GraphRow,
  HopRow,
  Ledger,
  LoopSummary,
  Percentiles,
  PhaseRow,
  ProbeSummary,
  RepeatSummary,
  RunFacts,
  Stat,
  Summary,
} from "./summary.ts";

/** What a runner hands over when its repeats are done. */
export interface RunInput {
  readonly run: RunFacts;
  /** Epoch milliseconds. */
  readonly started_at_ms: number;
  /** The warm-up; null where there was none. */
  readonly cold: { readonly makespan_s: number; readonly scheduler_cpu_us: number } | null;
  readonly repeats: readonly RepeatInput[];
  readonly memory_bytes_per_task: number | null;
  readonly rss_max_bytes: number;
}

export interface RepeatInput {
  readonly makespan_s: number;
  readonly graph_s: number;
  readonly first_task_s: number;
  /** CPU of the scheduler in the window, the fleet's already taken off. */
  readonly scheduler_cpu_us: number;
  readonly unpacker_cpu_us?: number;
  /** What the scheduler's recorder saw; null with `--trace off`. */
  readonly figures: WindowFigures | null;
  /** For `--trace off`, where there is no recorder to count turns. */
  readonly loop: LoopFigures | null;
  /** The fleet's own threads; empty where it lives on the scheduler's. */
  readonly fleet: readonly FleetThread[];
  readonly graphs: readonly GraphRow[];
  readonly ledger: Ledger;
  /** Epoch milliseconds of the window's beginning, for the interval log. */
  readonly window_start_ms: number;
}

export interface FleetThread {
  /** CPU of the thread in the window; null where the system does not tell. */
  readonly cpu_ns: number | null;
  readonly figures: WindowFigures | null;
}

/** All that a result folder is written from. */
export interface Results {
  readonly summary: Summary;
  readonly histograms: readonly HistogramInterval[];
  readonly traceEvents: readonly TraceTrack[];
}

/** The histograms of one repeat, for the interval log. Empty histograms are left out. */
export interface HistogramInterval {
  readonly start_ms: number;
  readonly end_ms: number;
  readonly histograms: ReadonlyMap<string, Histogram>;
}

/** The first events of a thread in one window. */
export interface TraceTrack {
  readonly thread: string;
  readonly repeat: number;
  readonly events: EventList;
}

const GRAPHS_MAX = 100;

/** The summary (without `files`, which the writer knows) and what goes with it. At least one repeat. */
export function buildResults(input: RunInput): Results {
  const { run, repeats } = input;
  const tasks = run.tasks;
  const each = repeats.map((repeat) => repeatSummary(repeat, run));
  const stat = (value: (repeat: RepeatSummary) => number): Stat => statOf(each.map(value));
  const unpacker = each.flatMap((repeat) => repeat.unpacker_cpu_us_per_task ?? []);
  const summary: Summary = {
    schema: "rsds.summary/1",
    rsds: { version: rsdsVersion() },
    machine: machineFacts(),
    started_at: new Date(input.started_at_ms).toISOString(),
    run,
    makespan_s: stat((repeat) => repeat.makespan_s),
    us_per_task: stat((repeat) => repeat.us_per_task),
    scheduler_cpu_us_per_task: stat((repeat) => repeat.scheduler_cpu_us_per_task),
    ...(unpacker.length > 0 ? { unpacker_cpu_us_per_task: statOf(unpacker) } : {}),
    graph_s: stat((repeat) => repeat.graph_s),
    first_task_s: stat((repeat) => repeat.first_task_s),
    cold: input.cold && {
      makespan_s: input.cold.makespan_s,
      scheduler_cpu_us_per_task: perTask(input.cold.scheduler_cpu_us, tasks),
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
    scheduler_cpu_us_per_task: perTask(repeat.scheduler_cpu_us, run.tasks),
    ...(repeat.unpacker_cpu_us === undefined
      ? {}
      : { unpacker_cpu_us_per_task: perTask(repeat.unpacker_cpu_us, run.tasks) }),
    graph_s: repeat.graph_s,
    first_task_s: repeat.first_task_s,
    ...windowSections([repeat], run),
    ledger: repeat.ledger,
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

interface Extent {
  readonly wall_ns: number;
  /** Tasks × repeats. */
  readonly task_runs: number;
  readonly run: RunFacts;
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

function phaseRows(figures: readonly WindowFigures[], extent: Extent): PhaseRow[] {
  const rows: PhaseRow[] = [];
  for (const top of TOP_PHASES) {
    const parts = partsOf(top);
    rows.push(phaseRow(top, null, totalOf(figures, top), mergedPhase(figures, top), extent));
    if (parts.length < 2) continue;
    for (const phase of parts) {
      const total_ns = sum(figures.map((f) => f.phase_ns[phase]!));
      const histogram = merged(figures.map((f) => f.phase_histograms[phase]!));
      rows.push(phaseRow(SPAN_PHASES[phase]!.name, top, total_ns, histogram, extent));
    }
  }
  return rows;
}

function phaseRow(
  phase: string,
  parent: string | null,
  total_ns: number,
  histogram: Histogram,
  extent: Extent,
): PhaseRow {
  return {
    phase,
    parent,
    total_s: total_ns / 1e9,
    us_per_task: perTask(total_ns / 1e3, extent.task_runs),
    share: extent.wall_ns > 0 ? total_ns / extent.wall_ns : 0,
    ...percentilesOf(histogram),
  };
}

/** Span phases that make up a top-level phase; none for what nobody enters. */
function partsOf(top: TopPhase): number[] {
  return SPAN_PHASES.flatMap((phase, id) => (phase.top === top ? [id] : []));
}

function totalOf(figures: readonly WindowFigures[], top: TopPhase): number {
  if (top === "gc") return sum(figures.map((f) => f.gc_ns));
  if (top === "idle") return sum(figures.map((f) => f.idle_ns));
  const parts = partsOf(top);
  return sum(figures.map((f) => sum(parts.map((phase) => f.phase_ns[phase]!))));
}

function mergedPhase(figures: readonly WindowFigures[], top: TopPhase): Histogram {
  if (top === "gc") return merged(figures.map((f) => f.gc_histogram));
  if (top === "idle") return merged(figures.map((f) => f.idle_histogram));
  return merged(figures.flatMap((f) => partsOf(top).map((phase) => f.phase_histograms[phase]!)));
}

function hopRows(repeats: readonly RepeatInput[], run: RunFacts): HopRow[] {
  return HOPS.flatMap(({ name, kind }, id) => {
    const histogram = merged(repeats.flatMap((repeat) => hopHistograms(repeat, id)));
    // A hop that belongs to this kind of run is shown even when nothing was counted; others only if they were.
    const expected =
      kind === "every" || (kind === "zero" && run.zero_workers > 0 && run.transport !== "direct");
    return expected || histogram.count > 0 ? [{ hop: name, ...percentilesOf(histogram) }] : [];
  });
}

/** A hop may be recorded by the scheduler's thread or by the fleet's. */
function hopHistograms(repeat: RepeatInput, id: number): Histogram[] {
  const all = [repeat.figures, ...repeat.fleet.map((thread) => thread.figures)];
  return all.flatMap((figures) => figures?.hop_histograms[id] ?? []);
}

/** Names of the fleet's phases and where its recorder has them. */
const FLEET_PHASES = [
  ["read", PHASE.read],
  ["decode", PHASE.decode],
  ["work", PHASE.worker],
  ["encode", PHASE.encode],
  ["write", PHASE.write],
] as const;

function fleetSummary(threads: readonly FleetThread[], task_runs: number): FleetSummary | null {
  if (threads.length === 0) return null;
  const figures = threads.flatMap((thread) => thread.figures ?? []);
  const wall_ns = sum(figures.map((f) => f.end_ns - f.start_ns));
  const idle_ns = sum(figures.map((f) => f.idle_ns));
  const row = (phase: string, total_ns: number): FleetPhaseRow => ({
    phase,
    total_s: total_ns / 1e9,
    us_per_task: perTask(total_ns / 1e3, task_runs),
    share: wall_ns > 0 ? total_ns / wall_ns : 0,
  });
  const known = threads.flatMap((thread) => thread.cpu_ns ?? []);
  return {
    cpu_us_per_task: known.length === threads.length ? perTask(sum(known) / 1e3, task_runs) : null,
    busy_share: wall_ns > 0 ? 1 - idle_ns / wall_ns : null,
    phases:
      figures.length === 0
        ? []
        : [
            ...FLEET_PHASES.map(([name, phase]) => row(name, sum(figures.map((f) => f.phase_ns[phase]!)))),
            row("idle", idle_ns),
          ],
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
export function hopTag(hop: string): string {
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

/** All percentiles of a result come from here, so that they agree with the files. */
export function percentilesOf(histogram: Histogram): Percentiles {
  return {
    count: histogram.count,
    p50_us: histogram.percentile(50) / 1e3,
    p90_us: histogram.percentile(90) / 1e3,
    p99_us: histogram.percentile(99) / 1e3,
    p999_us: histogram.percentile(99.9) / 1e3,
    max_us: histogram.max / 1e3,
  };
}

export function statOf(values: readonly number[]): Stat {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { min: sorted[0]!, median, max: sorted.at(-1)! };
}

export function merged(histograms: readonly Histogram[]): Histogram {
  const all = new Histogram();
  for (const histogram of histograms) all.add(histogram);
  return all;
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

function perTask(total: number, tasks: number): number {
  return tasks > 0 ? total / tasks : 0;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
