import { NONE, type TaskId } from "../../base/ids.ts";
import type { TaskError } from "../../core/books.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import type { WorkerBook } from "../../core/worker-book.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import { keyBytes } from "../../protocol/keys.ts";
import { toNumber, type WireMap } from "../../protocol/values.ts";

type TaskOp = (fields: WireMap, task: TaskId, worker: WorkerBook, scheduler: Scheduler) => void;

/** What workers say of single tasks, beside the hot messages (worker-reader.ts). */
const TASK_OPS: ReadonlyMap<string, TaskOp> = new Map<string, TaskOp>([
  [
    "task-erred",
    (fields, task, worker, scheduler) =>
      scheduler.taskErred(worker, task, runId(fields), taskError(fields, task, worker.address)),
  ],
  [
    "steal-response",
    (fields, task, worker, scheduler) => {
      const state = fields.get("state");
      scheduler.stealAnswered(worker, task, stealId(fields), typeof state === "string" ? state : null);
    },
  ],
  [
    "long-running",
    (fields, task, worker, scheduler) =>
      scheduler.taskLongRunning(worker, task, runId(fields), toNumber(fields.get("compute_duration")) ?? 0),
  ],
  ["reschedule", (_fields, task, worker, scheduler) => scheduler.taskRescheduled(worker, task)],
]);

/** Carries out a worker's message about one task. False: not such a message. Throws ProtocolError. */
export function onTaskOp(op: string, fields: WireMap, worker: WorkerBook, scheduler: Scheduler): boolean {
  const handler = TASK_OPS.get(op);
  if (handler === undefined) return false;
  const key = fields.get("key");
  if (key === undefined || key === null) throw new ProtocolError("BAD_STREAM_MESSAGE", `${op} without a key`);
  const bytes = keyBytes(key);
  const task = scheduler.books.keys.findKey(bytes);
  // A task that was forgotten since: nobody waits for what became of it.
  if (task !== NONE) handler(fields, task, worker, scheduler);
  return true;
}

/** 0 from a worker of 2022.12, which has none. */
function runId(fields: WireMap): number {
  return toNumber(fields.get("run_id")) ?? 0;
}

function stealId(fields: WireMap): number {
  return Number(/^steal-(\d+)$/.exec(String(fields.get("stimulus_id")))?.[1] ?? NONE);
}

function taskError(fields: WireMap, task: TaskId, worker: string): TaskError {
  return {
    blame: task,
    exception: fields.get("exception") ?? null,
    traceback: fields.get("traceback") ?? null,
    exception_text: String(fields.get("exception_text") ?? ""),
    traceback_text: String(fields.get("traceback_text") ?? ""),
    worker,
  };
}
