import { rankTest } from "./rank-test.ts";

/** Two result folders side by side, `rsds.comparison/1`. */
export interface Comparison {
  readonly schema: "rsds.comparison/1";
  readonly a: Side;
  readonly b: Side;
  /** Why the two are not comparable; none: they are, as far as the folders tell. */
  readonly warnings: readonly string[];
  /** What the two were asked for that differs, where to compare that is what simulations are for. */
  readonly differs: readonly string[];
  readonly rows: readonly ComparisonRow[];
  /** `--fail-above`, in per cent; null where it was not given. */
  readonly fail_above_percent: number | null;
  /** Figures that `--fail-above` looks at in which B is slower than that allows. */
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
  readonly section: "run" | "phases" | "hops" | "ledger" | "fleet" | "simulation";
  readonly unit: "s" | "us" | "ms" | "share" | "bytes" | "count";
  /** null: one side has no such figure. */
  readonly a: number | null;
  readonly b: number | null;
  /** The least and the most of A's and of B's repeats; null: not known for each of them. */
  readonly a_range: Range | null;
  readonly b_range: Range | null;
  /** b / a; null where a is 0 or one is missing. */
  readonly ratio: number | null;
  /**
   * The two-sided Mann–Whitney test over the repeats says that chance alone makes such a difference in less than one
   * case of ten. null: too few repeats to say, or the figure is not known for each.
   */
  readonly beyond_noise: boolean | null;
}

export type Range = readonly [min: number, max: number];

/** One in twenty each way: five repeats each may then have one slow first repeat in both. */
const CHANCE_MAX = 0.1;

/** What the documents have in common, `Repeat` being one of their repeats. */
export interface Repeated<Repeat> {
  readonly rsds: { readonly version: string };
  readonly started_at: string;
  readonly repeats: readonly Repeat[];
}

/** A document and where it was found. */
export interface Found<Document> {
  readonly folder: string;
  readonly summary: Document;
}

/** Puts the comparison together. `judged`: the figures that `--fail-above` looks at. */
export function comparisonOf(
  a: Found<Repeated<unknown>>,
  b: Found<Repeated<unknown>>,
  {
    judged,
    fail_above_percent,
    ...rest
  }: Pick<Comparison, "warnings" | "differs" | "rows" | "fail_above_percent"> & {
    readonly judged: readonly string[];
  },
): Comparison {
  const slower =
    fail_above_percent === null
      ? []
      : rest.rows.filter((row) => judged.includes(row.figure) && isSlower(row, fail_above_percent));
  return {
    schema: "rsds.comparison/1",
    a: sideOf(a),
    b: sideOf(b),
    ...rest,
    fail_above_percent,
    slower: slower.map(({ figure }) => figure),
  };
}

/** Where too few repeats leave the noise unknown, the ratio alone decides. */
function isSlower({ ratio, beyond_noise }: ComparisonRow, percent: number): boolean {
  return ratio !== null && ratio > 1 + percent / 100 && beyond_noise !== false;
}

function sideOf({ folder, summary }: Found<Repeated<unknown>>): Side {
  const { rsds, started_at, repeats } = summary;
  return { folder, version: rsds.version, started_at, repeats: repeats.length };
}

/** Fields in which two parts of two documents differ, as text; those that may are left out. */
export function differences(
  section: string,
  a: object,
  b: object,
  may_differ: ReadonlySet<string> = new Set(),
): { readonly name: string; readonly text: string }[] {
  const [one, other]: Readonly<Record<string, unknown>>[] = [{ ...a }, { ...b }];
  const found = [];
  for (const name of new Set([...Object.keys(one!), ...Object.keys(other!)])) {
    const [left, right] = [text(one![name]), text(other![name])];
    if (left !== right && !may_differ.has(name))
      found.push({ name, text: `${section}.${name}: ${left} and ${right}` });
  }
  return found;
}

function text(value: unknown): string {
  return value === undefined ? "not told" : typeof value === "string" ? value : JSON.stringify(value);
}

/** What to say where the repeats cannot tell a difference from noise: none or one line. */
export function tooFewRepeats(a: Repeated<unknown>, b: Repeated<unknown>): string[] {
  const [left, right] = [a.repeats.length, b.repeats.length];
  if (rankTest(low(left), high(right)) <= CHANCE_MAX) return [];
  return [`too few repeats (${left} and ${right}) to tell a difference from noise: use 5 or more`];
}

/** Samples that differ as clearly as so many values can. */
function low(count: number): number[] {
  return new Array<number>(count).fill(0);
}

function high(count: number): number[] {
  return new Array<number>(count).fill(1);
}

/** A figure of a whole run and of each repeat; undefined where it is missing. */
export interface Figure<Document extends Repeated<unknown>> {
  readonly total: (summary: Document) => number | null | undefined;
  readonly each: (repeat: Document["repeats"][number]) => number | null | undefined;
}

export function rowOf<Document extends Repeated<unknown>>(
  place: Pick<ComparisonRow, "figure" | "section" | "unit">,
  a: Document,
  b: Document,
  { total, each }: Figure<Document>,
): ComparisonRow {
  const left = total(a) ?? null;
  const right = total(b) ?? null;
  const [some, others] = [a.repeats.map(each), b.repeats.map(each)];
  return {
    ...place,
    a: left,
    b: right,
    a_range: rangeOf(some),
    b_range: rangeOf(others),
    ratio: left === null || right === null || left === 0 ? null : right / left,
    beyond_noise: left === null || right === null ? null : beyondNoise(some, others),
  };
}

type Sample = readonly (number | null | undefined)[];

function known(sample: Sample): number[] {
  return sample.filter((value) => typeof value === "number");
}

function rangeOf(sample: Sample): Range | null {
  const values = known(sample);
  return values.length === 0 || values.length < sample.length
    ? null
    : [Math.min(...values), Math.max(...values)];
}

function beyondNoise(a: Sample, b: Sample): boolean | null {
  const [left, right] = [known(a), known(b)];
  if (left.length < a.length || right.length < b.length) return null;
  if (rankTest(low(left.length), high(right.length)) > CHANCE_MAX) return null;
  return rankTest(left, right) <= CHANCE_MAX;
}

/** Without those that neither side has. */
export function present(rows: readonly ComparisonRow[]): ComparisonRow[] {
  return rows.filter(({ a, b }) => a !== null || b !== null);
}
