import { type ClientId, NONE, type TaskId, type WorkerId } from "../../src/base/ids.ts";
import { IntStack } from "../../src/base/typed-arrays.ts";
import type { Outbox } from "../../src/core/outbox.ts";
import type { Scheduler } from "../../src/core/scheduler.ts";

/** What a zero worker reports of a result, as over the wire. */
const RESULT_NBYTES = 20;
/** What an entry of the reports says; a value from 0 on: the answer to that steal request. */
const FINISHED = -1;
const HELD = -2;

/**
 * Zero workers without bytes (`--transport direct`): the core's effects are their input, and their reports are the
 * core's events. They hold what the scheduler's books say that they hold: there is nobody else who could drop it.
 */
export class DirectFleet implements Outbox {
  /** In the order in which they came: worker, task, steal_id (FINISHED: an assignment). */
  readonly #inbox = new IntStack(4096);
  /** worker, task, what. */
  readonly #reports = new IntStack(4096);
  #scheduler!: Scheduler;
  /** Wanted keys that the client was told of, and those that it will never have. */
  reported = 0;
  failed = 0;
  /** Told of each wanted key; for the hop to the client. */
  onReported: (task: TaskId) => void = () => undefined;

  attach(scheduler: Scheduler): void {
    this.#scheduler = scheduler;
  }

  /** Something waits to be worked off. */
  get busy(): boolean {
    return this.#inbox.length > 0;
  }

  /** The workers' part: works off what has come, and makes the reports. */
  work(): void {
    const { items, length } = this.#inbox;
    const { edges, replicas } = this.#scheduler.books;
    for (let i = 0; i < length; i += 3) {
      const worker = items[i]!;
      const task = items[i + 1]!;
      const steal_id = items[i + 2]!;
      if (steal_id === FINISHED)
        for (let edge = edges.first[task]!, end = edge + edges.count[task]!; edge < end; edge++) {
          const dependency = edges.dependency[edge]!;
          if (replicas.find(dependency, worker) === NONE) this.#report(worker, dependency, HELD);
        }
      this.#report(worker, task, steal_id);
    }
    this.#inbox.length = 0;
  }

  /** Hands the reports to the scheduler: events of its present batch. Answers how many there were. */
  report(): number {
    const scheduler = this.#scheduler;
    const { books } = scheduler;
    const { items, length } = this.#reports;
    for (let i = 0; i < length; i += 3) {
      const worker = books.worker(items[i]!);
      const task = items[i + 1]!;
      const what = items[i + 2]!;
      if (what === HELD) scheduler.keyAdded(worker, task);
      else if (what === FINISHED)
        scheduler.taskFinished(worker, task, books.tasks.run_id[task]!, RESULT_NBYTES, NONE);
      else scheduler.stealAnswered(worker, task, what, "memory");
    }
    this.#reports.length = 0;
    return length / 3;
  }

  #report(worker: WorkerId, task: TaskId, what: number): void {
    this.#reports.push(worker);
    this.#reports.push(task);
    this.#reports.push(what);
  }

  computeTask(worker: WorkerId, task: TaskId): void {
    this.#push(worker, task, FINISHED);
  }

  stealRequest(worker: WorkerId, task: TaskId, steal_id: number): void {
    this.#push(worker, task, steal_id);
  }

  #push(worker: WorkerId, task: TaskId, what: number): void {
    this.#inbox.push(worker);
    this.#inbox.push(task);
    this.#inbox.push(what);
  }

  keyInMemory(_client: ClientId, task: TaskId): void {
    this.reported++;
    this.onReported(task);
  }

  taskErred(_client: ClientId, _task: TaskId): void {
    this.failed++;
  }

  lostData(_client: ClientId, _task: TaskId): void {
    this.failed++;
  }

  cancelledKeys(_client: ClientId, _task: TaskId): void {
    this.failed++;
  }

  freeKeys(): void {
    // The books are what these workers hold: the scheduler has dropped the replica already.
  }

  removeReplicas(): void {
    // As above: only replicas that are in the books are ever held.
  }

  taskRetried(): void {
    // Nobody retries in a zero run: a zero worker's tasks do not fail.
  }
}
