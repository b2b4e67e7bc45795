// The tables that people read. A figure behind which a `!` stands is above its target.
import { CASES, TRUST } from "./cases.mjs";
import { median, noise, round, spread } from "./statistics.mjs";

const COLUMNS = [
  "µs CPU a task",
  "target",
  "median",
  "range",
  "off",
  "baseline",
  "cold",
  "cold 1 thread",
  "untrained",
  "longest turn",
  "unattr.",
  "probes",
  "bytes/task",
  "peak MB",
];
const THREAD_COLUMNS = [
  "µs CPU a task, --trace off",
  "main thread",
  "V8 + libuv helpers",
  "fleet",
  "cold main",
];

/** Lines of the two tables for the measured cases: `results` by name, a baseline's `cases` or null. */
export function renderBench(results, baseline) {
  const rows = [COLUMNS];
  const threads = [THREAD_COLUMNS];
  for (const [name, measured] of Object.entries(results)) {
    rows.push(row(name, measured, results, baseline?.cases[name]));
    const { main, helpers, fleet } = measured.threads_us;
    threads.push([name, round(main), round(helpers), round(fleet), round(measured.cold_thread_us)]);
  }
  return `${renderTable(rows)}\n\n${renderTable(threads)}\n`;
}

/** The cases and figures that are above their targets, for the line below the table and for `--json`. */
export function missedTargets(results) {
  return Object.entries(results).flatMap(([name, measured]) => {
    const missed = checks(name, measured, results).filter(({ value, max }) => max !== null && value > max);
    return missed.map(({ figure, value, max }) => ({ case: name, figure, value, max }));
  });
}

function row(name, measured, results, before) {
  const found = new Map(checks(name, measured, results).map((check) => [check.figure, check]));
  const marked = (figure, text) => {
    const { value, max } = found.get(figure);
    return max !== null && value > max ? `${text} !` : text;
  };
  return [
    name,
    round(found.get("cpu_us").max),
    marked("cpu_us", round(median(measured.cpu_us))),
    spread(measured.cpu_us),
    round(median(measured.cpu_off_us)),
    before === undefined ? "–" : ratioText(measured.cpu_us, before.cpu_us),
    marked("cold_us", round(measured.cold_us)),
    marked("cold_alone_us", round(measured.cold_alone_us)),
    round(measured.cold_untrained_us),
    marked("turn_max_ms", `${round(measured.turn_max_ms)} ms`),
    marked("unattributed_share", percent(measured.unattributed_share)),
    marked("probe_share", percent(measured.probe_share)),
    marked("memory_bytes", round(measured.memory_bytes)),
    (measured.rss_max_bytes / 1e6).toFixed(0),
  ];
}

/** Each figure that can have a target, with it or null. */
function checks(name, measured, results) {
  const one = CASES.find((candidate) => candidate.name === name);
  const large = measured.tasks >= TRUST.tasks_min;
  return [
    { figure: "cpu_us", value: median(measured.cpu_us), max: one.us_max ?? besideMax(one, results) },
    { figure: "cold_us", value: measured.cold_us, max: one.cold_us_max ?? null },
    { figure: "cold_alone_us", value: measured.cold_alone_us, max: one.cold_alone_us_max ?? null },
    { figure: "turn_max_ms", value: measured.turn_max_ms, max: one.turn_ms_max ?? null },
    {
      figure: "unattributed_share",
      value: measured.unattributed_share,
      max: large ? TRUST.unattributed_max : null,
    },
    { figure: "probe_share", value: measured.probe_share, max: large ? TRUST.probe_share_max : null },
    { figure: "memory_bytes", value: measured.memory_bytes, max: one.memory_bytes_max ?? null },
  ];
}

/** The target of a case that is held against another, from what that one cost in this very run. */
function besideMax({ beside }, results) {
  const other = beside === undefined ? undefined : results[beside.name];
  if (other === undefined) return null;
  const cost = median(other.cpu_us);
  return beside.ratio_max === undefined ? cost + beside.more_us_max : cost * beside.ratio_max;
}

/** `now` over `before`, with what the repeats of both leave open. */
function ratioText(now, before) {
  const ratio = median(now) / median(before);
  const open = Math.hypot(noise(now), noise(before));
  return `${ratio.toFixed(2)} ± ${open.toFixed(2)}`;
}

function percent(share) {
  return share === undefined || share === null ? "–" : `${(100 * share).toFixed(1)} %`;
}

/** Columns as wide as their widest cell: the first to the left, figures to the right. */
export function renderTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
  return rows
    .map((cells) =>
      cells
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
        .join("  "),
    )
    .join("\n");
}
