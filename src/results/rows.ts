import type { WindowFigures } from "../trace/figures.ts";
import { Histogram } from "../trace/histogram.ts";
import { HOPS, PHASE, SPAN_PHASES, TOP_PHASES, type TopPhase } from "../trace/phases.ts";
import type { FleetThread, RepeatInput } from "./input.ts";
import {
  type FleetPhaseRow,
  type FleetSummary,
  type HopRow,
  LIVE_WORKLOAD,
  type Percentiles,
  type PhaseRow,
  type RunFacts,
} from "./summary.ts";

/** What rows are relative to. */
export interface Extent {
  readonly wall_ns: number;
  /** Tasks × repeats. */
  readonly task_runs: number;
  readonly run: RunFacts;
}

/** All phases, each top-level one before its parts. */
export function phaseRows(figures: readonly WindowFigures[], extent: Extent): PhaseRow[] {
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
export function partsOf(top: TopPhase): number[] {
  return SPAN_PHASES.flatMap((phase, id) => (phase.top === top ? [id] : []));
}

function totalOf(figures: readonly WindowFigures[], top: TopPhase): number {
  if (top === "gc") return sum(figures.map((f) => f.gc_ns));
  if (top === "idle") return sum(figures.map((f) => f.idle_ns));
  const parts = partsOf(top);
  return sum(figures.map((f) => sum(parts.map((phase) => f.phase_ns[phase]!))));
}

export function mergedPhase(figures: readonly WindowFigures[], top: TopPhase): Histogram {
  if (top === "gc") return merged(figures.map((f) => f.gc_histogram));
  if (top === "idle") return merged(figures.map((f) => f.idle_histogram));
  return merged(figures.flatMap((f) => partsOf(top).map((phase) => f.phase_histograms[phase]!)));
}

export function hopRows(repeats: readonly RepeatInput[], run: RunFacts): HopRow[] {
  return HOPS.flatMap(({ name, kind }, id) => {
    const histogram = merged(repeats.flatMap((repeat) => hopHistograms(repeat, id)));
    // A hop that belongs to this kind of run is shown even when nothing was counted; others only if they were.
    const live = run.workload === LIVE_WORKLOAD;
    const expected =
      kind === "every" ||
      (live ? kind === "real" : run.zero_workers > 0 && run.transport !== "direct" && kind === "zero");
    return expected || histogram.count > 0 ? [{ hop: name, ...percentilesOf(histogram) }] : [];
  });
}

/** A hop may be recorded by the scheduler's thread or by the fleet's. */
export function hopHistograms(repeat: RepeatInput, id: number): Histogram[] {
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

/** null where the fleet has no thread of its own. */
export function fleetSummary(threads: readonly FleetThread[], task_runs: number): FleetSummary | null {
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

export function merged(histograms: readonly Histogram[]): Histogram {
  const all = new Histogram();
  for (const histogram of histograms) all.add(histogram);
  return all;
}

export function perTask(total: number, tasks: number): number {
  return tasks > 0 ? total / tasks : 0;
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
