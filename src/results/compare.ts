import { rankTest } from "./rank-test.ts";
import type { FleetSummary, HopRow, PhaseRow, RepeatSummary, Summary } from "./summary.ts";

/** Two result folders side by side, `rsds.comparison/1`. */
export interface Comparison {
  readonly schema: "rsds.comparison/1";
  readonly a: Side;
  readonly b: Side;
  /** Why the two are not comparable; none: they are, as far as the folders tell. */
  readonly warnings: readonly string[];
  readonly rows: readonly ComparisonRow[];
  /** `--fail-above`, in per cent; null where it was not given. */
  readonly fail_above_percent: number | null;
  /** Figures of {@link JUDGED} in which B is slower than that allows. */
  readonly slower: readonly string[];
}

interface Side {
  readonly folder: string;
  readonly version: string;
  readonly started_at: string;
  readonly repeats: number;
}

/** One figure of both. */
export interface ComparisonRow {
  /** Where it stands in the document: `makespan_s`, `phases.encoding.encode`, `hops.ready→placed.p99`, … */
  readonly figure: string;
  readonly section: "run" | "phases" | "hops" | "ledger" | "fleet";
  readonly unit: "s" | "us" | "ms" | "share" | "bytes" | "count";
  /** null: one side has no such figure. */
  readonly a: number | null;
  readonly b: number | null;
  /** b / a; null where a is 0 or one is missing. */
  readonly ratio: number | null;
  /**
   * The two-sided Mann–Whitney test over the repeats says that chance alone makes such a difference in less than one
   * case of ten. null: too few repeats to say, or the figure is not known for each.
   */
  readonly beyond_noise: boolean | null;
}

/** What `--fail-above` looks at. */
const JUDGED = ["makespan_s", "scheduler_cpu_us_per_task"];

/** One in twenty each way: five repeats each may then have one slow first repeat in both. */
const CHANCE_MAX = 0.1;

/** Differences in these say nothing against a comparison. */
const MAY_DIFFER = new Set(["repeats"]);

export interface ComparisonInput {
  readonly folder: string;
  readonly summary: Summary;
}

export function compare(
  a: ComparisonInput,
  b: ComparisonInput,
  fail_above_percent: number | null,
): Comparison {
  const rows = [
    ...runRows(a.summary, b.summary),
    ...phaseFigures(a.summary, b.summary),
    ...hopFigures(a.summary, b.summary),
    ...fleetFigures(a.summary, b.summary),
    ...ledgerFigures(a.summary, b.summary),
  ];
  const slower =
    fail_above_percent === null
      ? []
      : rows.filter((row) => JUDGED.includes(row.figure) && isSlower(row, fail_above_percent));
  return {
    schema: "rsds.comparison/1",
    a: sideOf(a),
    b: sideOf(b),
    warnings: warningsOf(a.summary, b.summary),
    rows,
    fail_above_percent,
    slower: slower.map(({ figure }) => figure),
  };
}

/** Where too few repeats leave the noise unknown, the ratio alone decides. */
function isSlower({ ratio, beyond_noise }: ComparisonRow, percent: number): boolean {
  return ratio !== null && ratio > 1 + percent / 100 && beyond_noise !== false;
}

function sideOf({ folder, summary }: ComparisonInput): Side {
  const { rsds, started_at, repeats } = summary;
  return { folder, version: rsds.version, started_at, repeats: repeats.length };
}

function warningsOf(a: Summary, b: Summary): string[] {
  const warnings: string[] = [];
  for (const section of ["run", "machine"] as const) {
    const one: Readonly<Record<string, unknown>> = { ...a[section] };
    const other: Readonly<Record<string, unknown>> = { ...b[section] };
    for (const name of new Set([...Object.keys(one), ...Object.keys(other)])) {
      const [left, right] = [text(one[name]), text(other[name])];
      if (left !== right && !MAY_DIFFER.has(name)) warnings.push(`${section}.${name}: ${left} and ${right}`);
    }
  }
  if (rankTest(low(a.repeats.length), high(b.repeats.length)) > CHANCE_MAX)
    warnings.push(
      `too few repeats (${a.repeats.length} and ${b.repeats.length}) to tell a difference from noise: use 5 or more`,
    );
  return warnings;
}

