// CPU time of the static order, in µs a task: `npm run build && node profiles/bench-order.mjs`.
// Names are ready, as after parsing; "first" is the first run in this process, the rest is warm.
import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { orderGraph } from "../dist/src/ordering/index.js";

const RUNS = 15;

function fromRows(name, rows) {
  const dependency_offsets = new Uint32Array(rows.length + 1);
  for (const [id, { deps }] of rows.entries())
    dependency_offsets[id + 1] = dependency_offsets[id] + deps.length;
  const dependencies = Uint32Array.from(rows.flatMap(({ deps }) => deps));
  return { name, count: rows.length, dependency_offsets, dependencies, text: (id) => rows[id].key };
}

function merge(leaves) {
  const rows = Array.from({ length: leaves }, (_, i) => ({ key: `do_something-${token(i)}`, deps: [] }));
  rows.push({ key: `merge-${token(leaves)}`, deps: rows.map((_, i) => i) });
  return fromRows(`merge ${leaves}`, rows);
}

function tree(exponent) {
  const rows = Array.from({ length: 2 ** exponent }, (_, i) => ({ key: `add-${token(i)}`, deps: [] }));
  for (let i = 0; rows.length < 2 ** (exponent + 1) - 1; i += 2)
    rows.push({ key: `add-${token(rows.length)}`, deps: [i, i + 1] });
  return fromRows(`tree 2^${exponent}`, rows);
}

/** A name like Dask's own: 32 hexadecimal digits without an order. */
function token(i) {
  let text = "";
  for (let part = 0; part < 4; part++)
    text += (Math.imul(i + 1, 0x9e3779b1 + 2 * part) >>> 0).toString(16).padStart(8, "0");
  return text;
}

function recorded(file) {
  const lines = gunzipSync(readFileSync(new URL(`graphs/${file}`, import.meta.url)))
    .toString()
    .trimEnd()
    .split("\n");
  const rows = lines.slice(1).map((line) => JSON.parse(line));
  return fromRows(
    file.replace(".jsonl.gz", ""),
    rows.map(([id, prefix, deps]) => ({ key: `${prefix}-${id}`, deps })),
  );
}

function measure(graph) {
  const costs = [];
  for (let run = 0; run < RUNS; run++) {
    const before = process.cpuUsage();
    const again = Math.max(1, Math.ceil(5000 / graph.count));
    for (let i = 0; i < (run === 0 ? 1 : again); i++) orderGraph(graph);
    const { user, system } = process.cpuUsage(before);
    costs.push((user + system) / graph.count / (run === 0 ? 1 : again));
  }
  const first = costs.shift();
  costs.sort((a, b) => a - b);
  return { first, best: costs[0], median: costs[costs.length >> 1] };
}

const files = readdirSync(new URL("graphs/", import.meta.url)).filter((name) => name.endsWith(".jsonl.gz"));
const graphs = [merge(10_000), merge(100_000), tree(14), tree(17), ...files.map(recorded)];
process.stdout.write("graph                     tasks   first    best  median  (µs CPU a task)\n");
for (const graph of graphs) {
  const { first, best, median } = measure(graph);
  const numbers = [first, best, median].map((cost) => cost.toFixed(2).padStart(7)).join(" ");
  process.stdout.write(`${graph.name.padEnd(22)} ${String(graph.count).padStart(8)} ${numbers}\n`);
}
