// Real clients' graphs, from the call to the first task and to the last, on Dask's own scheduler and on ours in turn;
// zero workers do the tasks on both.
//   npm run build && npm run venvs && node profiles/bench-clients.mjs [--only TEXT] [--repeat N] [--json]
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { neededPython } from "./bench/dask.mjs";
import { ownCpuS, processCpuS, untilQuiet } from "./bench/proc.mjs";
import { end, nextLine, rsdsBin, start, startScheduler } from "./bench/processes.mjs";
import { renderTable } from "./bench/report.mjs";
import { median, round } from "./bench/statistics.mjs";

const { TcpTransport } = await import("../dist/src/comm/tcp.js");
const { Fleet } = await import("../dist/simulator/fleet/fleet.js");
const { NO_TRACING } = await import("../dist/simulator/fleet/fleet-context.js");

const CLIENT = fileURLToPath(new URL("bench/graphs_client.py", import.meta.url));
const WORKERS = 24;
const HERE = ["--host", "127.0.0.1", "--port", "0"];

/** `size` is what graphs_client.py makes of it; `beside`: a second client submits that in the middle of the first's. */
const CASES = [
  { graph: "futures", size: 10_000 },
  { graph: "futures", size: 100_000 },
  { graph: "merge", size: 10_000 },
  { graph: "tree", size: 16_384 },
  { graph: "array", size: 2_500 },
  { graph: "dataframe", size: 3_650 },
  { graph: "futures", size: 30_000, beside: { graph: "futures", size: 100 } },
].map((one) => ({
  ...one,
  name: `${one.graph}:${one.size}${one.beside ? " and another client's 100" : ""}`,
}));

/** The second client's call comes so long after the first's graph was written: then it is being opened. */
const BESIDE_MS = 50;

class Side {
  #scheduler = null;
  #fleet = null;
  #clients = [];

