import {
  type Comparison,
  type ComparisonRow,
  comparisonOf,
  differences,
  type Figure,
  type Found,
  present,
  rowOf,
  tooFewRepeats,
} from "./comparison.ts";
import type { FleetSummary, HopRow, PhaseRow, Summary } from "./summary.ts";

/** What `--fail-above` looks at. */
const JUDGED = ["makespan_s", "scheduler_cpu_us_per_task"];

/** Differences in these say nothing against a comparison. */
const MAY_DIFFER = new Set(["repeats"]);

/** Two runs against zero workers, or two windows of running schedulers. */
export function compare(a: Found<Summary>, b: Found<Summary>, fail_above_percent: number | null): Comparison {
  const sections = ["run", "machine"] as const;
  const found = sections.flatMap((section) =>
    differences(section, a.summary[section], b.summary[section], MAY_DIFFER),
  );
  return comparisonOf(a, b, {
    judged: JUDGED,
    fail_above_percent,
    warnings: [...found.map(({ text }) => text), ...tooFewRepeats(a.summary, b.summary)],
    differs: [],
    rows: [
      ...runRows(a.summary, b.summary),
      ...phaseFigures(a.summary, b.summary),
      ...hopFigures(a.summary, b.summary),
      ...fleetFigures(a.summary, b.summary),
      ...ledgerFigures(a.summary, b.summary),
    ],
  });
}

const STATS = [
  ["makespan_s", "s"],
  ["us_per_task", "us"],
  ["scheduler_cpu_us_per_task", "us"],
  ["unpacker_cpu_us_per_task", "us"],
  ["graph_s", "s"],
  ["first_task_s", "s"],
] as const;

type RunFigure = Figure<Summary>;

const NOWHERE = (): undefined => undefined;

function runRows(a: Summary, b: Summary): ComparisonRow[] {
  const stats = STATS.map(([figure, unit]) =>
    rowOf({ figure, section: "run", unit }, a, b, {
      total: (summary) => summary[figure]?.median,
      each: (repeat) => repeat[figure],
    }),
  );
  const single = (
    figure: string,
    unit: ComparisonRow["unit"],
    total: RunFigure["total"],
    each: RunFigure["each"] = NOWHERE,
  ): ComparisonRow => rowOf({ figure, section: "run", unit }, a, b, { total, each });
  return present([
    ...stats,
    single("memory_bytes_per_task", "bytes", (summary) => summary.memory_bytes_per_task),
    single("rss_max_bytes", "bytes", (summary) => summary.rss_max_bytes),
    single(
      "loop.turn_max_ms",
      "ms",
      ({ loop }) => loop.turn_max_ms,
      ({ loop }) => loop.turn_max_ms,
    ),
  ]);
}

/** Microseconds a task, and the share that nothing is known of. */
function phaseFigures(a: Summary, b: Summary): ComparisonRow[] {
  const name = ({ phase, parent }: PhaseRow): string => (parent === null ? phase : `${parent}.${phase}`);
  const find = (rows: readonly PhaseRow[] | undefined, phase: string): number | undefined =>
    rows?.find((one) => name(one) === phase)?.us_per_task;
  const rows = union(a.phases?.map(name), b.phases?.map(name)).map((phase) =>
    rowOf({ figure: `phases.${phase}`, section: "phases", unit: "us" }, a, b, {
      total: ({ phases }) => find(phases, phase),
      each: ({ phases }) => find(phases, phase),
    }),
  );
  const unattributed = rowOf({ figure: "unattributed_share", section: "phases", unit: "share" }, a, b, {
    total: (summary) => summary.unattributed_share,
    each: (repeat) => repeat.unattributed_share,
  });
  return present([...rows, unattributed]);
}

/** Hops that nothing was counted of in either are left out. */
function hopFigures(a: Summary, b: Summary): ComparisonRow[] {
  const counted = ({ hops }: Summary): string[] | undefined =>
    hops?.filter(({ count }) => count > 0).map(({ hop }) => hop);
  const find = (rows: readonly HopRow[] | undefined, hop: string, figure: "p50_us" | "p99_us") => {
    const found = rows?.find((one) => one.hop === hop);
    return found === undefined || found.count === 0 ? undefined : found[figure];
  };
  return union(counted(a), counted(b)).flatMap((hop) =>
    (["p50", "p99"] as const).map((percentile) =>
      rowOf({ figure: `hops.${hop}.${percentile}`, section: "hops", unit: "us" }, a, b, {
        total: ({ hops }) => find(hops, hop, `${percentile}_us`),
        each: ({ hops }) => find(hops, hop, `${percentile}_us`),
      }),
    ),
  );
}

function fleetFigures(a: Summary, b: Summary): ComparisonRow[] {
  const figure = (name: string, unit: ComparisonRow["unit"], of: (fleet: FleetSummary) => number | null) =>
    rowOf({ figure: `fleet.${name}`, section: "fleet", unit }, a, b, {
      total: ({ fleet }) => fleet && of(fleet),
      each: ({ fleet }) => fleet && of(fleet),
    });
  const names = (summary: Summary): string[] | undefined => summary.fleet?.phases.map(({ phase }) => phase);
  return present([
    figure("cpu_us_per_task", "us", (fleet) => fleet.cpu_us_per_task),
    figure("busy_share", "share", (fleet) => fleet.busy_share),
    ...union(names(a), names(b)).map((phase) =>
      figure(phase, "us", (fleet) => fleet.phases.find((one) => one.phase === phase)?.us_per_task ?? null),
    ),
  ]);
}

/** For each repeat, so that runs of different lengths can be compared. */
function ledgerFigures(a: Summary, b: Summary): ComparisonRow[] {
  return union(Object.keys(a.ledger), Object.keys(b.ledger)).map((name) => {
    const of = (ledger: object): number | undefined => {
      const value: unknown = Object.entries(ledger).find(([key]) => key === name)?.[1];
      return typeof value === "number" ? value : undefined;
    };
    return rowOf({ figure: `ledger.${name}`, section: "ledger", unit: "count" }, a, b, {
      total: ({ ledger, repeats }) => {
        const value = of(ledger);
        return value === undefined ? undefined : value / repeats.length;
      },
      each: ({ ledger }) => of(ledger),
    });
  });
}

function union(a: readonly string[] = [], b: readonly string[] = []): string[] {
  return [...new Set([...a, ...b])];
}
