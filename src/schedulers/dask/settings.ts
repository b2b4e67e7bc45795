import type { DurationSettings } from "../task-groups.ts";

/** What Dask's configuration says of placing and stealing (`distributed.scheduler.…`). */
export interface DaskPolicySettings extends DurationSettings {
  /** `worker-saturation`: root tasks that a worker gets, a thread; Infinity: none is withheld. */
  readonly worker_saturation: number;
  /** `rootish-taskgroup` and `rootish-taskgroup-dependencies`: root tasks' groups depend on fewer groups, and tasks, than that. */
  readonly rootish_groups: number;
  readonly rootish_tasks: number;
  /** `work-stealing`. */
  readonly stealing: boolean;
  /** `work-stealing-interval`. */
  readonly stealing_interval_ns: number;
  /** `bandwidth`, before workers have measured it: bytes a second. */
  readonly bandwidth: number;
  /** `default-data-size`: of results whose size is not known. */
  readonly unknown_nbytes: number;
}

/** Dask's defaults (2026.8). */
export const DEFAULT_DASK_SETTINGS: DaskPolicySettings = {
  worker_saturation: 1.1,
  rootish_groups: 5,
  rootish_tasks: 5,
  stealing: true,
  stealing_interval_ns: 1e9,
  bandwidth: 100e6,
  unknown_nbytes: 1024,
  default_durations_s: new Map([
    ["rechunk-split", 1e-6],
    ["split-shuffle", 1e-6],
    ["split-taskshuffle", 1e-6],
    ["split-stage", 1e-6],
  ]),
  unknown_duration_s: 0.5,
};
