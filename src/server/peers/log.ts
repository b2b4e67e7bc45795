/** The levels of Python's logging that Dask uses, from the least. */
export const LOG_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** One line of the log. */
export interface LogRecord {
  readonly time_ms: number;
  readonly logger: string;
  readonly level: LogLevel;
  readonly text: string;
}

/** Where lines go; the records that are kept for `get_logs` stay here. */
export interface Log {
  readonly records: readonly LogRecord[];
  write(level: LogLevel, text: string): void;
  /** At most a few lines a peer and a kind in each interval; what was held back is counted in the next line. */
  writeLimited(level: LogLevel, source: string, text: string): void;
}

/** Dask keeps as many (`distributed.admin.log-length`). */
const RECORDS_MAX = 10_000;
/** A line is cut here: peers choose parts of what is logged. */
const TEXT_CHARACTERS_MAX = 4_000;
const LIMITED_INTERVAL_MS = 10_000;
const LIMITED_LINES_MAX = 5;
const LIMITED_SOURCES_MAX = 1_000;

interface Allowance {
  since_ms: number;
  lines: number;
  held_back: number;
}

/** The log of one server: every record is a single line, is kept for a while, and goes to `sink`. */
export class ServerLog implements Log {
  readonly #logger: string;
  readonly #sink: (record: LogRecord) => void;
  readonly #now_ms: () => number;
  readonly #allowances = new Map<string, Allowance>();
  readonly #records_max: number;
  #records: LogRecord[] = [];

  constructor(
    logger: string,
    sink: (record: LogRecord) => void,
    now_ms: () => number = Date.now,
    records_max = RECORDS_MAX,
  ) {
    this.#records_max = records_max;
    this.#logger = logger;
    this.#sink = sink;
    this.#now_ms = now_ms;
  }

  get records(): readonly LogRecord[] {
    return this.#records;
  }

  write(level: LogLevel, text: string): void {
    const record = { time_ms: this.#now_ms(), logger: this.#logger, level, text: oneLine(text) };
    this.#records.push(record);
    // Cut in halves, so that a full log does not shift ten thousand entries with each line.
    const most = this.#records_max;
    if (this.#records.length > 2 * most) this.#records = most === 0 ? [] : this.#records.slice(-most);
    this.#sink(record);
  }

  writeLimited(level: LogLevel, source: string, text: string): void {
    const now_ms = this.#now_ms();
    let allowance = this.#allowances.get(source);
    if (allowance === undefined) {
      if (this.#allowances.size >= LIMITED_SOURCES_MAX) this.#forgetOldest();
      allowance = { since_ms: now_ms, lines: 0, held_back: 0 };
      this.#allowances.set(source, allowance);
    } else if (now_ms - allowance.since_ms >= LIMITED_INTERVAL_MS) {
      allowance.since_ms = now_ms;
      allowance.lines = 0;
    }
    if (allowance.lines >= LIMITED_LINES_MAX) {
      allowance.held_back++;
      return;
    }
    allowance.lines++;
    const suffix = allowance.held_back === 0 ? "" : ` (${allowance.held_back} more lines like it held back)`;
    allowance.held_back = 0;
    this.write(level, text + suffix);
  }

  /** A Map keeps the order of insertion, so its first key is the source that has been known for longest. */
  #forgetOldest(): void {
    for (const source of this.#allowances.keys()) {
      this.#allowances.delete(source);
      return;
    }
  }
}

/** "2026-11-21 11:20:00,123 - distributed.scheduler - INFO - text": distributed's default format, local time. */
export function formatRecord(record: LogRecord): string {
  const t = new Date(record.time_ms);
  const date = `${t.getFullYear()}-${pad(t.getMonth() + 1, 2)}-${pad(t.getDate(), 2)}`;
  const clock = `${pad(t.getHours(), 2)}:${pad(t.getMinutes(), 2)}:${pad(t.getSeconds(), 2)}`;
  return `${date} ${clock},${pad(t.getMilliseconds(), 3)} - ${record.logger} - ${record.level} - ${record.text}`;
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, "0");
}

/** Peers' text must not forge lines or move a terminal's cursor: control characters become escapes. */
function oneLine(text: string): string {
  const cut = text.length > TEXT_CHARACTERS_MAX ? `${text.slice(0, TEXT_CHARACTERS_MAX)}…` : text;
  return cut.replace(/\p{Cc}/gu, (c) =>
    c === "\n" ? "\\n" : `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
