// How far a replay in virtual time is from the run that was recorded: real dask clients and two real single-threaded workers on
// `rsds scheduler`, recorded by `rsds record`, replayed by `rsds simulate` without further options.
//   npm run build && npm run venvs && node profiles/bench-replay.mjs [--only CASE]… [--policy workstealing] [--repeat 1]
//     [--keep FOLDER] [--fail-above 10] [--json]
// Status 1: a replay is off by more than `--fail-above` per cent.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { machineFacts, machineLine } from "./bench/baselines.mjs";
import { checkNames } from "./bench/cases.mjs";
import { neededPython } from "./bench/dask.mjs";
import { rsdsJson } from "./bench/processes.mjs";
import { RecordedCluster } from "./bench/recorded-cluster.mjs";
import { renderTable } from "./bench/report.mjs";

const CASES = ["merge", "groupby", "array"];
const WORKERS = 2;

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: CASES },
    policy: { type: "string", default: "workstealing" },
    repeat: { type: "string", default: "1" },
    keep: { type: "string" },
    "fail-above": { type: "string", default: "10" },
    python: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const python = neededPython(values.python);
checkNames(values.only, CASES);

async function measure(folder) {
  const cluster = new RecordedCluster();
  const rows = [];
  try {
    await cluster.start({ policy: values.policy, python, workers: WORKERS });
    for (const name of values.only) {
      // The first run imports what the graph needs.
      await cluster.run(name);
      for (let i = 1; i <= Number(values.repeat); i++) {
        const file = join(folder, `${name}-${i}.jsonl.gz`);
        const { wall_s, header } = await cluster.record(name, file);
        const { makespan_s, bytes_moved } = await rsdsJson(["simulate", "--workload", file]);
        const row = { name, tasks: header.tasks, wall_s, real_s: header.makespan_s };
        const off = makespan_s.median / row.real_s - 1;
        rows.push({
          ...row,
          replayed_s: makespan_s.median,
          off,
          transfers: header.setup.transfers,
          bytes_moved,
        });
        process.stderr.write(`  ${name}: ${row.real_s} s, replayed ${makespan_s.median} s\n`);
      }
    }
    return rows;
  } finally {
    await cluster.end();
  }
}

const folder = values.keep ?? mkdtempSync(join(tmpdir(), "rsds-replay-"));
mkdirSync(folder, { recursive: true });
let rows;
try {
  rows = await measure(folder);
} finally {
  if (values.keep === undefined) rmSync(folder, { recursive: true, force: true });
}
if (values.json) process.stdout.write(`${JSON.stringify({ machine: machineFacts(), rows })}\n`);
else {
  process.stdout.write(`${machineLine()}; ${values.policy}\n`);
  const table = rows.map(({ name, tasks, wall_s, real_s, replayed_s, off }) => [
    ...[
      name,
      String(tasks),
      `${wall_s.toFixed(3)} s`,
      `${real_s.toFixed(3)} s`,
      `${replayed_s.toFixed(3)} s`,
    ],
    `${off >= 0 ? "+" : ""}${(100 * off).toFixed(1)} %`,
  ]);
  process.stdout.write(
    `${renderTable([["case", "tasks", "at the client", "recorded", "replayed", "off"], ...table])}\n`,
  );
}
if (rows.some(({ off }) => Math.abs(off) * 100 > Number(values["fail-above"]))) process.exitCode = 1;