function text(value: unknown): string {
  return value === undefined ? "not told" : typeof value === "string" ? value : JSON.stringify(value);
}

/** Samples that differ as clearly as so many values can. */
function low(count: number): number[] {
  return new Array<number>(count).fill(0);
}

function high(count: number): number[] {
  return new Array<number>(count).fill(1);
}

/** A figure of a whole run and of each repeat; undefined where it is missing. */
interface Figure {
  readonly total: (summary: Summary) => number | null | undefined;
  readonly each: (repeat: RepeatSummary) => number | null | undefined;
}

function row(
  place: Pick<ComparisonRow, "figure" | "section" | "unit">,
  a: Summary,
  b: Summary,
  { total, each }: Figure,
): ComparisonRow {
  const left = total(a) ?? null;
  const right = total(b) ?? null;
  return {
    ...place,
    a: left,
    b: right,
    ratio: left === null || right === null || left === 0 ? null : right / left,
    beyond_noise:
      left === null || right === null ? null : beyondNoise(a.repeats.map(each), b.repeats.map(each)),
  };
}

type Sample = readonly (number | null | undefined)[];

function beyondNoise(a: Sample, b: Sample): boolean | null {
  const known = (sample: Sample): number[] => sample.filter((value) => typeof value === "number");
  const [left, right] = [known(a), known(b)];
  if (left.length < a.length || right.length < b.length) return null;
  if (rankTest(low(left.length), high(right.length)) > CHANCE_MAX) return null;
  return rankTest(left, right) <= CHANCE_MAX;
}

const STATS = [
  ["makespan_s", "s"],
  ["us_per_task", "us"],
  ["scheduler_cpu_us_per_task", "us"],
  ["unpacker_cpu_us_per_task", "us"],
  ["graph_s", "s"],
  ["first_task_s", "s"],
] as const;

const NOWHERE = (): undefined => undefined;

function runRows(a: Summary, b: Summary): ComparisonRow[] {
  const stats = STATS.map(([figure, unit]) =>
    row({ figure, section: "run", unit }, a, b, {
      total: (summary) => summary[figure]?.median,
      each: (repeat) => repeat[figure],
    }),
  );
  const single = (
    figure: string,
    unit: ComparisonRow["unit"],
    total: Figure["total"],
    each: Figure["each"] = NOWHERE,
  ): ComparisonRow => row({ figure, section: "run", unit }, a, b, { total, each });
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
    row({ figure: `phases.${phase}`, section: "phases", unit: "us" }, a, b, {
      total: ({ phases }) => find(phases, phase),
      each: ({ phases }) => find(phases, phase),
    }),
  );
  const unattributed = row({ figure: "unattributed_share", section: "phases", unit: "share" }, a, b, {
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
      row({ figure: `hops.${hop}.${percentile}`, section: "hops", unit: "us" }, a, b, {
        total: ({ hops }) => find(hops, hop, `${percentile}_us`),
        each: ({ hops }) => find(hops, hop, `${percentile}_us`),
      }),
    ),
  );
}

function fleetFigures(a: Summary, b: Summary): ComparisonRow[] {
  const figure = (name: string, unit: ComparisonRow["unit"], of: (fleet: FleetSummary) => number | null) =>
    row({ figure: `fleet.${name}`, section: "fleet", unit }, a, b, {
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
    return row({ figure: `ledger.${name}`, section: "ledger", unit: "count" }, a, b, {
      total: ({ ledger, repeats }) => {
        const value = of(ledger);
        return value === undefined ? undefined : value / repeats.length;
      },
      each: ({ ledger }) => of(ledger),
    });
  });
}

function present(rows: readonly ComparisonRow[]): ComparisonRow[] {
  return rows.filter(({ a, b }) => a !== null || b !== null);
}

function union(a: readonly string[] = [], b: readonly string[] = []): string[] {
  return [...new Set([...a, ...b])];
}
