// Whether virtual time puts policies in the order that real runs put them in: real dask clients and two real single-threaded workers
// on `rsds scheduler` with each policy, in turn; and the run that was recorded under the first policy, replayed under each of them.
//   npm run build && npm run venvs && node profiles/policy-order.mjs [--only CASE]… [--policy workstealing --policy random]…
//     [--repeat 5] [--json]
// Two policies differ where no run of the one took as long as any of the other: status 1 where virtual time has those the other way round.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { machineFacts, machineLine } from "./bench/baselines.mjs";
import { checkNames } from "./bench/cases.mjs";
import { neededPython } from "./bench/dask.mjs";
import { rsdsJson } from "./bench/processes.mjs";
import { RecordedCluster } from "./bench/recorded-cluster.mjs";
import { renderTable } from "./bench/report.mjs";
import { median } from "./bench/statistics.mjs";

/** Their tasks sleep: what else a machine does changes such runs least. */
const CASES = ["even", "uneven", "chains"];
const WORKERS = 2;
/** Of each replay: policies draw lots. */
const SEEDS = 5;

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: CASES },
    policy: {
      type: "string",
      multiple: true,
      default: ["workstealing", "dask", "random", "single"],
    },
    repeat: { type: "string", default: "5" },
    python: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const python = neededPython(values.python);
checkNames(values.only, CASES);
const policies = values.policy;

/** By case and policy: makespans of real runs, and of the replays of the first policy's runs. */
async function measure(folder) {
  const clusters = new Map();
  const found = {};
  try {
    for (const policy of policies) {
      const cluster = new RecordedCluster();
      clusters.set(policy, cluster);
      await cluster.start({ policy, python, workers: WORKERS });
      cluster.signal("SIGSTOP");
    }
    for (const name of values.only) {
      found[name] = Object.fromEntries(policies.map((policy) => [policy, { real_s: [], virtual_s: [] }]));
      for (let i = 0; i <= Number(values.repeat); i++)
        for (const [place] of policies.entries()) {
          // Nobody is always the first.
          const policy = policies[(place + i) % policies.length];
          const cluster = clusters.get(policy);
          const file = join(folder, `${name}-${policy}-${i}.jsonl.gz`);
          cluster.signal("SIGCONT");
          const { makespan_s } = (await cluster.record(name, file)).header;
          cluster.signal("SIGSTOP");
          // The first run imports what the graph needs.
          if (i > 0) found[name][policy].real_s.push(makespan_s);
          process.stderr.write(`  ${name}, ${policy}: ${makespan_s.toFixed(3)} s\n`);
        }
      for (let i = 1; i <= Number(values.repeat); i++)
        for (const policy of policies) {
          const file = join(folder, `${name}-${policies[0]}-${i}.jsonl.gz`);
          const options = ["--scheduler", policy, "--repeat", SEEDS];
          const { repeats } = await rsdsJson(["simulate", "--workload", file, ...options]);
          found[name][policy].virtual_s.push(median(repeats.map(({ makespan_s }) => makespan_s)));
        }
    }
    return found;
  } finally {
    for (const cluster of clusters.values()) await cluster.end();
  }
}

/** The pairs of policies whose real runs lie apart, and whether virtual time has them in the same order. */
function pairsOf(of) {
  const pairs = [];
  for (const [i, one] of policies.entries())
    for (const other of policies.slice(i + 1)) {
      const [a, b] = [of[one].real_s, of[other].real_s];
      const sign = Math.max(...a) < Math.min(...b) ? -1 : Math.max(...b) < Math.min(...a) ? 1 : 0;
      if (sign === 0) continue;
      const difference = median(of[one].virtual_s) - median(of[other].virtual_s);
      const [quicker, slower] = sign < 0 ? [one, other] : [other, one];
      pairs.push({ quicker, slower, agrees: Math.sign(difference) === sign });
    }
  return pairs;
}

const folder = mkdtempSync(join(tmpdir(), "rsds-order-"));
let found;
try {
  found = await measure(folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const cases = Object.entries(found).map(([name, of]) => ({ name, of, pairs: pairsOf(of) }));
if (values.json) process.stdout.write(`${JSON.stringify({ machine: machineFacts(), cases })}\n`);
else {
  process.stdout.write(`${machineLine()}; ${values.repeat} runs of each, medians\n`);
  const range = (sample) =>
    `${median(sample).toFixed(3)} s (${Math.min(...sample).toFixed(3)} – ${Math.max(...sample).toFixed(3)})`;
  const rows = cases.flatMap(({ name, of }) =>
    policies
      .toSorted((a, b) => median(of[a].real_s) - median(of[b].real_s))
      .map((policy) => [name, policy, range(of[policy].real_s), range(of[policy].virtual_s)]),
  );
  process.stdout.write(`${renderTable([["case", "policy", "real", "virtual"], ...rows])}\n`);
  for (const { name, pairs } of cases) {
    const wrong = pairs.filter(({ agrees }) => !agrees);
    const text = wrong
      .map(({ quicker, slower }) => `${quicker} before ${slower} in real runs alone`)
      .join("; ");
    process.stdout.write(
      `${name}: ${pairs.length} pairs differ, ${wrong.length === 0 ? "virtual time agrees" : `virtual time disagrees: ${text}`}\n`,
    );
  }
}
if (cases.some(({ pairs }) => pairs.some(({ agrees }) => !agrees))) process.exitCode = 1;
