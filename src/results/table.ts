import { graphSection } from "./graph-table.ts";
import {
  type HopRow,
  LIVE_WORKLOAD,
  type LoopSummary,
  type PhaseRow,
  type RunFacts,
  type Stat,
  type Summary,
} from "./summary.ts";
import {
  bar,
  bytes,
  columns,
  grouped,
  percent,
  seconds,
  significant,
  styled,
  type TextOptions,
} from "./text.ts";

/** Narrower than this, bars are left out. */
const BAR_WIDTH_MIN = 84;
const BAR_COLUMNS = 16;

/** The attribution as text for people. Ends with a newline; where the files went is the caller's to say. */
export function renderTable(summary: Summary, options: TextOptions): string {
  const sections = [
    headline(summary, options),
    summary.phases === undefined ? [] : phaseSection(summary, summary.phases, options),
    fleetSection(summary, options),
    summary.hops === undefined ? [] : hopSection(summary.hops, options),
    summary.run.workload === LIVE_WORKLOAD ? graphSection(summary.graphs, options) : [],
    notes(summary, options),
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => `${lines.join("\n")}\n`)
    .join("\n");
}

function headline(summary: Summary, options: TextOptions): string[] {
  const { run } = summary;
  const live = run.workload === LIVE_WORKLOAD;
  const facts = [
    `${grouped(run.tasks)} tasks`,
    workersOf(run),
    run.scheduler,
    run.transport,
    run.release,
    ...(live ? [] : [`${run.repeats} ${run.repeats === 1 ? "repeat" : "repeats"}`]),
  ];
  const title = `${styled(options, "bold", run.workload)}  ${styled(options, "dim", facts.join(" · "))}`;
  const rows = [
    [live ? "window" : "makespan", seconds(summary.makespan_s.median), range(summary.makespan_s, seconds)],
    ["per task", micros(summary.us_per_task.median), range(summary.us_per_task, micros)],
    [
      "scheduler CPU per task",
      micros(summary.scheduler_cpu_us_per_task.median),
      range(summary.scheduler_cpu_us_per_task, micros),
    ],
  ];
  const unpacker = summary.unpacker_cpu_us_per_task;
  if (unpacker !== undefined) {
    rows.push(["unpacker CPU per task", micros(unpacker.median), range(unpacker, micros)]);
  }
  // A window may have many graphs, which have a section, and discards no first run.
  if (!live) rows.push(...singleRunRows(summary));
  return [title, "", ...columns(rows, 3).map((line) => `  ${line}`)];
}

function workersOf({ zero_workers, workers }: RunFacts): string {
  if (zero_workers > 0) return `${grouped(zero_workers)} zero workers`;
  return typeof workers === "number" ? `${grouped(workers)} workers` : "real workers";
}

function singleRunRows({ graph_s, first_task_s, training, cold }: Summary): string[][] {
  const rows = [
    ["graph in", seconds(graph_s.median), range(graph_s, seconds)],
    ["first task out", seconds(first_task_s.median), range(first_task_s, seconds)],
  ];
  if (training !== undefined && training !== null)
    rows.push(["training", seconds(training.seconds), `CPU ${seconds(training.cpu_s)} before the first run`]);
  if (cold !== null) {
    rows.push([
      "cold run",
      seconds(cold.makespan_s),
      `CPU ${micros(cold.scheduler_cpu_us_per_task)} per task`,
    ]);
  }
  return rows;
}

function phaseSection(summary: Summary, all: readonly PhaseRow[], options: TextOptions): string[] {
  // Few runs have a policy outside the process.
  const phases = all.filter((row) => row.phase !== "policy" || row.count > 0);
  const bars = options.width >= BAR_WIDTH_MIN;
  const cells = (name: string, share: number, numbers: readonly string[]): string[] => [
    name,
    ...(bars ? [bar(share, BAR_COLUMNS).padEnd(BAR_COLUMNS)] : []),
    percent(share),
    ...numbers,
  ];
  const rows = [
    ["phase", ...(bars ? [""] : []), "share", "µs/task", "spans", "p50 µs", "p99 µs", "p99.9 µs", "max µs"],
    ...phases.map((row) =>
      cells(row.parent === null ? row.phase : `  ${row.phase}`, row.share, [
        significant(row.us_per_task),
        grouped(row.count),
        ...(row.count === 0
          ? ["", "", "", ""]
          : [row.p50_us, row.p99_us, row.p999_us, row.max_us].map(significant)),
      ]),
    ),
    cells("unattributed", summary.unattributed_share ?? 0, []),
  ];
  const lines = columns(rows, bars ? 2 : 1);
  const styles = ["dim", ...phases.map((row) => (row.parent === null ? "bold" : null)), "yellow"] as const;
  return lines.map((line, i) => {
    const style = styles[i];
    return `  ${style === null || style === undefined ? line : styled(options, style, line)}`;
  });
}

