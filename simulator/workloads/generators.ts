import { Prng } from "../../src/base/prng.ts";
import { inPriorityOrder } from "./priority-order.ts";
import type { Workload } from "./workload.ts";

/** Sizes and durations are those that the RSDS paper measured on its graphs. */
const MERGE = { duration_us: 6, nbytes: 28 };
const MERGE_SLOW_NBYTES = 24;
const TREE = { duration_us: 7, nbytes: 28 };

/** `leaves` tasks and one that needs them all: the paper's merge-10K has 10,001 tasks. */
export function merge(name: string, leaves: number): Workload {
  return mergeOf(name, leaves, MERGE);
}

/** As {@link merge}, with leaves that take `seconds`. */
export function mergeSlow(name: string, leaves: number, seconds: number): Workload {
  return mergeOf(name, leaves, { duration_us: seconds * 1e6, nbytes: MERGE_SLOW_NBYTES });
}

function mergeOf(name: string, leaves: number, leaf: { duration_us: number; nbytes: number }): Workload {
  const tasks = leaves + 1;
  const dependency_offsets = new Uint32Array(tasks + 1);
  dependency_offsets[tasks] = leaves;
  const durations_us = new Float64Array(tasks).fill(leaf.duration_us);
  durations_us[leaves] = MERGE.duration_us;
  return {
    name,
    tasks,
    dependencies: leaves,
    key: (id) => (id < leaves ? `do_something-${id}` : `merge-${id}`),
    dependency_offsets,
    dependency_ids: Uint32Array.from({ length: leaves }, (_, id) => id),
    wanted: [leaves],
    durations_us,
    nbytes: new Float64Array(tasks).fill(leaf.nbytes),
  };
}

/** Pairwise sums of 2^exponent numbers until one is left: 2^exponent − 1 tasks, half of them without dependencies. */
export function tree(name: string, exponent: number): Workload {
  const tasks = 2 ** exponent - 1;
  const roots = 2 ** (exponent - 1);
  const deps = new Uint32Array(tasks - 1);
  const offsets = new Uint32Array(tasks + 1);
  // Level by level: task roots + i adds the tasks 2i and 2i + 1.
  for (let e = 0; e < tasks - 1; e++) deps[e] = e;
  for (let id = roots; id < tasks; id++) offsets[id + 1] = 2 * (id - roots + 1);
  return {
    ...inPriorityOrder(name, { dependency_offsets: offsets, dependency_ids: deps }, (id) => `add-${id}`),
    durations_us: new Float64Array(tasks).fill(TREE.duration_us),
    nbytes: new Float64Array(tasks).fill(TREE.nbytes),
  };
}

/**
 * Layers of random width; each task takes one to four tasks of the layer before, now and then one of any earlier
 * layer, and one in sixteen starts anew. Durations are exponential around a millisecond, sizes log-uniform from
 * 28 bytes to a megabyte. A function of the seed.
 */
export function random(name: string, tasks: number, seed: number): Workload {
  const prng = new Prng(seed);
  const width_max = Math.max(1, Math.ceil(2 * Math.sqrt(tasks)));
  const offsets = new Uint32Array(tasks + 1);
  const deps: number[] = [];
  let before = 0;
  let start = 0;
  for (let end = 0; end < tasks; ) {
    end = Math.min(tasks, start + 1 + prng.below(width_max));
    for (let id = start; id < end; id++) {
      if (start > 0 && prng.below(16) > 0) drawDependencies(prng, before, start, deps);
      offsets[id + 1] = deps.length;
    }
    before = start;
    start = end;
  }
  const durations_us = new Float64Array(tasks);
  const nbytes = new Float64Array(tasks);
  for (let id = 0; id < tasks; id++) {
    durations_us[id] = Math.max(1, Math.ceil(-1000 * Math.log(1 - prng.unit())));
    nbytes[id] = Math.floor(28 * (2 ** 20 / 28) ** prng.unit());
  }
  const graph = { dependency_offsets: offsets, dependency_ids: Uint32Array.from(deps) };
  return { ...inPriorityOrder(name, graph, (id) => `random-${id}`), durations_us, nbytes };
}

/** Dependencies of one task on the layer `before` … `start` − 1; no id twice. */
function drawDependencies(prng: Prng, before: number, start: number, deps: number[]): void {
  const first = deps.length;
  const count = 1 + prng.below(4);
  for (let i = 0; i < count; i++) {
    const dep = prng.below(16) === 0 ? prng.below(start) : before + prng.below(start - before);
    if (deps.indexOf(dep, first) < 0) deps.push(dep);
  }
}
