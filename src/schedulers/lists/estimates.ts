import type { TaskId } from "../../base/ids.ts";
import type { ClusterView, PolicyWatch } from "../policy.ts";
import { type DurationSettings, TaskGroups, type TaskPrefix } from "../task-groups.ts";

/** What is expected of tasks that have not run. */
export interface TaskEstimates {
  duration_s(task: TaskId): number;
  /** Of its result, bytes. */
  nbytes(task: TaskId): number;
  /** Between workers, bytes a second. */
  readonly bandwidth: number;
}

export interface EstimateSettings extends DurationSettings {
  readonly bandwidth: number;
  readonly unknown_nbytes: number;
}

/** The part of a watch that {@link MeasuredEstimates} lives on. */
export type EstimateWatch = Pick<
  PolicyWatch,
  "taskForgotten" | "taskStopped" | "taskMeasured" | "taskRunning" | "bandwidthMeasured"
>;

/** Expects of a task what others of its name took and made of late; half of an average is the last one. */
export class MeasuredEstimates implements TaskEstimates {
  readonly #view: ClusterView;
  readonly #settings: EstimateSettings;
  readonly #groups: TaskGroups;
  readonly #nbytes = new WeakMap<TaskPrefix, number>();
  bandwidth: number;

  constructor(view: ClusterView, settings: EstimateSettings) {
    this.#view = view;
    this.#settings = settings;
    this.#groups = new TaskGroups(view, settings);
    this.bandwidth = settings.bandwidth;
  }

  duration_s(task: TaskId): number {
    return this.#groups.duration_s(this.#groups.of(task).prefix);
  }

  nbytes(task: TaskId): number {
    const known = this.#view.nbytes(task);
    if (known >= 0) return known;
    return this.#nbytes.get(this.#groups.of(task).prefix) ?? this.#settings.unknown_nbytes;
  }

  readonly watch: EstimateWatch = {
    taskForgotten: (task) => this.#groups.forgotten(task),
    taskStopped: (task) => {
      const nbytes = this.#view.nbytes(task);
      if (nbytes < 0) return;
      const { prefix } = this.#groups.of(task);
      const before = this.#nbytes.get(prefix);
      this.#nbytes.set(prefix, before === undefined ? nbytes : (before + nbytes) / 2);
    },
    taskMeasured: (task, duration_s) => this.#groups.measured(task, duration_s),
    taskRunning: (task, since_s) => this.#groups.running(task, since_s),
    bandwidthMeasured: (bytes_per_s) => {
      if (bytes_per_s > 0) this.bandwidth = (this.bandwidth + bytes_per_s) / 2;
    },
  };
}