function fleetSection({ fleet }: Summary, options: TextOptions): string[] {
  if (fleet === undefined) return [];
  const cpu = fleet.cpu_us_per_task === null ? [] : [`CPU ${micros(fleet.cpu_us_per_task)} per task`];
  const busy = fleet.busy_share === null ? [] : [`busy ${percent(fleet.busy_share)}`];
  const phases = fleet.phases
    .filter((row) => row.phase !== "idle")
    .map((row) => `${row.phase} ${percent(row.share)}`);
  return [`  ${styled(options, "bold", "fleet")}  ${[...cpu, ...busy, ...phases].join(" · ")}`];
}

function hopSection(hops: readonly HopRow[], options: TextOptions): string[] {
  const rows = [
    ["hop of a task", "count", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs"],
    ...hops.map((row) => [
      row.hop,
      grouped(row.count),
      ...(row.count === 0
        ? ["", "", "", "", ""]
        : [row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us].map(significant)),
    ]),
  ];
  return columns(rows, 1).map((line, i) => `  ${i === 0 ? styled(options, "dim", line) : line}`);
}

/** What the longest turns cannot be blamed for. */
function largeMessages({ large_messages, turn_max_plain_ms }: LoopSummary): string[][] {
  const [first] = large_messages ?? [];
  if (first === undefined || large_messages === undefined || turn_max_plain_ms === undefined) return [];
  const way = first.direction === "in" ? "from" : "to";
  return [
    [
      "",
      `longest ${significant(turn_max_plain_ms)} ms without its ${grouped(large_messages.length)} messages above 8 MiB (${bytes(first.bytes)} ${way} a ${first.peer}: ${significant(first.turn_ms)} ms)`,
    ],
  ];
}

function notes(summary: Summary, options: TextOptions): string[] {
  const { loop, probe, ledger } = summary;
  const memory = [
    ...(summary.memory_bytes_per_task === null
      ? []
      : [`${significant(summary.memory_bytes_per_task)} bytes per task`]),
    `resident at most ${bytes(summary.rss_max_bytes)}`,
  ];
  const rows = [
    [
      "loop",
      `${grouped(loop.turns)} turns, longest ${significant(loop.turn_max_ms)} ms, p99.9 ${significant(loop.turn_p999_ms)} ms`,
    ],
    ...largeMessages(loop),
    [
      "traffic",
      `in ${grouped(ledger.messages_in)} messages, ${bytes(ledger.bytes_in)}; out ${grouped(ledger.messages_out)}, ${bytes(ledger.bytes_out)}`,
    ],
    [
      "tasks",
      `${grouped(ledger.tasks_sent)} sent, ${grouped(ledger.tasks_finished)} finished, ${grouped(ledger.steals_done)} of ${grouped(ledger.steals_asked)} steals done, ${grouped(ledger.recomputed)} recomputed`,
    ],
    ["memory", memory.join(", ")],
    ...(summary.phases === undefined
      ? []
      : [
          [
            "tracing",
            `about ${percent(probe.share)} of the time (${grouped(probe.count)} probes; an empty span costs ${significant(probe.cost_ns)} ns)`,
          ],
        ]),
    ...clockRow(summary.run),
  ];
  return columns(rows, 2).map((line) => `  ${styled(options, "dim", line)}`);
}

/** How far the hops of real workers can be trusted. */
function clockRow({ clocks }: RunFacts): string[][] {
  if (typeof clocks !== "object" || clocks === null || !("ahead_us_max" in clocks)) return [];
  const { ahead_us_max, behind_us_max } = clocks;
  if (typeof ahead_us_max !== "number" || typeof behind_us_max !== "number") return [];
  const bounds = `ahead of this machine's by ${micros(ahead_us_max)} at most, behind by ${micros(behind_us_max)} at most`;
  return [["clocks", `all workers' together ${bounds}`]];
}

function range(stat: Stat, format: (value: number) => string): string {
  return stat.min === stat.max ? "" : `${format(stat.min)} – ${format(stat.max)}`;
}

function micros(value: number): string {
  return `${significant(value)} µs`;
}
