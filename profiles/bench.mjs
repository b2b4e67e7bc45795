// The table of what the scheduler costs, with its targets: `npm run bench -- [options]`. See profiles/README.md.
import { spawnSync } from "node:child_process";
import os from "node:os";
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { measureBoth, renderAgainst, UnknownCommit, verdict, withCommit } from "./bench/against.mjs";
import {
  baselinePath,
  machineFacts,
  readBaseline,
  saveBaseline,
  slowerThanBaseline,
} from "./bench/baselines.mjs";
import { CASES, DASK_CASES, selected } from "./bench/cases.mjs";
import { daskPython, measureBeside, renderDask } from "./bench/dask.mjs";
import { measureCase } from "./bench/measure.mjs";
import { ROOT } from "./bench/processes.mjs";
import { missedTargets, renderBench } from "./bench/report.mjs";
import { median, round } from "./bench/statistics.mjs";

const USAGE = `npm run bench -- [options]
  --only TEXT        only cases whose name holds TEXT; may be given several times
  --quick            a few small cases, fewer repeats
  --repeat N         repeats in a process (default 5 to 30, the fewer the longer they take; with --quick 2)
  --seed S           seed of the policy's lots (default 1)
  --save             writes the result to profiles/baselines, for machines of this kind
  --dask PYTHON|off  a Python whose dask is measured beside (default: .venvs/dask-2026.8.0, where it is there)
  --against COMMIT   builds COMMIT and runs it and this checkout in turn; status 1 where this one is slower
  --rounds N         with --against: processes for each of the two (at least and by default 6; up to three times as
                     many while noise leaves more than 2.5 % open)
  --trace LEVEL      with --against: off or phases (default phases)
  --fail-above P     per cent more that a case may cost (--against: 5; else only where it is given: the baseline)
  --json             the result as one JSON document on stdout
  --list             the names of the cases
`;

/** Fewer pairs of processes cannot tell a difference from chance. */
const ROUNDS_MIN = 6;

/** Wrong usage: status 2. */
class UsageError extends Error {}

function readOptions() {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      repeat: { type: "string" },
      seed: { type: "string", default: "1" },
      save: { type: "boolean", default: false },
      dask: { type: "string" },
      against: { type: "string" },
      rounds: { type: "string" },
      trace: { type: "string", default: "phases" },
      "fail-above": { type: "string" },
      json: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (!["off", "phases"].includes(values.trace)) throw new UsageError("--trace is off or phases");
  const whole = (name, absent, min = 1) => {
    const value = Number(values[name] ?? absent);
    if (!Number.isInteger(value) || value < min)
      throw new UsageError(`--${name} must be a whole number of at least ${min}`);
    return value;
  };
  const above = values["fail-above"] === undefined ? null : Number(values["fail-above"]);
  if (above !== null && !(above >= 0)) throw new UsageError("--fail-above must be a number of per cent");
  if (values.save && values.against !== undefined)
    throw new UsageError("--save and --against exclude each other");
  const free_repeat = values.repeat === undefined && !values.quick;
  return {
    ...values,
    // Else each case has its own.
    repeat: free_repeat ? undefined : whole("repeat", values.quick ? 2 : 5),
    seed: whole("seed"),
    rounds: whole("rounds", ROUNDS_MIN, ROUNDS_MIN),
    fail_above: above,
  };
}

