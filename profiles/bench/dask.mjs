// Dask's own scheduler beside ours: the same real client submits the same work, and the same `rsds fleet` does it.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ownCpuS, processCpuS, untilQuiet } from "./proc.mjs";
import { end, nextLine, ROOT, rsdsBin, start, startFleet, startScheduler } from "./processes.mjs";
import { renderTable } from "./report.mjs";
import { median, round } from "./statistics.mjs";

const CLIENT = fileURLToPath(new URL("client.py", import.meta.url));
const HERE = ["--host", "127.0.0.1", "--port", "0"];

/** The Python that `--dask` names, else that of `npm run venvs`; null: there is none, or none is wanted (`off`). */
export function daskPython(given) {
  if (given === "off") return null;
  if (given !== undefined) return given;
  const own = join(ROOT, ".venvs", "dask-2026.8.0", "bin", "python");
  return existsSync(own) ? own : null;
}

/** As {@link daskPython}; throws where there is none. */
export function neededPython(given) {
  const python = daskPython(given);
  if (python === null) throw new Error("no Python with dask: npm run venvs, or --python");
  return python;
}

/** A case on both schedulers: for each a list of `{tasks, wall_s, cpu_us, children_cpu_us}`, µs a task, warm. */
export async function measureBeside(one, { python, repeat }) {
  const dask = [join(dirname(python), "dask"), "scheduler", ...HERE, "--no-dashboard"];
  const rsds = [process.execPath, rsdsBin(), "scheduler", ...HERE, "--python", python];
  return {
    dask: await measure(one, dask, { python, repeat }),
    rsds: await measure(one, rsds, { python, repeat }),
  };
}

async function measure({ workload, size, workers }, command, { python, repeat }) {
  const scheduler = await startScheduler(command);
  const started = [scheduler];
  try {
    started.unshift(await startFleet(scheduler.address, { workers }));
    const client = start(python, [CLIENT, scheduler.address], { stdio: ["pipe", "pipe", "pipe"] });
    started.unshift(client);
    const runs = [];
    for (let i = 0; i <= repeat; i++)
      runs.push(await submit(client, scheduler.child.pid, { workload, size }));
    client.child.stdin.end();
    await client.ended;
    return runs.slice(1);
  } finally {
    for (const process of started) await end(process);
  }
}

async function submit(client, pid, order) {
  client.child.stdin.write(`${JSON.stringify(order)}\n`);
  await nextLine(client, "the client");
  await untilQuiet(pid);
  const [own_s, all_s] = [ownCpuS(pid), processCpuS(pid)];
  client.child.stdin.write("\n");
  const { tasks, wall_s } = JSON.parse(await nextLine(client, "the client"));
  const own_us = ((ownCpuS(pid) - own_s) * 1e6) / tasks;
  const all_us = ((processCpuS(pid) - all_s) * 1e6) / tasks;
  return { tasks, wall_s, cpu_us: all_us, children_cpu_us: all_us - own_us };
}

export function renderDask(results) {
  const rows = [
    ["µs CPU a task, real client", "dask", "rsds", "of it unpacker", "ratio", "dask wall", "rsds wall"],
  ];
  for (const [name, { dask, rsds }] of Object.entries(results)) {
    const of = (runs, figure) => median(runs.map((run) => run[figure]));
    rows.push([
      name,
      round(of(dask, "cpu_us")),
      round(of(rsds, "cpu_us")),
      round(of(rsds, "children_cpu_us")),
      `${(of(dask, "cpu_us") / of(rsds, "cpu_us")).toFixed(1)} ×`,
      `${of(dask, "wall_s").toFixed(2)} s`,
      `${of(rsds, "wall_s").toFixed(2)} s`,
    ]);
  }
  return `${renderTable(rows)}\n`;
}
