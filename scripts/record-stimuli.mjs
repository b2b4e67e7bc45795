// Records the logs that test/simulator/stimuli replays: a real dask client and three real workers on `rsds scheduler`.
//   npm run build && npm run venvs && node scripts/record-stimuli.mjs [FOLDER]
// To be done anew when the core is meant to say something else than it did.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { daskPython } from "../profiles/bench/dask.mjs";
import { end, output, ROOT, rsdsBin, start, startScheduler } from "../profiles/bench/processes.mjs";

const CLIENT = fileURLToPath(new URL("stimuli_client.py", import.meta.url));
const POLICIES = ["workstealing", "dask"];
const WORKERS = 3;
const START_MS_MAX = 60_000;

const python = daskPython();
if (python === null) throw new Error("no Python with dask: npm run venvs");
const folder = process.argv[2] ?? join(ROOT, "test", "simulator", "stimuli", "recorded");

async function registered(worker) {
  const deadline = performance.now() + START_MS_MAX;
  while (!worker.stderr.includes("Registered to:")) {
    if (worker.over !== null)
      throw new Error(`a worker ended with ${worker.over.status}: ${worker.over.stderr}`);
    if (performance.now() > deadline) throw new Error("a worker did not register in time");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

for (const policy of POLICIES) {
  const file = join(folder, `${policy}.jsonl.gz`);
  const scratch = mkdtempSync(join(tmpdir(), "rsds-stimuli-"));
  const here = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--python", python];
  const scheduler = await startScheduler([
    ...[process.execPath, rsdsBin(), "scheduler", ...here],
    ...["--scheduler", policy, "--stimulus-log", file],
  ]);
  const started = [scheduler];
  try {
    const options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"];
    for (let i = 0; i < WORKERS; i++)
      started.unshift(start(join(dirname(python), "dask"), ["worker", scheduler.address, ...options]));
    await Promise.all(started.slice(0, WORKERS).map(registered));
    await output(python, [CLIENT, scheduler.address, scratch]);
  } finally {
    for (const process of started) await end(process);
    rmSync(scratch, { recursive: true });
  }
  process.stderr.write(`  ${file}: ${statSync(file).size} bytes\n`);
  process.stdout.write(await output(process.execPath, [rsdsBin(), "simulate", "--stimuli", file, "--quiet"]));
}
