import { type ClientId, NONE, type TaskId, type WorkerId } from "../../src/base/ids.ts";
import { IntStack } from "../../src/base/typed-arrays.ts";
import type { Outbox } from "../../src/core/outbox.ts";
import type { Scheduler } from "../../src/core/scheduler.ts";

/** What a zero worker reports of a result, as over the wire. */
const RESULT_NBYTES = 20;

/**
 * Zero workers without bytes (`--transport direct`): the core's effects are its input, and its reports are the
 * core's events. It holds what the scheduler's books say that it holds: there is nobody else who could drop it.
 */
export class DirectFleet implements Outbox {
  /** Assignments and steal requests in the order in which they came: worker, task, steal_id (−1: an assignment). */
  readonly #inbox = new IntStack(4096);
  #scheduler!: Scheduler;
  /** Wanted keys that the client was told of. */
  reported = 0;
  erred = 0;
  steals_answered = 0;

  attach(scheduler: Scheduler): void {
    this.#scheduler = scheduler;
  }

  /** Something waits to be worked off. */
  get busy(): boolean {
    return this.#inbox.length > 0;
  }

  /** Works off all that has come so far; every report is an event of the scheduler's present batch. */
  work(): void {
    const { items, length } = this.#inbox;
    const scheduler = this.#scheduler;
    const { books } = scheduler;
    const { tasks, edges, replicas } = books;
    // Reports only queue events; what they lead to is placed at the end of the batch, so the inbox is stable.
    this.#inbox.length = 0;
    const batch = items.slice(0, length);
    for (let i = 0; i < length; i += 3) {
      const worker = books.worker(batch[i]!);
      const task = batch[i + 1]!;
      const steal_id = batch[i + 2]!;
      if (steal_id >= 0) {
        this.steals_answered++;
        scheduler.stealAnswered(worker, task, steal_id, "memory");
        continue;
      }
      for (let edge = edges.first[task]!, end = edge + edges.count[task]!; edge < end; edge++) {
        const dependency = edges.dependency[edge]!;
        if (replicas.find(dependency, worker.id) === NONE) scheduler.keyAdded(worker, dependency);
      }
      scheduler.taskFinished(worker, task, tasks.run_id[task]!, RESULT_NBYTES, NONE);
    }
  }

  computeTask(worker: WorkerId, task: TaskId): void {
    this.#push(worker, task, -1);
  }

  stealRequest(worker: WorkerId, task: TaskId, steal_id: number): void {
    this.#push(worker, task, steal_id);
  }

  #push(worker: WorkerId, task: TaskId, steal_id: number): void {
    this.#inbox.push(worker);
    this.#inbox.push(task);
    this.#inbox.push(steal_id);
  }

  keyInMemory(_client: ClientId, _task: TaskId): void {
    this.reported++;
  }

  taskErred(_client: ClientId, _task: TaskId): void {
    this.erred++;
  }

  freeKeys(): void {
    // The books are what these workers hold: the scheduler has dropped the replica already.
  }

  removeReplicas(): void {
    // As above.
  }

  lostData(): void {
    this.erred++;
  }

  cancelledKeys(): void {
    this.erred++;
  }

  taskRetried(): void {
    // Nobody retries in a zero run.
  }
}
