import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildResults } from "../../src/results/build.ts";
import { ResultFolder } from "../../src/results/files.ts";
import { buildFleetDocument, writeFleetFolder } from "../../src/results/fleet.ts";
import { writeResultFolder } from "../../src/results/folder.ts";
import type { Summary } from "../../src/results/summary.ts";
import { Histogram } from "../../src/trace/histogram.ts";
import { facts, recordRun } from "./small-run.ts";

const run = promisify(execFile);
const PYTHON = new URL("../../.venvs/dask-2026.8.0/bin/python", import.meta.url).pathname;
const CHECKER = new URL("check-result-folder.py", import.meta.url).pathname;

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "rsds-results-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

async function written(name: string, more: Parameters<typeof facts>[0] = {}) {
  const { input, tables } = await recordRun(facts(more));
  const { summary, histograms, traceEvents } = buildResults(input);
  const path = join(root, name);
  const folder = await writeResultFolder(path, summary, histograms, traceEvents, tables);
  return { path, summary: folder.summary, histograms };
}

async function readSummary(path: string): Promise<Summary> {
  return JSON.parse(await readFile(join(path, "summary.json"), "utf8"));
}

/** What Python's hdrhistogram reads from an interval log: by tag, the count and some percentiles of the sum. */
const READ_LOG = `
import json, sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
reader, tags = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3600 * 10**9, 3)), {}
starts = []
while (h := reader.get_next_interval_histogram()) is not None:
    starts.append(h.get_start_time_stamp())
    t = h.get_tag()
    if t in tags: tags[t].add(h)
    else: tags[t] = h
print(json.dumps({"starts": starts, "tags": {t: [h.get_total_count()] + [h.get_value_at_percentile(p) for p in (50, 90, 99, 99.9, 100)] for t, h in tags.items()}}))
`;

describe("a result folder", () => {
  test.each(["phases", "tasks", "off"] as const)("with --trace %s keeps the contract", async (trace) => {
    const { path, summary } = await written(`checked-${trace}`, { trace });
    const { stdout } = await run(PYTHON, [CHECKER, path]).catch((error) => ({
      stdout: String(error.stdout),
    }));
    // The stand-in's ledger plants one recomputed task a repeat, which the contract's equations cover.
    expect(stdout).toMatch(/^0 breaches/);
    expect(await readSummary(path)).toEqual(summary);
    expect((await readdir(path)).sort()).toEqual([...summary.files].sort());
  });

  test("in direct transport has no fleet and keeps the contract", async () => {
    const { path, summary } = await written("direct", { transport: "direct" });
    const { stdout } = await run(PYTHON, [CHECKER, path]).catch((error) => ({
      stdout: String(error.stdout),
    }));
    expect(stdout).toMatch(/^0 breaches/);
    expect(summary.fleet).toBeUndefined();
  });

  test("Python reads from latency.hlog the counts and percentiles of the summary", async () => {
    const { path, summary } = await written("hlog");
    const { stdout } = await run(PYTHON, ["-c", READ_LOG, join(path, "latency.hlog")]);
    const read: { starts: number[]; tags: Record<string, number[]> } = JSON.parse(stdout);
    const rows = [
      ...summary.phases!.map((row) => ({
        ...row,
        tag: row.parent === null ? row.phase : `${row.parent}.${row.phase}`,
      })),
      ...summary.hops!.map((row) => ({ ...row, tag: `hop.${row.hop.replace("→", "-")}` })),
    ].filter((row) => row.count > 0);
    expect(rows.length).toBeGreaterThan(10);
    for (const row of rows) {
      const [count, ...values] = read.tags[row.tag]!;
      expect(count, row.tag).toBe(row.count);
      expect(
        values.map((ns) => ns / 1e3),
        row.tag,
      ).toEqual([row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us]);
    }
    const started = Date.parse(summary.started_at);
    for (const start of read.starts) expect(Math.abs(start - started)).toBeLessThan(60_000);
  });

  test("its .hgrm files are distributions in microseconds that end at the whole count", async () => {
    const { path, summary } = await written("hgrm");
    const row = summary.phases!.find((phase) => phase.phase === "transition")!;
    const text = await readFile(join(path, "scheduling.transition.hgrm"), "utf8");
    const lines = text.split("\n").filter((line) => /^\s*\d/.test(line));
    const [value, quantile, count] = lines.at(-1)!.trim().split(/\s+/).map(Number);
    expect([quantile, count]).toEqual([1, row.count]);
    expect(value).toBeCloseTo(row.max_us, 2);
    expect(text).toContain("#[Mean");
  });

  test("its tables have the summary's columns and rows", async () => {
    const { path, summary } = await written("tables");
    const [header, ...rows] = (await readFile(join(path, "phases.csv"), "utf8")).trim().split("\n");
    expect(header!.split(",")).toEqual(Object.keys(summary.phases![0]!));
    expect(rows.map((row) => row.split(",")[0])).toEqual(summary.phases!.map((row) => row.phase));
    const hops = (await readFile(join(path, "hops.csv"), "utf8")).trim().split("\n");
    expect(hops[0]!.split(",")).toEqual(Object.keys(summary.hops![0]!));
    expect(hops.length).toBe(summary.hops!.length + 1);
  });

  test("tasks.csv.gz quotes keys and leaves unseen moments empty", async () => {
    const { path } = await written("tasks", { trace: "tasks", repeats: 1 });
    const lines = gunzipSync(await readFile(join(path, "tasks.csv.gz")))
      .toString()
      .trim()
      .split("\n");
    expect(lines[0]).toBe(
      "key,worker,repeat,submit_us,known_us,ready_us,placed_us,encoded_us,written_us,received_us,reported_us,start_us,stop_us,read_us,finished_us,client_us",
    );
    expect(lines.length).toBe(2001);
    expect(lines[1]).toMatch(/^"\('a, ""b""', 0\)",,0,,,,,,\d+\.\d{3},,,,,,,$/);
  });

  test("its Chrome trace holds complete events that nest, and says what was left out", async () => {
    const { path } = await written("trace", { repeats: 1 });
    const trace = JSON.parse(gunzipSync(await readFile(join(path, "trace.json.gz"))).toString());
    const spans: { name: string; tid: number; ts: number; dur: number }[] = trace.traceEvents.filter(
      (event: { ph: string }) => event.ph === "X",
    );
    expect(trace.otherData).toMatchObject({ events: spans.length, dropped: 0 });
    expect(new Set(spans.map((span) => span.name))).toContain("transition");
    const scheduler = spans.filter((span) => span.tid === 1).sort((a, b) => a.ts - b.ts || b.dur - a.dur);
    const open: number[] = [];
    for (const { ts, dur } of scheduler) {
      expect(ts).toBeGreaterThanOrEqual(0);
      expect(dur).toBeGreaterThanOrEqual(0);
      while (open.length > 0 && open.at(-1)! <= ts + 1e-6) open.pop();
      if (open.length > 0) expect(ts + dur).toBeLessThanOrEqual(open.at(-1)! + 1e-6);
      open.push(ts + dur);
    }
  });

  test("replaces what an earlier run left in it, and nothing else", async () => {
    const { path } = await written("again", { trace: "tasks", repeats: 1 });
    await writeFile(join(path, "notes.txt"), "mine");
    const { summary } = await written("again", { trace: "off", repeats: 1 });
    expect((await readdir(path)).sort()).toEqual(["notes.txt", "summary.json"]);
    expect(summary.files).toEqual(["summary.json"]);
  });
});

