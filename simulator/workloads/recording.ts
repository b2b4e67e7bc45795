import {
  ACTION,
  EVENT,
  type RecordedBatch,
  type RecordedGraph,
  type RecordedPayload,
  type RecordedWorker,
} from "../../src/server/recording/batch.ts";

/** So many tasks fit in a file that can be read again. */
const TASKS_MAX = 2_000_000;
/** Of all tasks together: they are kept in memory until the file is written. */
const PAYLOAD_BYTES_MAX = 1 << 28;

/** One gather of a worker from another, as the report of a task that needed it had it; times on the worker's clock. */
export interface RecordedTransfer {
  readonly row: number;
  readonly worker: number;
  /** −1: a worker that the recording does not know. */
  readonly source: number;
  readonly start_s: number;
  readonly stop_s: number;
}

/** A worker told that it got these results from others. */
export interface RecordedArrival {
  readonly worker: number;
  readonly read_ns: number;
  readonly rows: readonly number[];
}

/** What is known of one graph. */
export interface RecordedSubmission {
  readonly submitted_ns: number;
  readonly known_ns: number;
  readonly client: number;
  readonly wanted: readonly number[];
}

/** All that a recording has been told so far, by row: the order in which tasks became known. NaN and −1: not known. */
export class Recording {
  readonly workers: RecordedWorker[] = [];
  readonly prefixes: string[] = [];
  readonly submissions: RecordedSubmission[] = [];
  readonly transfers: RecordedTransfer[] = [];
  readonly arrivals: RecordedArrival[] = [];
  readonly payloads = new Map<number, RecordedPayload>();
  // By row.
  readonly prefix: number[] = [];
  readonly user_priority: number[] = [];
  readonly generation: number[] = [];
  readonly order: number[] = [];
  readonly submission: number[] = [];
  /** Not submitted while the recording went on: data, or tasks of before. */
  readonly outside: boolean[] = [];
  readonly dependency_end: number[] = [];
  readonly dependencies: number[] = [];
  readonly worker: number[] = [];
  readonly nbytes: number[] = [];
  readonly assigned_ns: number[] = [];
  readonly read_ns: number[] = [];
  readonly thread: number[] = [];
  readonly start_s: number[] = [];
  readonly stop_s: number[] = [];
  readonly failed: boolean[] = [];
  /** Reports of tasks that had finished before: results were lost and made again. */
  recomputed = 0;
  payloads_left_out = 0;
  #payload_bytes = 0;
  /** There are too many tasks: what comes is not taken. */
  full = false;

  get rows(): number {
    return this.prefix.length;
  }

  finished(row: number): boolean {
    return this.read_ns[row]! > 0;
  }

  /** Rows that a row depends on. */
  dependenciesOf(row: number): readonly number[] {
    return this.dependencies.slice(row === 0 ? 0 : this.dependency_end[row - 1]!, this.dependency_end[row]!);
  }

  add(batch: RecordedBatch): void {
    this.workers.push(...batch.workers);
    for (const prefix of batch.prefixes) this.prefixes.push(prefix);
    for (const graph of batch.graphs) this.#graph(graph);
    for (const payload of batch.payloads) this.#payload(payload);
    const { events } = batch;
    for (let at = 0; at < events.length; )
      at = events[at] === EVENT.finished ? this.#finished(events, at) : this.#added(events, at);
  }

  #graph(graph: RecordedGraph): void {
    const count = graph.prefixes.length;
    if (this.full || this.rows + count > TASKS_MAX) {
      this.full = true;
      return;
    }
    const submission = this.submissions.length;
    const { submitted_ns, known_ns, client } = graph;
    this.submissions.push({ submitted_ns, known_ns, client, wanted: [...graph.wanted] });
    for (const dependency of graph.dependencies) this.dependencies.push(dependency);
    for (let i = 0; i < count; i++) {
      const outside = i < graph.outside;
      this.prefix.push(graph.prefixes[i]!);
      this.user_priority.push(graph.user_priorities[i]!);
      this.generation.push(graph.generations[i]!);
      this.order.push(graph.orders[i]!);
      this.submission.push(submission);
      this.outside.push(outside);
      this.dependency_end.push((this.dependency_end.at(-1) ?? 0) + graph.dependency_counts[i]!);
      this.worker.push(outside ? graph.outside_workers[i]! : -1);
      this.nbytes.push(outside ? graph.outside_nbytes[i]! : -1);
      for (const column of [this.assigned_ns, this.read_ns, this.thread, this.start_s, this.stop_s])
        column.push(Number.NaN);
      this.failed.push(false);
    }
  }

  /** The first run of a task counts. Answers where the event ends. */
  #finished(events: Float64Array, at: number): number {
    const row = events[at + 1]!;
    const worker = events[at + 2]!;
    const actions = events[at + 8]!;
    const end = at + 9 + 4 * actions;
    if (row >= this.rows) return end;
    if (this.finished(row)) {
      this.recomputed++;
      return end;
    }
    this.worker[row] = worker;
    this.assigned_ns[row] = events[at + 3]!;
    this.read_ns[row] = events[at + 4]!;
    this.nbytes[row] = events[at + 5]!;
    this.thread[row] = events[at + 6]!;
    this.failed[row] = events[at + 7] === 1;
    for (let i = at + 9; i < end; i += 4) {
      const [start_s, stop_s] = [events[i + 1]!, events[i + 2]!];
      if (events[i] === ACTION.transfer)
        this.transfers.push({ row, worker, source: events[i + 3]!, start_s, stop_s });
      else {
        this.start_s[row] = start_s;
        this.stop_s[row] = stop_s;
      }
    }
    return end;
  }

  #added(events: Float64Array, at: number): number {
    const end = at + 4 + events[at + 3]!;
    const rows = [...events.subarray(at + 4, end)].filter((row) => row < this.rows);
    this.arrivals.push({ worker: events[at + 1]!, read_ns: events[at + 2]!, rows });
    return end;
  }

  #payload(payload: RecordedPayload): void {
    const bytes = payload.frames.reduce((sum, frame) => sum + frame.byteLength, 0);
    if (payload.row >= this.rows || this.payloads.has(payload.row)) return;
    if (this.#payload_bytes + bytes > PAYLOAD_BYTES_MAX) {
      this.payloads_left_out++;
      return;
    }
    this.#payload_bytes += bytes;
    this.payloads.set(payload.row, payload);
  }
}