  async start(command, python) {
    this.#scheduler = await startScheduler(command);
    this.#fleet = new Fleet({
      transport: new TcpTransport(),
      address: this.#scheduler.address,
      workers: WORKERS,
      release: "2026.8",
      flush: "turn",
      stamps: null,
      tracing: NO_TRACING,
      log: () => undefined,
    });
    await this.#fleet.start();
    for (let i = 0; i < 2; i++)
      this.#clients.push(
        start(python, [CLIENT, this.#scheduler.address], { stdio: ["pipe", "pipe", "pipe"] }),
      );
    return this;
  }

  /** One submission; times in ms since the client's graph was written to the scheduler, CPU in µs a task. */
  async submit({ graph, size, beside }) {
    const [client, other] = this.#clients;
    const { pid } = this.#scheduler.child;
    const { meter } = this.#fleet;
    await prepare(client, { graph, size });
    if (beside !== undefined) await prepare(other, beside);
    // The meter stamps the first task after its count was zero.
    const finished = meter.tasks_finished;
    meter.tasks_received = 0;
    const [own_s, all_s] = [ownCpuS(pid), processCpuS(pid)];
    client.child.stdin.write("\n");
    await nextLine(client, "the client");
    const beside_ms = beside === undefined ? null : await this.#second(other);
    const { submit_ns, sent_ns, done_ns } = JSON.parse(await nextLine(client, "the client"));
    const tasks = meter.tasks_finished - finished;
    const own_us = ((ownCpuS(pid) - own_s) * 1e6) / tasks;
    const all_us = ((processCpuS(pid) - all_s) * 1e6) / tasks;
    return {
      tasks,
      client_ms: (sent_ns - submit_ns) / 1e6,
      // With two graphs under way nobody knows whose task it was.
      first_ms: beside === undefined ? (meter.first_task_ns - sent_ns) / 1e6 : null,
      last_ms: (meter.last_finished_ns - sent_ns) / 1e6,
      done_ms: (done_ns - sent_ns) / 1e6,
      beside_ms,
      cpu_us: all_us,
      unpacker_us: all_us - own_us,
    };
  }

  /** From the second client's call to its last key, while the first one's graph is under way. */
  async #second(other) {
    await new Promise((resolve) => setTimeout(resolve, BESIDE_MS));
    other.child.stdin.write("\n");
    await nextLine(other, "the second client");
    const { submit_ns, done_ns } = JSON.parse(await nextLine(other, "the second client"));
    return (done_ns - submit_ns) / 1e6;
  }

  /** Both sides share the machine: what the one still releases would slow the other down. */
  async quiet() {
    await untilQuiet(this.#scheduler.child.pid);
  }

  async end() {
    for (const client of this.#clients) client.child.stdin.end();
    await Promise.allSettled(this.#clients.map((client) => client.ended));
    this.#fleet?.close("the measurement is over");
    if (this.#scheduler !== null) await end(this.#scheduler);
  }
}

async function prepare(client, order) {
  client.child.stdin.write(`${JSON.stringify(order)}\n`);
  await nextLine(client, "the client");
}

/** Both schedulers in turn, the first submission of each apart: it starts our Python and imports what the graph needs. */
async function measure(one, python, repeat) {
  const dask = [join(dirname(python), "dask"), "scheduler", ...HERE, "--no-dashboard"];
  const rsds = [process.execPath, rsdsBin(), "scheduler", ...HERE, "--python", python];
  const sides = { dask: new Side(), rsds: new Side() };
  const runs = { dask: [], rsds: [] };
  try {
    await sides.dask.start(dask, python);
    await sides.rsds.start(rsds, python);
    for (let i = 0; i <= repeat; i++)
      for (const name of ["dask", "rsds"]) {
        await Promise.all(Object.values(sides).map((side) => side.quiet()));
        const run = await sides[name].submit(one);
        runs[name].push(run);
        const { first_ms, last_ms, cpu_us } = run;
        const text = [first_ms, last_ms, cpu_us].map(round).join(", ");
        process.stderr.write(`  ${name}: first task, last task, ms; CPU, µs a task: ${text}\n`);
      }
  } finally {
    await Promise.all(Object.values(sides).map((side) => side.end()));
  }
  return {
    cold: { dask: runs.dask.shift(), rsds: runs.rsds.shift() },
    ...runs,
  };
}

const FIGURES = [
  ["first task, ms", "first_ms"],
  ["last task, ms", "last_ms"],
  ["last key at the client, ms", "done_ms"],
  ["the other client's, ms", "beside_ms"],
  ["CPU, µs a task", "cpu_us"],
  ["of it children, µs a task", "unpacker_us"],
];

/** Ratios are of pairs: a submission to Dask's scheduler and the one to ours after it. */
function rowsOf(name, { cold, dask, rsds }) {
  return FIGURES.filter(([, figure]) => rsds[0][figure] !== null).map(([title, figure]) => {
    const of = (runs) => round(median(runs.map((run) => run[figure])));
    const ratios = dask.map((run, i) => run[figure] / rsds[i][figure]);
    const ratio = figure === "unpacker_us" ? "" : `${median(ratios).toFixed(2)} ×`;
    const range =
      figure === "unpacker_us" ? "" : `${Math.min(...ratios).toFixed(2)} – ${Math.max(...ratios).toFixed(2)}`;
    const first = `${round(cold.dask[figure])} / ${round(cold.rsds[figure])}`;
    return [name, String(rsds[0].tasks), title, of(dask), of(rsds), ratio, range, first];
  });
}

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    repeat: { type: "string", default: "5" },
    python: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const python = neededPython(values.python);
const selected = CASES.filter(
  ({ name }) => values.only.length === 0 || values.only.some((text) => name.startsWith(text)),
);
const results = {};
for (const one of selected) {
  process.stderr.write(`${one.name}\n`);
  results[one.name] = await measure(one, python, Number(values.repeat));
}
if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
else {
  const titles = [
    "graph",
    "tasks",
    "median",
    "dask",
    "rsds",
    "dask : rsds",
    "of pairs",
    "first: dask / rsds",
  ];
  const rows = Object.entries(results).flatMap(([name, result]) => rowsOf(name, result));
  process.stdout.write(`${renderTable([titles, ...rows])}\n`);
}
