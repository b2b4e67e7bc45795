import type { TaskId, WorkerId } from "../base/ids.ts";
import type { IndexedSet } from "../base/indexed-set.ts";

/**
 * What a policy may see: ids and numbers, read-only. Tasks given to {@link Policy.place} are ready, so all
 * their dependencies are in memory. Walks over records end with -1.
 */
export interface ClusterView {
  /** Workers that take tasks; those with fewer tasks than threads; those with more. */
  readonly running: IndexedSet;
  readonly underloaded: IndexedSet;
  readonly overloaded: IndexedSet;
  /** How many distinct hosts have workers. */
  readonly hosts: number;
  threads(worker: WorkerId): number;
  /** Tasks that take a slot or wait for one, steals in flight counted where they go. */
  load(worker: WorkerId): number;
  host(worker: WorkerId): number;

  dependencyCount(task: TaskId): number;
  dependency(task: TaskId, index: number): TaskId;
  /** Size of the result, bytes. */
  nbytes(task: TaskId): number;

  /** Records of the workers that hold the task's result. */
  firstHolder(task: TaskId): number;
  nextHolder(record: number): number;
  holder(record: number): WorkerId;
  /** Records of the workers that will fetch it, because a task that was assigned to them needs it. */
  firstNeed(task: TaskId): number;
  nextNeed(record: number): number;
  need(record: number): WorkerId;

  /** null: any running worker will do. Else those that the task's restrictions allow; may be empty. */
  candidates(task: TaskId): readonly WorkerId[] | null;

  /** True when the task may wait in the scheduler for a slot: it is not tied to workers, nor an actor. */
  queueable(task: TaskId): boolean;

  /** A worker's tasks from the newest assignment to the oldest. */
  newestProcessing(worker: WorkerId): TaskId;
  olderProcessing(task: TaskId): TaskId;
  /** True when the task may be moved to `thief`: not running for all we know, and allowed there. */
  stealable(task: TaskId, thief: WorkerId): boolean;
}

/** Where a policy's decisions go; each takes effect at once, and the view shows it. */
export interface PlacementSink {
  assign(task: TaskId, worker: WorkerId): void;
  /** The task waits in the scheduler (Dask's `queued`) until a slot opens. Only if {@link ClusterView.queueable}. */
  queue(task: TaskId): void;
  /** No running worker may take the task (Dask's `no-worker`). */
  refuse(task: TaskId): void;
}

export interface StealSink {
  /** Asks the task's worker to give it up for `thief`. The answer comes later, and may be no. */
  steal(task: TaskId, thief: WorkerId): void;
}

/**
 * A scheduling policy. It owns no clock and no chance but the seed that it was made with: equal calls give
 * equal decisions.
 */
export interface Policy {
  readonly name: string;
  /** Decides on each of `ready[0 … count)`, in order of priority, by exactly one call of the sink for each. */
  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void;
  /** May move tasks that were sent already. Returns when it wants to be asked again (ns), or Infinity. */
  balance(now_ns: number, view: ClusterView, sink: StealSink): number;
  /** How a steal ended. */
  stealAnswered(granted: boolean): void;
}