test("a file that could not be written whole is not there at all", async () => {
  const path = join(root, "broken");
  const folder = await ResultFolder.create(path);
  await folder.write("phases.csv", "whole\n");
  function* pieces(): Generator<string> {
    yield "half";
    throw new Error("interrupted");
  }
  await expect(folder.writeGzip("trace.json.gz", pieces())).rejects.toThrow("interrupted");
  expect(await readdir(path)).toEqual(["phases.csv"]);
  expect(folder.files).toEqual(["phases.csv"]);
});

test("a summary from elsewhere cannot make the writer remove files outside the folder", async () => {
  const path = join(root, "hostile");
  await mkdir(path);
  await writeFile(join(root, "precious"), "");
  const files = ["../precious", "..", 7];
  await writeFile(join(path, "summary.json"), JSON.stringify({ schema: "rsds.summary/1", files }));
  await ResultFolder.create(path);
  expect(await readdir(root)).toContain("precious");
});

test("a fleet's folder holds its document and its histogram", async () => {
  const next = new Histogram();
  for (let i = 1; i <= 1000; i++) next.record(i * 1000);
  const batches = new Histogram();
  batches.recordMany(10, 100);
  const document = buildFleetDocument({
    run: { address: "tcp://127.0.0.1:8786", workers: 4, release: "2026.8" },
    started_at_ms: Date.now(),
    tasks: 1000,
    first_task_ns: 5e9,
    last_finished_ns: 7e9,
    steals_asked: 2,
    steals_done: 1,
    messages_in: 1000,
    messages_out: 1100,
    bytes_in: 5000,
    bytes_out: 6000,
    batch_in: batches,
    batch_out: batches,
    report_to_next_task: next,
    cpu_ns: 3e6,
  });
  expect(document).toMatchObject({
    window_s: 2,
    us_per_task: 2000,
    tasks_per_s: 500,
    fleet_cpu_us_per_task: 3,
  });
  const path = join(root, "fleet");
  const complete = await writeFleetFolder(path, document, next);
  expect(complete.files).toEqual(["summary.json", "latency.hlog", "fleet.report-next.hgrm"]);
  const { stdout } = await run(PYTHON, ["-c", READ_LOG, join(path, "latency.hlog")]);
  expect(JSON.parse(stdout).tags["fleet.report-next"][0]).toBe(1000);
});
