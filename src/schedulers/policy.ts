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
  /** Records of the tasks that depend on the task. */
  firstDependent(task: TaskId): number;
  nextDependent(record: number): number;
  dependent(record: number): TaskId;
  /** The task's place in the order of its graph: what is less runs first. */
  order(task: TaskId): number;
  /** Size of the result, bytes; below 0: not known. */
  nbytes(task: TaskId): number;
  /** Sum of the sizes of what the worker holds, bytes. */
  heldBytes(worker: WorkerId): number;
  /** Copies the task's key, canonical msgpack, to `target` if there is room; answers its length. */
  readKey(task: TaskId, target: Uint8Array): number;

  /** Records of the workers that hold the task's result. */
  firstHolder(task: TaskId): number;
  nextHolder(record: number): number;
  holder(record: number): WorkerId;
  /** A question for one pair: no walk. */
  holds(task: TaskId, worker: WorkerId): boolean;
  /** Records of the workers that will fetch it, because a task that was assigned to them needs it. */
  firstNeed(task: TaskId): number;
  nextNeed(record: number): number;
  need(record: number): WorkerId;

  /**
   * null: any running worker will do. Else those that the task's restrictions allow; may be empty. The list is the same
   * object for all tasks of the same restrictions, as long as the same workers run.
   */
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

export interface OrderSink {
  /** Another place in the order of its graph for a task that has not been ready yet. */
  setOrder(task: TaskId, order: number): void;
}

/**
 * What a policy that keeps books of its own is told of, as it happens: before {@link Policy.place} is asked about it.
 * It must not decide anything in these calls. Numbers of tasks and workers are given out again after
 * {@link taskForgotten} and {@link workerLeft}.
 */
export interface PolicyWatch {
  /** The task is to be computed (again): it waits for its dependencies, or for being placed. */
  taskWaiting(task: TaskId): void;
  /** It waits no more: it is being placed, withheld or refused, or nobody needs it. */
  taskWaited(task: TaskId): void;
  taskForgotten(task: TaskId): void;
  /** Its result is there: computed (then {@link taskStopped} was told just before), or brought from outside. */
  taskInMemory(task: TaskId): void;
  /** The worker has the task: placed there, or stolen. */
  taskStarted(task: TaskId, worker: WorkerId): void;
  /** The worker has it no more. `seceded`: {@link taskSeceded} was told before. */
  taskStopped(task: TaskId, worker: WorkerId, seceded: boolean): void;
  /** The task runs on, outside its worker's threads. */
  taskSeceded(task: TaskId, worker: WorkerId): void;
  /** What a run of the task took on its worker, transfers left out. */
  taskMeasured(task: TaskId, duration_s: number): void;
  /** The worker will fetch the task's result, or will not any more (it has it, or what needed it is gone). */
  needBegan(task: TaskId, worker: WorkerId): void;
  needEnded(task: TaskId, worker: WorkerId): void;
  workerJoined(worker: WorkerId, threads: number): void;
  workerLeft(worker: WorkerId): void;
  /** It takes tasks, or does not any more. */
  workerRuns(worker: WorkerId, running: boolean): void;
  /** A steal of the task is over; `granted`: its worker gave it up. */
  stealEnded(task: TaskId, granted: boolean): void;
  /** Workers' own measurements, with their heartbeats: a task that runs for so long already; bytes a second. */
  taskRunning(task: TaskId, since_s: number): void;
  bandwidthMeasured(bytes_per_s: number): void;
}

/** A watch that nothing is done with: for policies that want to be told of a part. */
export const UNWATCHED: PolicyWatch = {
  taskWaiting: () => undefined,
  taskWaited: () => undefined,
  taskForgotten: () => undefined,
  taskInMemory: () => undefined,
  taskStarted: () => undefined,
  taskStopped: () => undefined,
  taskSeceded: () => undefined,
  taskMeasured: () => undefined,
  needBegan: () => undefined,
  needEnded: () => undefined,
  workerJoined: () => undefined,
  workerLeft: () => undefined,
  workerRuns: () => undefined,
  stealEnded: () => undefined,
  taskRunning: () => undefined,
  bandwidthMeasured: () => undefined,
};

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

  /** Asked once, before anything else, by a scheduler that will tell the answer what happens. */
  readonly watch?: (view: ClusterView) => PolicyWatch;
  /** Asked before ready tasks are sorted: the tasks that came since the last time may get other places in the order. */
  readonly order?: (view: ClusterView, sink: OrderSink) => void;
  /**
   * When {@link balance} is asked. `uneven` (or absent): while some worker has more tasks than threads, and another has free
   * ones; `overloaded`: while some worker has more tasks than threads; `always`.
   */
  readonly balances?: "uneven" | "overloaded" | "always";
  /** How many withheld tasks may be placed; asked while there are some. Absent: as many as there are free threads. */
  readonly openSlots?: (view: ClusterView) => number;
  /** Instead of that: just these withheld tasks may be placed, as long as they are withheld still. */
  readonly picks?: () => readonly TaskId[];
}
