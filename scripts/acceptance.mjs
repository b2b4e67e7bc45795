// Runs the zero-run matrix (transports × workloads × workers × policies) from the build in dist/, checks every result
// folder against the contract's checker, and prints one line a run. `node scripts/acceptance.mjs [--quick] [--only TEXT]`.
// Not a part of CI: it takes some ten minutes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const quick = process.argv.includes("--quick");
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : null;
const python = join(root, ".venvs", "dask-2026.8.0", "bin", "python");
const checker = join(root, "test", "results", "check-result-folder.py");
const recorded = readdirSync(join(root, "profiles", "graphs"))
  .filter((name) => name.endsWith(".jsonl.gz"))
  .map((name) => join(root, "profiles", "graphs", name));

const runs = [];
for (const transport of ["tcp", "memory", "direct"])
  for (const workload of ["merge:10000", "merge:100000", "tree:15", "random:20000:1"])
    for (const scheduler of ["workstealing", "random"])
      runs.push({ transport, workload, workers: 168, scheduler });
for (const workers of [1, 24, 1000])
  for (const workload of ["merge:10000", "tree:15"])
    runs.push({ transport: "tcp", workload, workers, scheduler: "workstealing" });
for (const release of ["2022.12", "2024.12"])
  runs.push({
    transport: "tcp",
    workload: "merge:10000",
    workers: 24,
    scheduler: "workstealing",
    more: ["--release", release],
  });
for (const more of [["--flush", "each"], ["--order"], ["--trace", "off"], ["--trace", "tasks"]])
  runs.push({ transport: "tcp", workload: "tree:15", workers: 168, scheduler: "workstealing", more });
for (const workload of recorded) {
  runs.push({ transport: "tcp", workload, workers: 168, scheduler: "workstealing" });
  if (!quick) runs.push({ transport: "memory", workload, workers: 24, scheduler: "random" });
  if (!quick) runs.push({ transport: "direct", workload, workers: 24, scheduler: "workstealing" });
}

let failed = 0;
for (const { transport, workload, workers, scheduler, more = [] } of runs) {
  const name = `${workload.split("/").at(-1)} ${workers} ${transport} ${scheduler} ${more.join(" ")}`;
  if (only !== null && !name.includes(only)) continue;
  const out = mkdtempSync(join(tmpdir(), "rsds-acceptance-"));
  const args = [
    "--zero-workers",
    workers,
    "--workload",
    workload,
    "--transport",
    transport,
    "--scheduler",
    scheduler,
  ];
  const run = spawnSync(
    process.execPath,
    [join(root, "dist/src/cli/main.js"), ...args.map(String), "--quiet", "--out", out, ...more],
    { encoding: "utf8", timeout: 300_000 },
  );
  const check =
    run.status === 0
      ? spawnSync(python, [checker, out], { encoding: "utf8" })
      : { status: 1, stdout: run.stderr };
  if (check.status !== 0) failed++;
  console.log(
    `${check.status === 0 ? "ok  " : "FAIL"} ${name.padEnd(60)} ${check.stdout.trim().split("\n").join(" | ")}`,
  );
  rmSync(out, { recursive: true, force: true });
}
console.log(`${failed} runs with breaches`);
process.exitCode = failed === 0 ? 0 : 1;
