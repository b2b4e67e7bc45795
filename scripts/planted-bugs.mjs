// Plants known bugs in a copy of the sources, one after the other, and says after how many seeds
// `rsds simulate --faults` finds each of them. Ends with status 1 where one is not found within SEEDS_MAX.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const SEEDS_MAX = 1000;
const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Each is a list of changes: file, what stands there once, and what is put in its place. */
const BUGS = {
  "a lost release: of several holders only the last is told to drop a result": [
    [
      "src/core/transitions.ts",
      '      if (worker.status !== "closed") this.outbox.freeReplica(worker.id, task);\n',
      '      if (worker.status !== "closed" && record === replicas.first_of_task[task]! && next === NONE) this.outbox.freeReplica(worker.id, task);\n',
    ],
  ],
  "a stale run_id is accepted": [
    [
      "src/core/scheduler.ts",
      "if (!assigned || (run_id !== 0 && tasks.run_id[task] !== run_id)) {",
      "if (!assigned || run_id < 0) {",
    ],
  ],
  "a last replica is dropped without a word": [
    [
      "src/core/scheduler.ts",
      "    if (!lost) return;\n    this.#vanish(task, worker);\n    this.moves.settle();\n",
      "    if (!lost) return;\n    books.setState(task, RELEASED);\n    this.moves.settle();\n",
    ],
  ],
  "an in-flight steal is forgotten: granted, and the thief is gone": [
    [
      "src/core/scheduler.ts",
      '    if (thief.status !== "running") {\n      moves.release(task);\n',
      '    if (thief.status !== "running") {\n      if (thief.status === "closed") return;\n      moves.release(task);\n',
    ],
  ],
  "a client is told too early: when its task is sent": [
    [
      "src/core/transitions.ts",
      "    this.outbox.computeTask(worker.id, task);\n",
      "    this.outbox.computeTask(worker.id, task);\n    const { wants } = books;\n    for (let want = wants.first_of_task[task]!; want !== NONE; want = wants.next_of_task[want]!)\n      this.outbox.keyInMemory(wants.owner[want]!, task);\n",
    ],
    [
      "src/server/stream/outbox.ts",
      "      if (tasks.state[task] !== MEMORY) return;\n",
      "      if (tasks.state[task] === -MEMORY) return;\n",
    ],
  ],
};

let missed = 0;
for (const [name, changes] of Object.entries(BUGS)) {
  const copy = mkdtempSync(join(tmpdir(), "rsds-planted-"));
  try {
    for (const path of ["src", "simulator", "package.json", "tsconfig.json", "tsconfig.build.json"])
      cpSync(join(root, path), join(copy, path), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    for (const [path, before, after] of changes) plant(join(copy, path), before, after);
    run(copy, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"]);
    const seeds = ["--seed", "1", "--count", String(SEEDS_MAX), "--bail", "--no-shrink", "--quiet", "--json"];
    const report = JSON.parse(run(copy, ["dist/src/cli/main.js", "simulate", "--faults", ...seeds]));
    const [failure] = report.failures;
    if (failure === undefined) missed++;
    const found =
      failure === undefined ? `NOT FOUND in ${report.seeds} seeds` : `found by seed ${failure.seed}`;
    console.log(`${name}\n  ${found}${failure === undefined ? "" : `: ${failure.message.slice(0, 160)}`}`);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
process.exit(missed === 0 ? 0 : 1);

function plant(path, before, after) {
  const text = readFileSync(path, "utf8");
  if (text.split(before).length !== 2) throw new Error(`${path} has not once: ${before}`);
  writeFileSync(
    path,
    text.replace(before, () => after),
  );
}

function run(cwd, args) {
  const done = spawnSync(process.execPath, args, { cwd, encoding: "utf8", maxBuffer: 1 << 28 });
  // A world that fails is what is looked for: status 1 with a report.
  if (done.status !== 0 && !(done.status === 1 && done.stdout.startsWith("{")))
    throw new Error(`${args.join(" ")} failed:\n${done.stdout}${done.stderr}`);
  return done.stdout;
}
