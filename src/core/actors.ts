import { NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import type { PlacementSink } from "../schedulers/policy.ts";
import type { Books, TaskError } from "./books.ts";
import type { WorkerBook } from "./worker-book.ts";

/**
 * Places the actors among ready tasks, each on the worker with the fewest (as Dask's `worker_objective`): they stay for
 * as long as they live, so that neither their inputs' place nor today's load says much. The other ids are moved to the front;
 * answers their number.
 */
export function placeActors(ids: Int32Array, count: number, books: Books, sink: PlacementSink): number {
  const actors: TaskId[] = [];
  let others = 0;
  for (let i = 0; i < count; i++) {
    const task = ids[i]!;
    if (books.isActor(task)) actors.push(task);
    else ids[others++] = task;
  }
  if (actors.length === 0) return others;
  ids.set(actors, others);
  const counts = actorsByWorker(books);
  for (const task of actors) {
    const worker = best(books.candidates(task) ?? running(books), counts, books);
    if (worker === NONE) {
      sink.refuse(task);
      continue;
    }
    counts[worker]!++;
    sink.assign(task, worker);
  }
  return others;
}

function actorsByWorker(books: Books): Int32Array {
  const counts = new Int32Array(books.workers.length);
  for (const task of books.actors) {
    const home = books.actorHome(task);
    if (home !== NONE) counts[home]!++;
  }
  return counts;
}

function best(workers: ArrayLike<WorkerId>, actors: Int32Array, books: Books): WorkerId {
  let chosen: WorkerId = NONE;
  for (let i = 0; i < workers.length; i++) {
    const worker = workers[i]!;
    const difference =
      chosen === NONE ? -1 : actors[worker]! - actors[chosen]! || books.load(worker) - books.load(chosen);
    if (difference < 0) chosen = worker;
  }
  return chosen;
}

function running(books: Books): Int32Array {
  return books.running.items.subarray(0, books.running.length);
}

/** Dask's error for an actor whose worker is gone. */
export function actorLost(task: TaskId, worker: WorkerBook, exception: unknown): TaskError {
  return {
    blame: task,
    exception,
    traceback: null,
    exception_text: "RuntimeError('Worker holding Actor was lost')",
    traceback_text: "",
    worker: worker.address,
  };
}
