import { orderGraph } from "../../src/ordering/index.ts";
import { sinks, type Workload } from "./workload.ts";

export interface PlainGraph {
  /** A task's dependencies are at its offset … the next task's, less one. */
  readonly dependency_offsets: Uint32Array;
  readonly dependency_ids: Uint32Array;
  /** By task of this graph, as the workload has them by its own ids. */
  readonly durations_us?: Float64Array;
  readonly nbytes?: Float64Array;
}

/**
 * The same graph with ids in the order of their priorities, as recorded graphs have them. Its tasks may be in any order.
 * `key`: of a task, by its id and by the one that it had.
 */
export function inPriorityOrder(
  name: string,
  graph: PlainGraph,
  key: (id: number, old: number) => string,
): Workload {
  const { dependency_offsets: old_offsets, dependency_ids: old_ids, durations_us, nbytes } = graph;
  const tasks = old_offsets.length - 1;
  const digits = String(tasks).length;
  const priorities = orderGraph({
    count: tasks,
    dependency_offsets: old_offsets,
    dependencies: old_ids,
    text: (id) => String(id).padStart(digits, "0"),
  });
  const old_of = new Uint32Array(tasks);
  for (let id = 0; id < tasks; id++) old_of[priorities[id]!] = id;
  const dependency_offsets = new Uint32Array(tasks + 1);
  const dependency_ids = new Uint32Array(old_ids.length);
  let at = 0;
  for (let id = 0; id < tasks; id++) {
    const old = old_of[id]!;
    for (let e = old_offsets[old]!; e < old_offsets[old + 1]!; e++)
      dependency_ids[at++] = priorities[old_ids[e]!]!;
    dependency_offsets[id + 1] = at;
  }
  const moved = (column: Float64Array): Float64Array => Float64Array.from(old_of, (old) => column[old]!);
  return {
    name,
    tasks,
    dependencies: at,
    key: (id) => key(id, old_of[id]!),
    dependency_offsets,
    dependency_ids,
    wanted: sinks(tasks, dependency_ids),
    ...(durations_us === undefined ? {} : { durations_us: moved(durations_us) }),
    ...(nbytes === undefined ? {} : { nbytes: moved(nbytes) }),
  };
}
