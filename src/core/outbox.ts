import type { ClientId, TaskId, WorkerId } from "../base/ids.ts";

/** Why keys were cancelled, as clients are told. */
export type CancelReason = "cancelled by client" | "lost dependencies" | "unknown";

/**
 * What the core wants said, in order for each peer. The server queues ids and encodes them late; tests keep
 * text. Nothing is allocated to say "send". A task named here may be forgotten before its message is encoded:
 * who queues it pins it ({@link import("./task-table.ts").TaskTable.pin}).
 */
export interface Outbox {
  /** Exactly once for each (task, run_id). */
  computeTask(worker: WorkerId, task: TaskId): void;
  /** The worker shall drop what it has or does of the task. */
  freeKeys(worker: WorkerId, task: TaskId): void;
  /** The worker shall drop the replica of a result that was released: nothing is lost if it does so a little later. */
  freeReplica(worker: WorkerId, task: TaskId): void;
  /** The worker shall drop its replica, but only if it does not need it. */
  removeReplicas(worker: WorkerId, task: TaskId): void;
  stealRequest(worker: WorkerId, task: TaskId, steal_id: number): void;
  keyInMemory(client: ClientId, task: TaskId): void;
  taskErred(client: ClientId, task: TaskId): void;
  /** A key that cannot be computed again is gone. */
  lostData(client: ClientId, task: TaskId): void;
  cancelledKeys(client: ClientId, task: TaskId, reason: CancelReason): void;
  taskRetried(client: ClientId, task: TaskId): void;
}
