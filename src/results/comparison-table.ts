import type { Comparison, ComparisonRow, Range } from "./comparison.ts";
import { bytes, columns, grouped, percent, seconds, significant, styled, type TextOptions } from "./text.ts";

const SECTIONS = ["run", "simulation", "phases", "hops", "fleet", "ledger"] as const;

const UNITS: Readonly<Record<ComparisonRow["unit"], (value: number) => string>> = {
  s: seconds,
  us: (value) => `${significant(value)} µs`,
  ms: (value) => `${significant(value)} ms`,
  share: percent,
  bytes,
  count: (value) => (Number.isInteger(value) ? grouped(value) : significant(value)),
};

/** The comparison as text for people. Ends with a newline. */
export function renderComparison(comparison: Comparison, options: TextOptions): string {
  const { a, b, warnings, differs, rows } = comparison;
  const side = (name: string, { folder, version, started_at, repeats }: Comparison["a"]): string =>
    `${styled(options, "bold", name)}  ${folder}  ${styled(options, "dim", `rsds ${version} · ${started_at} · ${repeats} repeats`)}`;
  const sections = [
    [side("A", a), side("B", b)],
    warnings.map((warning) => styled(options, "yellow", `  not comparable? ${warning}`)),
    differs.map((difference) => `  ${difference}`),
    tableOf(rows, options),
    [verdict(comparison)],
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => `${lines.join("\n")}\n`)
    .join("\n");
}

function tableOf(rows: readonly ComparisonRow[], options: TextOptions): string[] {
  const header = ["", "A", "B", "B/A", "beyond noise"];
  const ordered = SECTIONS.flatMap((section) => rows.filter((row) => row.section === section));
  const lines = columns([header, ...ordered.map(cells)], 1);
  return lines.map((line, i) => {
    if (i === 0) return `  ${styled(options, "dim", line)}`;
    const { beyond_noise, ratio, section } = ordered[i - 1]!;
    const style =
      beyond_noise !== true || ratio === null || section === "ledger" ? null : ratio > 1 ? "red" : "green";
    return `  ${style === null ? line : styled(options, style, line)}`;
  });
}

function cells({
  figure,
  section,
  unit,
  a,
  b,
  a_range,
  b_range,
  ratio,
  beyond_noise,
}: ComparisonRow): string[] {
  // A real run has many figures, and what its repeats are apart is the machine's; that of a simulation is its seeds'.
  const value = (one: number | null, range: Range | null): string => {
    if (one === null) return "–";
    const show = UNITS[unit];
    const [low, high] = section === "simulation" && range !== null ? range : [one, one];
    return low === high ? show(one) : `${show(one)} (${show(low)} – ${show(high)})`;
  };
  return [
    figure,
    value(a, a_range),
    value(b, b_range),
    ratio === null ? "" : ratio.toFixed(2),
    beyond_noise === null ? "" : beyond_noise ? "yes" : "no",
  ];
}

function verdict({ rows, fail_above_percent, slower }: Comparison): string {
  if (fail_above_percent === null) {
    const beyond = rows.filter((row) => row.beyond_noise === true).length;
    return `  ${beyond} of ${rows.length} figures differ by more than the noise between repeats`;
  }
  if (slower.length === 0)
    return `  B is not slower than A by more than ${fail_above_percent} % and the noise`;
  return `  B is slower than A by more than ${fail_above_percent} %: ${slower.join(", ")}`;
}
