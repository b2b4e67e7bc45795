// What opening a graph costs: CPU microseconds a task in the unpacker's Python, beside what Dask's own scheduler
// spends on the same bytes (open, materialize, cull; pickle), and what receiving it costs this process.
//   npm run build && npm run venvs && node profiles/bench-unpacker.mjs [2026.8.0 | 2024.12.1]
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decode } from "@msgpack/msgpack";

const { UnpackerPool } = await import("../dist/src/unpacker/unpacker.js");
const REPEATS = 5;

function graphsOf(python) {
  const folder = mkdtempSync(join(tmpdir(), "rsds-bench-"));
  try {
    const script = fileURLToPath(new URL("../test/unpacker/support/graphs.py", import.meta.url));
    const path = join(folder, "cases.bin");
    execFileSync(python, [script, "bench", path], { stdio: ["ignore", "ignore", "ignore"] });
    return decode(readFileSync(path));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function measure(pool, request) {
  return new Promise((resolve, reject) => {
    const figures = { bytes: 0 };
    const cpu = process.cpuUsage();
    const start = performance.now();
    pool.unpack(request, {
      onStructure: (structure, id) => {
        Object.assign(figures, structure.cpu_seconds, { tasks: structure.task_count });
        figures.structure_ms = performance.now() - start;
        pool.sendOrder(id, null);
      },
      onSpecs: (chunk) => {
        figures.bytes += chunk.payload.byteLength;
      },
      onDone: (seconds) => {
        const { user, system } = process.cpuUsage(cpu);
        resolve({ ...figures, ...seconds, node: (user + system) / 1e6 });
      },
      onError: reject,
    });
  });
}

const release = process.argv[2] ?? "2026.8.0";
const python = fileURLToPath(new URL(`../.venvs/dask-${release}/bin/python`, import.meta.url));
const pool = new UnpackerPool({ python, size_max: 1 });
await pool.warmUp();
const rows = [];
for (const { name, dask_us, ...request } of graphsOf(python)) {
  const runs = [];
  for (let i = 0; i < REPEATS; i++) runs.push(await measure(pool, request));
  const us = (step) => (Math.min(...runs.map((run) => run[step])) / runs[0].tasks) * 1e6;
  const steps = ["open", "materialize", "structure", "specs"].map(us);
  const ours = [...steps, steps.reduce((sum, step) => sum + step, 0), us("node")];
  const [open, dump] = dask_us;
  const text = [...ours, open, dump, open + dump].map((value) => value.toFixed(2));
  rows.push([name, runs[0].tasks, ...text, (runs[0].bytes / runs[0].tasks).toFixed(0)]);
}
await pool.close();
const titles = ["graph", "tasks", "open", "materialize", "structure", "specs", "total", "node"];
titles.push("dask: open", "dask: pickle", "dask: total", "B/task");
for (const row of [titles, titles.map(() => "---"), ...rows])
  process.stdout.write(`| ${row.join(" | ")} |\n`);
