import type { TaskId } from "../base/ids.ts";
import type { Books, TaskError } from "./books.ts";
import type { WorkerBook } from "./worker-book.ts";

/** The error of a task that was to run on `worker`, and whose inputs have so many bytes. */
export type OversizedError = (task: TaskId, worker: WorkerBook, inputs_bytes: number) => TaskError;

/** The sum of the sizes of all inputs, bytes; those of unknown size count as nothing. */
export function inputBytes(books: Books, task: TaskId): number {
  const { tasks, edges } = books;
  const first = edges.first[task]!;
  let bytes = 0;
  for (let edge = first, end = first + edges.count[task]!; edge < end; edge++)
    bytes += Math.max(0, tasks.nbytes[edges.dependency[edge]!]!);
  return bytes;
}

/** For a core whose clients need no exception: a replay's. */
export function plainOversizedError(task: TaskId, worker: WorkerBook, inputs_bytes: number): TaskError {
  return {
    blame: task,
    exception: null,
    traceback: null,
    exception_text: `MemoryError('${inputs_bytes} bytes of inputs')`,
    traceback_text: "",
    worker: worker.address,
  };
}
