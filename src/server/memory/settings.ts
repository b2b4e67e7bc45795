import type { MemoryState } from "../diagnostics/memory.ts";

/** `distributed.scheduler.active-memory-manager`. */
interface MemoryManagerSettings {
  readonly start: boolean;
  readonly interval_ms: number;
  /** What workers are compared by. */
  readonly measure: keyof MemoryState;
  /** Drop copies that nobody needs. */
  readonly reduce_replicas: boolean;
}

/** `distributed.worker.memory.rebalance`: shares of a worker's memory limit. */
export interface RebalanceSettings {
  readonly measure: keyof MemoryState;
  /** A worker with less in use sends nothing away. */
  readonly sender_min: number;
  /** A worker with more in use gets nothing. */
  readonly recipient_max: number;
  /** Workers this near to the mean (half of it each way) are left alone. */
  readonly gap: number;
}

export interface ScalingSettings {
  /** `distributed.adaptive.target-duration`. */
  readonly target_duration_ms: number;
  /** `distributed.scheduler.unknown-task-duration`. */
  readonly unknown_task_ms: number;
}

export interface MemorySettings {
  readonly manager: MemoryManagerSettings;
  readonly rebalance: RebalanceSettings;
  readonly scaling: ScalingSettings;
  /** `distributed.worker.memory.recent-to-old-time`: unmanaged memory older than this is there to stay. */
  readonly old_ms: number;
  /**
   * `distributed.worker.memory.terminate`, which kills workers that use too much: then no task is sent whose inputs alone
   * are too much.
   */
  readonly terminate: boolean;
}

/** Dask's defaults. */
export const DEFAULT_MEMORY_SETTINGS: MemorySettings = {
  manager: { start: true, interval_ms: 2_000, measure: "optimistic", reduce_replicas: true },
  rebalance: { measure: "optimistic", sender_min: 0.3, recipient_max: 0.6, gap: 0.1 },
  scaling: { target_duration_ms: 5_000, unknown_task_ms: 500 },
  old_ms: 30_000,
  terminate: true,
};
