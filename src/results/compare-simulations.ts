import {
  type Comparison,
  type ComparisonRow,
  comparisonOf,
  differences,
  type Found,
  present,
  type Repeated,
  rowOf,
  tooFewRepeats,
} from "./comparison.ts";

interface Statistic {
  readonly median: number;
}

/** What of a simulated run's `summary.json` a comparison reads. */
export interface SimulatedSummary extends Repeated<SimulatedRepeat> {
  readonly run: object;
  readonly makespan_s: Statistic;
  readonly utilisation: Statistic;
  readonly bytes_moved: Statistic;
  readonly transfers: Statistic;
  readonly bounds: { readonly critical_path_s: number; readonly work_per_core_s: number };
}

interface SimulatedRepeat {
  readonly makespan_s: number;
  readonly utilisation: number;
  readonly bytes_moved: number;
  readonly transfers: number;
  readonly tasks_sent: number;
  readonly tasks_finished: number;
  readonly steals_asked: number;
  readonly steals_done: number;
}

/** What `--fail-above` looks at. */
const JUDGED = ["makespan_s"];

/** Other work is no comparison; other workers, networks and policies are what it is made for. */
const THE_WORK = new Set(["workload", "tasks", "dependencies"]);
const MAY_DIFFER = new Set(["repeats"]);

const STATISTICS = [
  ["makespan_s", "s"],
  ["utilisation", "share"],
  ["bytes_moved", "bytes"],
  ["transfers", "count"],
] as const;
const COUNTS = ["tasks_sent", "tasks_finished", "steals_asked", "steals_done"] as const;
const BOUNDS = ["critical_path_s", "work_per_core_s"] as const;

/**
 * Two simulated runs. Time is virtual, so the machines say nothing; the noise is that of the seeds, of which each repeat has
 * its own.
 */
export function compareSimulations(
  a: Found<SimulatedSummary>,
  b: Found<SimulatedSummary>,
  fail_above_percent: number | null,
): Comparison {
  const found = differences("run", a.summary.run, b.summary.run, MAY_DIFFER);
  return comparisonOf(a, b, {
    judged: JUDGED,
    fail_above_percent,
    warnings: [
      ...found.filter(({ name }) => THE_WORK.has(name)).map(({ text }) => text),
      ...tooFewRepeats(a.summary, b.summary),
    ],
    differs: found.filter(({ name }) => !THE_WORK.has(name)).map(({ text }) => text),
    rows: rowsOf(a.summary, b.summary),
  });
}

function rowsOf(a: SimulatedSummary, b: SimulatedSummary): ComparisonRow[] {
  const row = (
    figure: string,
    unit: ComparisonRow["unit"],
    total: (summary: SimulatedSummary) => number,
    each: (repeat: SimulatedRepeat) => number | undefined,
  ): ComparisonRow => rowOf({ figure, section: "simulation", unit }, a, b, { total, each });
  return present([
    ...STATISTICS.map(([figure, unit]) =>
      row(
        figure,
        unit,
        (summary) => summary[figure].median,
        (repeat) => repeat[figure],
      ),
    ),
    ...COUNTS.map((figure) =>
      row(
        figure,
        "count",
        ({ repeats }) => repeats.reduce((sum, repeat) => sum + repeat[figure], 0) / repeats.length,
        (repeat) => repeat[figure],
      ),
    ),
    ...BOUNDS.map((figure) =>
      row(
        `bounds.${figure}`,
        "s",
        ({ bounds }) => bounds[figure],
        () => undefined,
      ),
    ),
  ]);
}
