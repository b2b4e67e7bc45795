import type { VirtualOptions } from "../../../simulator/virtual/options.ts";
import { runVirtual } from "../../../simulator/virtual/virtual-run.ts";
import type { Workload } from "../../../simulator/workloads/index.ts";

/** One worker, and nothing that takes time but the tasks. */
export const OPTIONS: VirtualOptions = {
  workload: "test",
  workers: 1,
  cores: 1,
  scheduler: "workstealing",
  network: "instant",
  fetch: "gather",
  submit: "recorded",
  bandwidth: 1e9,
  latency_ns: 0,
  message_ns: 0,
  scheduling_delay_ns: 0,
  decision_delay_ns: 0,
  seed: 1,
  repeats: 1,
};

/** A run in virtual time; `options` are what differs from {@link OPTIONS}. */
export function run(
  graph: Workload,
  options: Partial<VirtualOptions> = {},
  seed = 1,
): ReturnType<typeof runVirtual> {
  const progress = { say: () => undefined, signal: new AbortController().signal };
  return runVirtual(graph, { ...OPTIONS, ...options }, seed, progress);
}

export interface Task {
  readonly needs?: readonly number[];
  readonly seconds?: number;
  readonly bytes?: number;
}

/** A graph of these tasks; what nobody needs is wanted. */
export function graphOf(tasks: readonly Task[]): Workload {
  const offsets = [0];
  for (const { needs = [] } of tasks) offsets.push(offsets.at(-1)! + needs.length);
  const ids = tasks.flatMap(({ needs = [] }) => needs);
  return {
    name: "test",
    tasks: tasks.length,
    dependencies: ids.length,
    key: (id) => `task-${id}`,
    dependency_offsets: Uint32Array.from(offsets),
    dependency_ids: Uint32Array.from(ids),
    wanted: tasks.map((_, id) => id).filter((id) => !ids.includes(id)),
    durations_us: Float64Array.from(tasks, ({ seconds = 0 }) => seconds * 1e6),
    nbytes: Float64Array.from(tasks, ({ bytes = 0 }) => bytes),
  };
}
