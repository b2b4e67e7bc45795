import { InvariantError } from "../../src/base/assert.ts";
import type { Workload } from "../workloads/index.ts";
import { type Timeline, VirtualCluster } from "./cluster.ts";
import type { VirtualOptions } from "./options.ts";

/** One simulated run of a graph. */
export interface VirtualRepeat {
  readonly seed: number;
  /** From the submission until the client knows of the last wanted key, seconds of virtual time. */
  readonly makespan_s: number;
  /** Time of cores that ran tasks, of all there was. */
  readonly utilisation: number;
  readonly bytes_moved: number;
  readonly transfers: number;
  readonly tasks_sent: number;
  readonly tasks_finished: number;
  readonly steals_asked: number;
  readonly steals_done: number;
  /** How often the scheduler was asked, and how many events there were in all. */
  readonly invocations: number;
  readonly events: number;
  /** Of this process. */
  readonly cpu_s: number;
}

/** No makespan can be below these, whatever the policy. */
export interface Bounds {
  /** Durations along the longest path, s. */
  readonly critical_path_s: number;
  /** All durations over all cores, s. */
  readonly work_per_core_s: number;
}

export interface VirtualProgress {
  say(text: string): void;
  readonly signal: AbortSignal;
}

const SLICE_EVENTS = 100_000;

/** Runs the workload once in virtual time. Rejects where the signal says so. */
export async function runVirtual(
  workload: Workload,
  options: VirtualOptions,
  seed: number,
  { say, signal }: VirtualProgress,
): Promise<{ readonly repeat: VirtualRepeat; readonly timeline: Timeline }> {
  const begun = process.cpuUsage();
  const cluster = new VirtualCluster(workload, options, seed);
  const { counts, scheduler } = cluster;
  while (cluster.missing > 0) {
    for (let i = 0; i < SLICE_EVENTS && cluster.missing > 0; i++)
      if (!cluster.step())
        throw new InvariantError(`nothing is left to happen, and ${cluster.missing} keys are missing`);
    const share = scheduler.counts.tasks_finished / workload.tasks;
    say(
      `seed ${seed}: ${(100 * share).toFixed(1)} % of ${workload.tasks} tasks, ${(cluster.now_ns / 1e9).toFixed(3)} s of virtual time`,
    );
    // Ctrl-C is heard between two slices.
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
  const used = process.cpuUsage(begun);
  const makespan_s = cluster.now_ns / 1e9;
  const cores = options.workers * options.cores;
  const { tasks_sent, tasks_finished, steals_asked, steals_done } = scheduler.counts;
  const repeat: VirtualRepeat = {
    seed,
    makespan_s,
    utilisation: makespan_s === 0 ? 0 : counts.busy_ns / 1e9 / (makespan_s * cores),
    bytes_moved: counts.bytes_moved,
    transfers: counts.transfers,
    ...{ tasks_sent, tasks_finished, steals_asked, steals_done },
    invocations: counts.invocations,
    events: counts.events,
    cpu_s: (used.user + used.system) / 1e6,
  };
  return { repeat, timeline: cluster.timeline };
}

export function boundsOf(workload: Workload, options: VirtualOptions): Bounds {
  const { dependency_offsets, dependency_ids, durations_us, tasks } = workload;
  const ends_us = new Float64Array(tasks);
  let longest_us = 0;
  let work_us = 0;
  for (let id = 0; id < tasks; id++) {
    let start_us = 0;
    for (let e = dependency_offsets[id]!; e < dependency_offsets[id + 1]!; e++)
      start_us = Math.max(start_us, ends_us[dependency_ids[e]!]!);
    const duration_us = durations_us?.[id] ?? 0;
    ends_us[id] = start_us + duration_us;
    longest_us = Math.max(longest_us, ends_us[id]!);
    work_us += duration_us;
  }
  return {
    critical_path_s: longest_us / 1e6,
    work_per_core_s: work_us / 1e6 / (options.workers * options.cores),
  };
}
