import { STAMP_COUNT, STAMP_NAMES, type Stamp } from "../trace/phases.ts";
import type { TaskRows } from "../trace/task-rows.ts";
import type { HopRow, PhaseRow } from "./summary.ts";

const PERCENTILES = ["count", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"] as const;
const PHASE_COLUMNS = ["phase", "parent", "total_s", "us_per_task", "share", ...PERCENTILES] as const;
const HOP_COLUMNS = ["hop", ...PERCENTILES] as const;

/** `--trace tasks` of one repeat: the rows, and what their numbers stand for. */
export interface TaskTable {
  readonly repeat: number;
  readonly rows: TaskRows;
  /** The key of a row's task as Python's `str` shows it. */
  readonly key: (row: number) => string;
  /** The name or address of a worker's number. */
  readonly worker: (worker: number) => string;
  /** The stamps' origin: the window's beginning. */
  readonly origin_ns: number;
}

export function phasesCsv(rows: readonly PhaseRow[]): string {
  return table(
    PHASE_COLUMNS,
    rows.map((row) => PHASE_COLUMNS.map((column) => row[column])),
  );
}

export function hopsCsv(rows: readonly HopRow[]): string {
  return table(
    HOP_COLUMNS,
    rows.map((row) => HOP_COLUMNS.map((column) => row[column])),
  );
}

/** Stamps are microseconds since the window's beginning; empty where the moment was not seen. */
export function* tasksCsv(tables: readonly TaskTable[]): Generator<string> {
  yield `${["key", "worker", "repeat", ...STAMP_NAMES.map((name) => `${name}_us`)].join(",")}\n`;
  for (const { repeat, rows, key, worker, origin_ns } of tables) {
    for (let row = 0; row < rows.count; row++) {
      const on = rows.workerOf(row);
      let line = `${field(key(row))},${on < 0 ? "" : field(worker(on))},${repeat}`;
      for (let stamp = 0; stamp < STAMP_COUNT; stamp++) {
        const ns = rows.stampOf(row, stamp as Stamp);
        line += Number.isNaN(ns) ? "," : `,${((ns - origin_ns) / 1e3).toFixed(3)}`;
      }
      yield `${line}\n`;
    }
  }
}

function table(columns: readonly string[], rows: readonly (readonly (string | number | null)[])[]): string {
  return [columns, ...rows]
    .map((row) => `${row.map((value) => field(String(value ?? ""))).join(",")}\n`)
    .join("");
}

/** RFC 4180: keys are tuples often, with commas and quotes in them. */
function field(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
