// What is measured, and what it may cost.
import { join } from "node:path";
import { ROOT } from "./processes.mjs";

/** Repeats whose median is that of a process that has settled. */
const SETTLED = new Map([
  ["merge:10000", 20],
  ["merge:100000", 10],
  ["tree:15", 10],
  ["random:100000:1", 7],
  ["groupby-90-1s-8H", 30],
  ["bag-25000-50", 30],
  ["numpy-10000-50", 30],
]);

/**
 * A case: `name` is what `--only` looks in; `us_max` the scheduler's CPU a task with `--trace phases`; the other
 * limits are of the cold run (all threads; without V8's helpers), of the longest turn, of memory; `beside` compares
 * with another case: at most `more_us_max` µs, or `ratio_max` times as much. `quick` belongs to `--quick`. `repeat`:
 * unless the command line says otherwise, so that a process runs long enough for V8 to have settled.
 */
export const CASES = [
  { workload: "merge:10000", workers: 24, us_max: 2.5, cold_us_max: 20, cold_alone_us_max: 8, quick: true },
  { workload: "merge:10000", workers: 168, us_max: 3, cold_us_max: 20, cold_alone_us_max: 8, quick: true },
  { workload: "merge:100000", workers: 24, us_max: 2.5 },
  { workload: "merge:100000", workers: 168, us_max: 2.5 },
  { workload: "merge:100000", workers: 1512, beside: { name: "merge:100000 24", ratio_max: 1.25 } },
  { workload: "merge:1000000", workers: 168, us_max: 3, turn_ms_max: 50, memory_bytes_max: 300 },
  { workload: "tree:15", workers: 24, us_max: 3.5 },
  { workload: "tree:15", workers: 168, us_max: 4.5, quick: true },
  { workload: "tree:15", workers: 168, more: ["--flush", "each"], us_max: 9 },
  { workload: "random:100000:1", workers: 168, us_max: 5 },
  { graph: "groupby-90-1s-8H", workers: 168, us_max: 5, quick: true },
  { graph: "bag-25000-50", workers: 168, us_max: 5 },
  { graph: "numpy-10000-50", workers: 168, us_max: 5 },
  { workload: "merge:100000", workers: 168, more: ["--order"], beside: plus("merge:100000 168", 2) },
  { workload: "random:100000:1", workers: 168, more: ["--order"], beside: plus("random:100000:1 168", 2) },
  { workload: "tree:15", workers: 168, more: ["--order"], beside: plus("tree:15 168", 5) },
].map(({ graph, workload = join(ROOT, "profiles", "graphs", `${graph}.jsonl.gz`), more = [], ...rest }) => {
  const name = [graph ?? workload, rest.workers, ...more].join(" ");
  const args = ["--workload", workload, "--zero-workers", rest.workers, ...more];
  return { repeat: SETTLED.get(graph ?? workload) ?? 5, ...rest, name, args };
});

/** Limits of every case of at least so many tasks. */
export const TRUST = { tasks_min: 10_000, unattributed_max: 0.02, probe_share_max: 0.05 };

/** Work that a real client submits to Dask's scheduler and to ours, both with `rsds fleet`'s workers. */
export const DASK_CASES = [
  { workload: "merge", size: 10_000, workers: 24, quick: true },
  { workload: "merge", size: 10_000, workers: 168 },
  { workload: "tree", size: 12, workers: 168 },
].map((one) => ({ ...one, name: `dask ${one.workload}:${one.size} ${one.workers}` }));

function plus(name, more_us_max) {
  return { name, more_us_max };
}

/** The cases that are asked for, each text of `only` one that its name holds. */
export function selected(cases, { only, quick }) {
  return cases.filter(
    (one) =>
      (!quick || one.quick || only.length > 0) &&
      (only.length === 0 || only.some((t) => one.name.includes(t))),
  );
}

/** Throws for a name that is none of `known`. */
export function checkNames(names, known) {
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`no case ${unknown.join(", ")}: they are ${known.join(", ")}`);
}
