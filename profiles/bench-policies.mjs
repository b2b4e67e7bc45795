// Policies end to end: real dask clients and real single-threaded workers, on `rsds scheduler` with each policy and on Dask's
// own scheduler, in turn on one machine; the clusters whose turn it is not are stopped meanwhile.
//   npm run build && npm run venvs && node profiles/bench-policies.mjs [--only CASE]… [--workers 2 --workers 4]
//     [--policy workstealing --policy dask] [--repeat 5] [--json]
// `--policy dask@inf` is dask with that worker-saturation.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machineFacts, machineLine } from "./bench/baselines.mjs";
import { checkNames } from "./bench/cases.mjs";
import { neededPython } from "./bench/dask.mjs";
import { processCpuS, untilQuiet } from "./bench/proc.mjs";
import { end, nextLine, rsdsBin, startClient, startScheduler, startWorkers } from "./bench/processes.mjs";
import { renderTable } from "./bench/report.mjs";
import { median, round } from "./bench/statistics.mjs";

const CLIENT = fileURLToPath(new URL("bench/policies_client.py", import.meta.url));
const CASES = ["merge", "groupby", "shuffled", "array", "uneven", "heavy_tail"];
const HERE = ["--host", "127.0.0.1", "--port", "0"];
const DASK = "dask scheduler";

/** A scheduler with its workers and a client; all of them processes of their own. */
class Side {
  #scheduler;
  #workers = [];
  #client;

  async start(side, { python, workers }) {
    this.#scheduler = await startScheduler(commandOf(side, python));
    const { address } = this.#scheduler;
    this.#workers = await startWorkers(address, python, workers);
    this.#client = startClient(python, [CLIENT, address]);
    return this;
  }

  async run(name) {
    this.#client.child.stdin.write(`${name}\n`);
    await nextLine(this.#client, "the client");
    await untilQuiet(this.#scheduler.child.pid);
    const cpu_s = processCpuS(this.#scheduler.child.pid);
    this.#client.child.stdin.write("\n");
    const { wall_s } = JSON.parse(await nextLine(this.#client, "the client"));
    return { wall_s, scheduler_cpu_s: processCpuS(this.#scheduler.child.pid) - cpu_s };
  }

  signal(name) {
    for (const { child } of [this.#scheduler, ...this.#workers, this.#client]) child.kill(name);
  }

  async end() {
    this.signal("SIGCONT");
    this.#client?.child.stdin.end();
    await this.#client?.ended;
    for (const started of [...this.#workers, this.#scheduler]) if (started !== undefined) await end(started);
  }
}

function commandOf(side, python) {
  if (side === DASK) return [join(dirname(python), "dask"), "scheduler", ...HERE, "--no-dashboard"];
  const [policy, saturation] = side.split("@");
  const environment =
    saturation === undefined ? [] : ["env", `DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=${saturation}`];
  const options = [...HERE, "--python", python, "--scheduler", policy, "--dashboard-address", ":0"];
  return [...environment, process.execPath, rsdsBin(), "scheduler", ...options];
}

/** For each side and case the timed runs; the first of each, which imports what the graph needs, is left out. */
async function measure({ sides, cases, workers, repeat, python }) {
  const started = new Map();
  const runs = Object.fromEntries(
    sides.map((side) => [side, Object.fromEntries(cases.map((name) => [name, []]))]),
  );
  try {
    for (const side of sides) started.set(side, await new Side().start(side, { python, workers }));
    for (const side of started.values()) side.signal("SIGSTOP");
    for (const name of cases)
      for (let i = 0; i <= repeat; i++) {
        // Nobody is always the first.
        const turn = sides.map((_, at) => sides[(at + i) % sides.length]);
        for (const side of turn) {
          started.get(side).signal("SIGCONT");
          const run = await started.get(side).run(name);
          started.get(side).signal("SIGSTOP");
          if (i > 0) runs[side][name].push(run);
          process.stderr.write(`  ${workers} workers, ${name}, ${side}: ${round(run.wall_s)} s\n`);
        }
      }
  } finally {
    for (const side of started.values()) await side.end();
  }
  return runs;
}

/** Seconds, and how many times as fast as Dask's scheduler: the median of the pairs of one round. */
function rowsOf(workers, cases, sides, runs) {
  return cases.map((name) => {
    const dasks = runs[DASK][name];
    const cells = sides.map((side) => {
      const own = runs[side][name];
      const wall = round(median(own.map((run) => run.wall_s)));
      if (side === DASK) return `${wall} s`;
      const ratios = dasks.map((run, i) => run.wall_s / own[i].wall_s);
      const range = `${Math.min(...ratios).toFixed(2)} – ${Math.max(...ratios).toFixed(2)}`;
      return `${wall} s, ${median(ratios).toFixed(2)} × (${range})`;
    });
    const cpu = sides.map((side) => round(median(runs[side][name].map((run) => run.scheduler_cpu_s))));
    return [name, String(workers), ...cells, cpu.join(" / ")];
  });
}

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: CASES },
    workers: { type: "string", multiple: true, default: ["2", "4"] },
    policy: { type: "string", multiple: true, default: ["workstealing", "dask"] },
    repeat: { type: "string", default: "5" },
    python: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const python = neededPython(values.python);
checkNames(values.only, CASES);
const sides = [DASK, ...values.policy];
const results = {};
for (const workers of values.workers.map(Number))
  results[workers] = await measure({
    sides,
    cases: values.only,
    workers,
    repeat: Number(values.repeat),
    python,
  });
if (values.json) process.stdout.write(`${JSON.stringify({ machine: machineFacts(), results })}\n`);
else {
  process.stdout.write(`${machineLine()}; medians of ${values.repeat}\n`);
  const titles = ["case", "workers", ...sides, "scheduler's CPU, s"];
  const rows = Object.entries(results).flatMap(([workers, runs]) =>
    rowsOf(workers, values.only, sides, runs),
  );
  process.stdout.write(`${renderTable([titles, ...rows])}\n`);
}
