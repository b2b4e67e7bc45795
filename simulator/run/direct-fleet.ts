import { type ClientId, NONE, type TaskId, type WorkerId } from "../../src/base/ids.ts";
import { IntStack } from "../../src/base/typed-arrays.ts";
import type { Outbox } from "../../src/core/outbox.ts";
import type { Scheduler } from "../../src/core/scheduler.ts";
import { HOP, STAMP } from "../../src/trace/phases.ts";
import type { Tracer } from "../../src/trace/tracer.ts";

/** What a zero worker reports of a result, as over the wire. */
const RESULT_NBYTES = 20;
const DURATION_S = 1e-5;
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
  /** Wanted keys that the client is to be told of at the end of the turn, as over the wire. */
  readonly #news = new IntStack(256);
  /** Tasks whose reports took effect in this turn; only kept while tracing. */
  readonly #finished = new IntStack(4096);
  #scheduler!: Scheduler;
  /** Wanted keys that the client was told of, and those that it will never have. */
  reported = 0;
  failed = 0;

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

  /** Hands the reports to the scheduler: events of its present batch. `traced`: its tasks' hops are asked for. */
  report(traced: boolean): void {
    const scheduler = this.#scheduler;
    const { books } = scheduler;
    const { items, length } = this.#reports;
    for (let i = 0; i < length; i += 3) {
      const worker = books.worker(items[i]!);
      const task = items[i + 1]!;
      const what = items[i + 2]!;
      if (what === HELD) scheduler.keyAdded(worker, task);
      else if (what === FINISHED) {
        scheduler.taskFinished(worker, task, books.tasks.run_id[task]!, RESULT_NBYTES, NONE, DURATION_S);
        if (traced) this.#finished.push(task);
      } else scheduler.stealAnswered(worker, task, what, "memory");
    }
    this.#reports.length = 0;
  }

  /** The hop from the reports' reading to their effect, for the tasks of the last {@link report}. */
  recordFinished(tracer: Tracer, read_ns: number, finished_ns: number): void {
    const { stamp_ns, stamps } = this.#scheduler.books.tasks;
    const { items, length } = this.#finished;
    if (length > 0) tracer.hops(HOP.readFinished, finished_ns - read_ns, length);
    for (let i = 0; i < length; i++) {
      stamp_ns[items[i]!] = finished_ns;
      if (stamps === null) continue;
      stamps.stamp(items[i]!, STAMP.read, read_ns);
      stamps.stamp(items[i]!, STAMP.finished, finished_ns);
    }
    this.#finished.length = 0;
  }

  /** Tells the client what became of its keys in this turn. */
  tell(tracer: Tracer | null, now_ns: number): void {
    const { items, length } = this.#news;
    this.reported += length;
    this.#news.length = 0;
    if (tracer === null) return;
    const { stamp_ns, stamps } = this.#scheduler.books.tasks;
    for (let i = 0; i < length; i++) {
      tracer.hop(HOP.finishedClient, now_ns - stamp_ns[items[i]!]!);
      if (stamps !== null) stamps.stamp(items[i]!, STAMP.client, now_ns);
    }
  }

  #report(worker: WorkerId, task: TaskId, what: number): void {
    this.#reports.push(worker);
    this.#reports.push(task);
    this.#reports.push(what);
  }

  computeTask(worker: WorkerId, task: TaskId): void {
    this.#push(worker, task, FINISHED);
    // A steal sends it to another than it was placed on.
    const { stamps } = this.#scheduler.books.tasks;
    if (stamps !== null) stamps.worker(task, worker);
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
    this.#news.push(task);
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

  freeReplica(): void {
    // As above.
  }

  removeReplicas(): void {
    // As above: only replicas that are in the books are ever held.
  }

  taskRetried(): void {
    // Nobody retries in a zero run: a zero worker's tasks do not fail.
  }
}