/** The table: every case here, then Dask's scheduler beside; the document and the exit status. */
async function bench(options) {
  const cases = selected(CASES, options);
  const python = daskPython(options.dask);
  const beside = python === null ? [] : selected(DASK_CASES, options);
  if (cases.length + beside.length === 0) throw new UsageError("no case has such a name: see --list");
  const baseline = readBaseline();
  const document = heading(options);
  for (const [i, one] of cases.entries()) {
    say(`${i + 1}/${cases.length}  ${one.name}`);
    const measured = await measureCase(one, options);
    document.cases[one.name] = measured;
    // Whoever breaks off a long run has at least these.
    say(
      `    ${round(median(measured.cpu_us))} µs a task, ${round(median(measured.cpu_off_us))} with --trace off`,
    );
  }
  for (const one of beside) {
    say(one.name);
    document.dask[one.name] = await measureBeside(one, { python, repeat: Math.min(3, options.repeat ?? 3) });
  }
  const missed = missedTargets(document.cases);
  if (options.json) print(`${JSON.stringify({ ...document, missed })}\n`);
  else printTables(document, { missed, baseline, no_dask: python === null && options.dask !== "off" });
  if (options.save) say(`saved in ${saveBaseline(document)}`);
  if (options.fail_above === null || baseline === null) return 0;
  const slower = slowerThanBaseline(document.cases, baseline, options.fail_above);
  for (const { case: name, ratio } of slower) say(`${name} costs ${ratio.toFixed(2)} times its baseline`);
  return slower.length > 0 ? 1 : 0;
}

function printTables(document, { missed, baseline, no_dask }) {
  const { machine } = document;
  print(
    `${machine.cpu}, ${machine.cores} cores, ${machine.os}, Node ${machine.node}; commit ${document.commit}\n`,
  );
  print(`${document.repeat ?? "5 to 30"} repeats; load of the machine when it began: ${document.load}\n\n`);
  if (Object.keys(document.cases).length > 0) {
    print(renderBench(document.cases, baseline));
    print(`\n! above its target: ${missed.length} of the figures\n`);
    if (baseline === null)
      print(`no baseline for this kind of machine: --save writes ${relative(ROOT, baselinePath())}\n`);
    else print(`baseline: commit ${baseline.commit}, ${baseline.measured_at}\n`);
  }
  if (Object.keys(document.dask).length > 0) print(`\n${renderDask(document.dask)}`);
  else if (no_dask)
    print("\nDask's scheduler is not measured: no Python with dask (npm run venvs, or --dask)\n");
}

/** This checkout and another commit in turn. */
async function against(options) {
  const cases = selected(CASES, options).filter(
    ({ name }) => options.only.length > 0 || !name.includes("000000"),
  );
  if (cases.length === 0) throw new UsageError("no case has such a name: see --list");
  const fail_above = options.fail_above ?? 5;
  return withCommit(options.against, say, async (root, commit) => {
    const document = { ...heading(options), schema: "rsds.bench-against/1", against: commit, fail_above };
    for (const [i, one] of cases.entries()) {
      const both = await measureBoth(one, [root, ROOT], options);
      document.cases[one.name] = { ...both, verdict: verdict(both, fail_above) };
      say(`${i + 1}/${cases.length}  ${one.name}: ratio ${both.ratio.toFixed(3)}`);
    }
    if (options.json) print(`${JSON.stringify(document)}\n`);
    else print(renderAgainst(document.cases, commit, fail_above));
    return Object.values(document.cases).some((both) => both.verdict === "SLOWER") ? 1 : 0;
  });
}

function heading({ repeat = null, seed }) {
  const git = spawnSync("git", ["describe", "--always", "--dirty"], { cwd: ROOT, encoding: "utf8" });
  return {
    schema: "rsds.bench/1",
    measured_at: new Date().toISOString(),
    commit: git.status === 0 ? git.stdout.trim() : "unknown",
    machine: machineFacts(),
    load: os.loadavg()[0].toFixed(1),
    repeat,
    seed,
    cases: {},
    dask: {},
  };
}

function print(text) {
  process.stdout.write(text);
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

async function main() {
  const options = readOptions();
  if (options.help || options.list) {
    print(options.help ? USAGE : `${[...CASES, ...DASK_CASES].map(({ name }) => name).join("\n")}\n`);
    return 0;
  }
  return options.against === undefined ? bench(options) : against(options);
}

try {
  process.exitCode = await main();
} catch (error) {
  const usage = error instanceof UsageError || error instanceof UnknownCommit;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = usage || error.code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1;
}
