import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { parseWorkload } from "../../../simulator/workloads/index.ts";
import { Recording } from "../../../simulator/workloads/recording.ts";
import { type RecordedHeader, writeRecorded } from "../../../simulator/workloads/write-recorded.ts";
import { ACTION, EVENT, type RecordedBatch } from "../../../src/server/recording/batch.ts";

const folder = mkdtempSync(join(tmpdir(), "rsds-recording-"));
afterAll(() => rmSync(folder, { recursive: true }));

const FACTS = {
  ...{ name: "test", version: "0", scheduler: "dask", started_at: "2026-01-01T00:00:00Z", seconds: 1 },
  payloads: false,
};

/** Milliseconds of the scheduler's clock, which began long ago. */
const ns = (ms: number): number => 5e15 + ms * 1e6;

interface Task {
  readonly needs?: readonly number[];
  readonly priority?: number;
  /** Data of before: its size. */
  readonly data?: number;
}

/** Tells a recording of a run in milliseconds; workers' clocks are `ahead_s` of the scheduler's. */
class Told {
  readonly recording = new Recording();
  ahead_s = 1_000;
  #rows = 0;

  constructor(workers: readonly number[]) {
    this.#add({
      workers: workers.map((threads) => ({ threads, release: "2026.8" })),
      prefixes: ["task", "data"],
    });
  }

  graph(submitted_ms: number, tasks: readonly Task[], wanted: readonly number[], client = 0): void {
    const outside = tasks.filter(({ data }) => data !== undefined);
    const first_row = this.#rows;
    this.#rows += tasks.length;
    const priorities = Float64Array.from(tasks, ({ priority }, i) => priority ?? first_row + i);
    this.#add({
      graphs: [
        {
          ...{ submitted_ns: ns(submitted_ms), known_ns: ns(submitted_ms + 2), client, first_row },
          outside: outside.length,
          prefixes: Uint32Array.from(tasks, ({ data }) => (data === undefined ? 0 : 1)),
          user_priorities: new Float64Array(tasks.length),
          generations: new Float64Array(tasks.length),
          orders: priorities,
          dependency_counts: Uint32Array.from(tasks, ({ needs = [] }) => needs.length),
          dependencies: Uint32Array.from(tasks.flatMap(({ needs = [] }) => needs)),
          wanted: Uint32Array.from(wanted),
          outside_nbytes: Float64Array.from(outside, ({ data }) => data!),
          outside_workers: new Float64Array(outside.length),
        },
      ],
    });
  }

  /** Times in ms: assigned, [gathered from, to,] started, stopped, read. */
  ran(
    row: number,
    worker: number,
    times: readonly number[],
    more: { nbytes?: number; failed?: boolean } = {},
  ): void {
    const [assigned, ...rest] = times;
    const gather = rest.length === 5 ? [rest.shift()!, rest.shift()!] : null;
    const [start, stop, read] = rest as [number, number, number];
    const theirs = (ms: number): number => ns(ms) / 1e9 + this.ahead_s;
    const head = [
      EVENT.finished,
      row,
      worker,
      ns(assigned!),
      ns(read),
      more.nbytes ?? 8,
      7,
      more.failed ? 1 : 0,
    ];
    const actions = [ACTION.compute, theirs(start), theirs(stop), -1];
    if (gather !== null) actions.unshift(ACTION.transfer, theirs(gather[0]!), theirs(gather[1]!), 1 - worker);
    this.#add({ events: Float64Array.from([...head, actions.length / 4, ...actions]) });
  }

  added(worker: number, read_ms: number, rows: readonly number[]): void {
    this.#add({ events: Float64Array.from([EVENT.added, worker, ns(read_ms), rows.length, ...rows]) });
  }

  payload(row: number): void {
    this.#add({
      payloads: [{ row, key: `key-${row}`, form: "pickled", frames: [Uint8Array.of(1, 2, row)] }],
    });
  }

  #add(batch: Partial<RecordedBatch>): void {
    const nothing = { workers: [], prefixes: [], graphs: [], payloads: [], end: null };
    this.recording.add({ ...nothing, events: new Float64Array(0), ...batch });
  }
}

