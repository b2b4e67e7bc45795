// Policies compared in virtual time: ESTEE's graphs and the recorded ones, an instant and a max-min fair network, ten seeds.
//   npm run build && node profiles/policies-in-virtual-time.mjs [--only gridcat]… [--policy dask]… [--network maxmin]…
//     [--seeds 10] [--workers 16] [--cores 4] [--bandwidth 125] [--write docs/policy-comparison.md] [--json]
// A seed is that of the graph, where it is drawn, and of the policy's lots: all policies get the same graphs. Status 1: a makespan
// is below what it can be.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "./bench/statistics.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { parseWorkload } = await import("../dist/simulator/workloads/index.js");
const { ESTEE_GENERATORS } = await import("../dist/simulator/workloads/estee/index.js");
const { boundsOf, runVirtual } = await import("../dist/simulator/virtual/virtual-run.js");
const { POLICY_NAMES } = await import("../dist/src/schedulers/index.js");

/** Small trees have nothing to say beside the large one. */
const LEFT_OUT = ["tree-8", "tree-12"];
const RECORDED = readdirSync(`${root}/profiles/graphs`)
  .map((file) => file.replace(".jsonl.gz", ""))
  .filter((name) => !LEFT_OUT.includes(name));
const NETWORKS = ["instant", "maxmin"];
const GRAPHS = [
  ...Object.keys(ESTEE_GENERATORS).map((name) => ({
    family: "ESTEE",
    name,
    spec: (seed) => `estee:${name}:${seed}`,
  })),
  ...RECORDED.map((name) => ({
    family: "recorded",
    name,
    spec: () => `${root}/profiles/graphs/${name}.jsonl.gz`,
  })),
];

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: GRAPHS.map(({ name }) => name) },
    policy: { type: "string", multiple: true, default: [...POLICY_NAMES] },
    network: { type: "string", multiple: true, default: NETWORKS },
    seeds: { type: "string", default: "10" },
    workers: { type: "string", default: "16" },
    cores: { type: "string", default: "4" },
    bandwidth: { type: "string", default: "125" },
    write: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
refuseUnknown("graph", values.only, [...GRAPHS.map(({ name }) => name)]);
refuseUnknown("policy", values.policy, POLICY_NAMES);
refuseUnknown("network", values.network, NETWORKS);
const graphs = GRAPHS.filter(({ name }) => values.only.includes(name));
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);

function refuseUnknown(what, given, known) {
  const unknown = given.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`no ${what} ${unknown.join(", ")}: they are ${known.join(", ")}`);
}

/** Makespan over the bound of one run; a run of no length is as good as it can be. */
async function ratioOf(workload, seed, scheduler, network) {
  const options = {
    ...{ workload: workload.name, workers: Number(values.workers), cores: Number(values.cores), scheduler },
    ...{ network, fetch: "each", submit: "recorded", bandwidth: Number(values.bandwidth) * 1e6 },
    ...{ latency_ns: 1e5, message_ns: 1e5, scheduling_delay_ns: 0, decision_delay_ns: 0, seed, repeats: 1 },
  };
  const progress = { say: () => undefined, signal: new AbortController().signal };
  const { repeat } = await runVirtual(workload, options, seed, progress);
  const { critical_path_s, work_per_core_s } = boundsOf(workload, options);
  const bound_s = Math.max(critical_path_s, work_per_core_s);
  if (repeat.makespan_s < bound_s * (1 - 1e-9)) {
    process.stderr.write(
      `${workload.name}, ${scheduler}, ${network}, seed ${seed}: ${repeat.makespan_s} s is below the bound of ${bound_s} s\n`,
    );
    process.exitCode = 1;
  }
  return bound_s === 0 ? 1 : repeat.makespan_s / bound_s;
}

/** By network, graph and policy: the ratios of all seeds. */
async function measure() {
  const ratios = Object.fromEntries(values.network.map((network) => [network, {}]));
  for (const { name, spec } of graphs) {
    for (const network of values.network)
      ratios[network][name] = Object.fromEntries(values.policy.map((policy) => [policy, []]));
    for (const seed of seeds) {
      const workload = await parseWorkload(spec(seed));
      for (const network of values.network)
        for (const policy of values.policy)
          ratios[network][name][policy].push(await ratioOf(workload, seed, policy, network));
    }
    const cpu = process.cpuUsage();
    process.stderr.write(`  ${name}: ${((cpu.user + cpu.system) / 1e6).toFixed(0)} s of CPU so far\n`);
  }
  return ratios;
}

function show(value) {
  return value >= 9.995 ? value.toPrecision(3).replace(/\.?0+e.*$/, "") : value.toFixed(2);
}

/** The median, and how far the seeds lie apart where that shows. */
function cell(sample) {
  const [low, middle, high] = [Math.min(...sample), median(sample), Math.max(...sample)].map(show);
  return low === high ? middle : `${middle} (${low}–${high})`;
}

function geometricMean(sample) {
  return Math.exp(sample.reduce((sum, value) => sum + Math.log(value), 0) / sample.length);
}

function table(rows) {
  const [header, ...body] = rows.map((row) => `| ${row.join(" | ")} |`);
  return [header, `|${"---|".repeat(rows[0].length)}`, ...body].join("\n");
}

/** A row a graph; at the end of each family the geometric mean over its graphs, seed by seed. */
function networkTable(ratios) {
  const rows = [["graph", ...values.policy.map((policy) => `\`${policy}\``)]];
  for (const { name } of graphs)
    rows.push([name, ...values.policy.map((policy) => cell(ratios[name][policy]))]);
  return table(rows);
}

function summaryTable(all) {
  const rows = [["network", "graphs", ...values.policy.map((policy) => `\`${policy}\``)]];
  for (const network of values.network)
    for (const family of new Set(graphs.map((graph) => graph.family))) {
      const of = graphs.filter((graph) => graph.family === family);
      const cells = values.policy.map((policy) =>
        cell(seeds.map((_, i) => geometricMean(of.map(({ name }) => all[network][name][policy][i])))),
      );
      rows.push([network, `${of.length} ${family}`, ...cells]);
    }
  return table(rows);
}

const ratios = await measure();
if (values.json) process.stdout.write(`${JSON.stringify({ options: values, ratios })}\n`);
else {
  const text = [
    "Geometric means over the graphs:",
    summaryTable(ratios),
    ...values.network.flatMap((network) => [`### \`--network ${network}\``, networkTable(ratios[network])]),
  ].join("\n\n");
  if (values.write === undefined) process.stdout.write(`${text}\n`);
  else writeBetweenMarks(values.write, text);
}

/** Into a page: what stands between its marks is replaced. */
function writeBetweenMarks(path, text) {
  const page = readFileSync(path, "utf8");
  const [before, after] = [page.split("<!-- table: begin -->")[0], page.split("<!-- table: end -->")[1]];
  if (after === undefined)
    throw new Error(`${path} has no marks <!-- table: begin --> and <!-- table: end -->`);
  writeFileSync(path, `${before}<!-- table: begin -->\n${text}\n<!-- table: end -->${after}`);
}
