import type { RecordedRun, RecordedSubmit, WorkloadError } from "./workload.ts";
import type { RecordedHeader } from "./write-recorded.ts";

type Fault = (what: string) => WorkloadError;

/** Columns that a replay reads. */
const READ = [
  ...["graph", "client", "submit_us", "intake_us", "think_us"],
  ...["duration_us", "wanted", "worker", "overhead_us", "fetch_lag_us", "report_us"],
] as const;
type Column = (typeof READ)[number];

/** What it reads of the header, whatever that is. */
interface Header {
  readonly setup?: unknown;
  readonly columns?: unknown;
  readonly makespan_s?: unknown;
}

/** Reads what `rsds record` adds to a recorded graph: by the names in the header's `columns`, with `setup`. */
export class RunReader {
  readonly #fault: Fault;
  readonly #at: ReadonlyMap<string, number>;
  readonly #setup: RecordedRun["setup"];
  readonly #makespan_s: number;
  /** By the file's number of it. */
  readonly #graphs = new Map<number, RecordedSubmit>();
  readonly #graph_of: number[] = [];
  readonly #wanted: boolean[] = [];
  readonly #data: number[] = [];
  readonly #overhead_us: number[] = [];
  readonly #fetch_lag_us: number[] = [];
  readonly #report_us: number[] = [];
  readonly #worker: number[] = [];

  private constructor(header: Header, columns: readonly unknown[], fault: Fault) {
    this.#fault = fault;
    this.#at = new Map(columns.map((name, i) => [String(name), i]));
    const missing = READ.find((name) => !this.#at.has(name));
    if (missing !== undefined) throw fault(`the header has a setup, but no column ${missing}`);
    this.#setup = setupOf(header.setup, fault);
    this.#makespan_s = isQuantity(header.makespan_s) ? header.makespan_s : 0;
  }

  /** Null: the file is a graph alone. Throws {@link WorkloadError}. */
  static of(header: object, fault: Fault): RunReader | null {
    const { setup, columns } = header as Header;
    if (setup === undefined) return null;
    if (!Array.isArray(columns)) throw fault("the header has a setup, but names no columns");
    return new RunReader(header, columns, fault);
  }

  add(row: readonly unknown[], dependencies: readonly number[]): void {
    const graph = this.#graph(row);
    for (const dependency of dependencies)
      if ((this.#graph_of[dependency] ?? 0) > graph)
        throw this.#fault(`a task of graph ${graph} depends on one of a later graph`);
    this.#graph_of.push(graph);
    this.#wanted.push(this.#number(row, "wanted") === 1);
    this.#data.push(this.#number(row, "duration_us") === null ? 1 : 0);
    this.#overhead_us.push(this.#number(row, "overhead_us") ?? 0);
    this.#fetch_lag_us.push(this.#number(row, "fetch_lag_us") ?? 0);
    this.#report_us.push(this.#number(row, "report_us") ?? 0);
    this.#worker.push(this.#number(row, "worker") ?? -1);
  }

  /** The sinks of the graph, and what else was asked for. */
  wanted(sinks: readonly number[]): number[] {
    const wanted = [...this.#wanted];
    for (const id of sinks) wanted[id] = true;
    return wanted.flatMap((yes, id) => (yes ? [id] : []));
  }

  finish(): RecordedRun {
    // Their numbers are those in which they came; of some no task came to an end.
    const numbers = [...this.#graphs.keys()].sort((a, b) => a - b);
    const place = new Map(numbers.map((number, i) => [number, i]));
    return {
      setup: this.#setup,
      makespan_s: this.#makespan_s,
      graphs: numbers.map((number) => this.#graphs.get(number)!),
      graph_of: Uint32Array.from(this.#graph_of, (number) => place.get(number)!),
      data: Uint8Array.from(this.#data),
      overhead_us: Float64Array.from(this.#overhead_us),
      fetch_lag_us: Float64Array.from(this.#fetch_lag_us),
      report_us: Float64Array.from(this.#report_us),
      worker: Int32Array.from(this.#worker),
    };
  }

  /** The number of the row's graph, which is made known by the first of its rows. */
  #graph(row: readonly unknown[]): number {
    const number = this.#count(row, "graph");
    if (!this.#graphs.has(number))
      this.#graphs.set(number, {
        client: this.#count(row, "client"),
        submit_us: this.#number(row, "submit_us") ?? 0,
        intake_us: this.#number(row, "intake_us") ?? 0,
        think_us: this.#number(row, "think_us"),
      });
    return number;
  }

  #count(row: readonly unknown[], name: Column): number {
    const value = this.#number(row, name);
    if (value === null || !Number.isInteger(value))
      throw this.#fault(`${name} must be a whole number, 0 or more`);
    return value;
  }

  /** Null where nothing is known. */
  #number(row: readonly unknown[], name: Column): number | null {
    const value = row[this.#at.get(name)!] ?? null;
    if (value === null) return null;
    if (typeof value !== "number" || !(value >= 0)) throw this.#fault(`${name} must be a number, 0 or more`);
    return value;
  }
}

const SETUP =
  "the header's setup must be {scheduler, workers, message_us, transfers} as rsds record writes it";

function setupOf(value: unknown, fault: Fault): RecordedRun["setup"] {
  if (typeof value !== "object" || value === null) throw fault(SETUP);
  const { scheduler, workers, message_us, transfers } = value as Partial<
    Record<keyof RecordedHeader["setup"], unknown>
  >;
  if (typeof scheduler !== "string" || !isQuantity(message_us)) throw fault(SETUP);
  if (!Array.isArray(workers) || !workers.every((threads) => Number.isInteger(threads) && threads >= 0))
    throw fault(SETUP);
  if (typeof transfers !== "object" || transfers === null) throw fault(SETUP);
  const { count, latency_us, bandwidth } = transfers as Partial<
    Record<keyof RecordedHeader["setup"]["transfers"], unknown>
  >;
  if (!isQuantity(count) || !isQuantity(latency_us)) throw fault(SETUP);
  if (bandwidth !== null && !(isQuantity(bandwidth) && bandwidth > 0)) throw fault(SETUP);
  return {
    scheduler,
    workers,
    message_us,
    transfer_latency_us: count === 0 ? null : latency_us,
    transfer_bandwidth: bandwidth,
  };
}

function isQuantity(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