let files = 0;

async function written(
  told: Told,
  payloads = false,
): Promise<{ path: string; header: RecordedHeader; rows: Record<string, unknown>[] }> {
  const path = join(folder, `${++files}.jsonl.gz`);
  const header = await writeRecorded(path, told.recording, { ...FACTS, payloads });
  const lines = gunzipSync(readFileSync(path)).toString().trim().split("\n");
  expect(JSON.parse(lines[0]!)).toEqual(header);
  const rows = lines.slice(1).map((line) => {
    const values = JSON.parse(line) as unknown[];
    expect(values).toHaveLength(header.columns.length);
    return Object.fromEntries(header.columns.map((name, i) => [name, values[i]]));
  });
  return { path, header, rows };
}

const column = (rows: readonly Record<string, unknown>[], name: string): unknown[] =>
  rows.map((row) => row[name]);

describe("a recording that is written", () => {
  test("has what the worker needed beside the code, and what its reports took", async () => {
    const told = new Told([1, 1]);
    told.graph(0, [{}, {}, { needs: [0, 1] }], [2]);
    // The quickest message took 1 ms each way: so the clocks are set by it.
    told.ran(0, 0, [2, 3, 13, 14], { nbytes: 100 });
    told.ran(1, 1, [2, 5, 25, 28], { nbytes: 1_000_000 });
    // Told at 28, it has the task at 29, asks at 31, has the input at 36, begins at 38.
    told.added(0, 38, [1]);
    told.ran(2, 0, [28, 31, 36, 38, 48, 50]);
    const { header, rows } = await written(told);
    expect(header).toMatchObject({ tasks: 3, deps: 2, lp: 1, graphs: 1, clients: 1, makespan_s: 0.05 });
    expect(header.setup).toMatchObject({ scheduler: "dask", workers: [1, 1] });
    expect(header.setup.message_us).toBeCloseTo(1000, 0);
    expect(header.setup.transfers).toMatchObject({ count: 1, bytes: 1_000_000, bandwidth: null });
    expect(header.setup.transfers.latency_us).toBeCloseTo(5000, 0);
    expect(column(rows, "duration_us")).toEqual([10_000, 20_000, 10_000]);
    expect(column(rows, "intake_us")).toEqual([2000, 2000, 2000]);
    expect(column(rows, "transfer_bytes")).toEqual([0, 0, 1_000_000]);
    // The second worker has told but once: its report is taken for one of the quickest, of 1 ms.
    const [first, second, third] = column(rows, "overhead_us") as [number, number, number];
    expect(first).toBeCloseTo(0, -1);
    expect(second).toBeCloseTo(4000, -1);
    expect(third).toBeCloseTo(2000, -1);
    expect(column(rows, "fetch_lag_us")[2]).toBeCloseTo(2000, -1);
    const reports = column(rows, "report_us") as number[];
    expect(reports[0]).toBeCloseTo(0, -1);
    expect(reports[2]).toBeCloseTo(1000, -1);
  });

  test("counts a wait for the thread as nobody's overhead", async () => {
    const told = new Told([1]);
    told.graph(0, [{}, {}], [0, 1]);
    told.ran(0, 0, [2, 3, 13, 14]);
    told.ran(1, 0, [2, 13.5, 20, 22]);
    const { rows } = await written(told);
    expect(column(rows, "overhead_us")).toEqual([0, 500]);
  });

  test("bears with clocks that workers set anew", async () => {
    const told = new Told([1]);
    told.graph(0, Array(20).fill({}), [19]);
    for (let i = 0; i < 20; i++) {
      if (i === 10) told.ahead_s += 0.05;
      told.ran(i, 0, [10 * i + 2, 10 * i + 3, 10 * i + 9, 10 * i + 10]);
    }
    const { header, rows } = await written(told);
    expect(header.setup.message_us).toBeCloseTo(1000, 0);
    for (const name of ["overhead_us", "report_us"])
      expect(Math.max(...(column(rows, name) as number[]))).toBeLessThan(5);
    expect(column(rows, "start_us").at(-1)).toBeCloseTo(193_000, -2);
  });

  test("is in an order in which every task comes behind what it needs, priority first", async () => {
    const told = new Told([1]);
    told.graph(
      0,
      [{ data: 77 }, { priority: 9, needs: [0] }, { priority: 1, needs: [1] }, { priority: 5 }],
      [2, 3],
    );
    for (let row = 1; row < 4; row++) told.ran(row, 0, [2, 2 + 10 * row, 10 + 10 * row, 11 + 10 * row]);
    const { header, path, rows } = await written(told);
    expect(column(rows, "prefix")).toEqual(["data", "task", "task", "task"]);
    expect(column(rows, "dependencies")).toEqual([[], [], [0], [2]]);
    expect(header).toMatchObject({ data: 1, tasks: 4 });
    const workload = await parseWorkload(path);
    expect([...workload.recorded!.data]).toEqual([1, 0, 0, 0]);
    expect(workload.wanted).toEqual([1, 3]);
    expect([...workload.nbytes!]).toEqual([77, 8, 8, 8]);
  });

  test("leaves out what did not come to an end, and the first run of a task counts", async () => {
    const told = new Told([1]);
    told.graph(0, [{ data: 5 }, {}, { needs: [0, 1] }, {}], [2, 3]);
    told.ran(1, 0, [2, 3, 4, 5]);
    told.ran(3, 0, [2, 4, 5, 6], { failed: true });
    told.ran(1, 0, [6, 7, 8, 9]);
    const { header, path, rows } = await written(told);
    expect(header).toMatchObject({ tasks: 2, unfinished: 1, failed: 1, recomputed: 1, data: 0 });
    expect(column(rows, "start_us")).toEqual([3000, 4000]);
    expect((await parseWorkload(path)).wanted).toEqual([0, 1]);
  });

  test("knows which graphs waited for results, and for how long their client thought", async () => {
    const told = new Told([1]);
    told.graph(0, [{}], [0]);
    told.graph(5, [{}], [1]);
    told.graph(10, [{}], [2], 1);
    told.ran(0, 0, [2, 3, 13, 14]);
    told.ran(1, 0, [7, 13, 23, 24]);
    told.ran(2, 0, [12, 24, 30, 31]);
    told.graph(40, [{}], [3]);
    told.ran(3, 0, [42, 43, 44, 45]);
    const { path, header, rows } = await written(told);
    expect(header).toMatchObject({ graphs: 4, clients: 2 });
    expect(column(rows, "think_us")).toEqual([null, null, null, 16_000]);
    const { graphs } = (await parseWorkload(path)).recorded!;
    expect(graphs.map(({ submit_us, client }) => [submit_us, client])).toEqual([
      [0, 0],
      [5000, 0],
      [10_000, 1],
      [40_000, 0],
    ]);
  });

  test("has keys and payloads where they are asked for", async () => {
    const told = new Told([1]);
    told.graph(0, [{}, {}], [0, 1]);
    told.ran(0, 0, [2, 3, 4, 5]);
    told.ran(1, 0, [2, 4, 5, 6]);
    told.payload(1);
    const { rows } = await written(told, true);
    expect(column(rows, "key")).toEqual([null, "key-1"]);
    expect(column(rows, "payload")).toEqual([null, ["pickled", Buffer.of(1, 2, 1).toString("base64")]]);
    expect((await written(told)).header.columns).not.toContain("payload");
  });

  test("leaves no half of a file where it cannot be written", async () => {
    await expect(writeRecorded(join(folder, "no", "x.gz"), new Recording(), FACTS)).rejects.toThrow(/ENOENT/);
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
  });
});
