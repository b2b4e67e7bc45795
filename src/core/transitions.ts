import { type ClientId, NONE, type TaskId } from "../base/ids.ts";
import { IntStack } from "../base/typed-arrays.ts";
import type { Books, TaskError } from "./books.ts";
import type { CancelReason, Outbox } from "./outbox.ts";
import { PAYLOAD_PENDING } from "./payloads.ts";
import { ReadyList } from "./ready.ts";
import { ERRED, FORGOTTEN, MEMORY, NO_WORKER, PROCESSING, QUEUED, RELEASED, WAITING } from "./states.ts";
import { TaskQueue } from "./task-queue.ts";
import { FLAG_READY, FLAG_RESTRICTED, FLAG_RUNNABLE, FLAG_UNNEEDED } from "./task-table.ts";
import type { WorkerBook } from "./worker-book.ts";

/**
 * The moves between states, each with all that follows from it for the task's neighbours, workers and clients.
 * Chains (cancelling, forgetting, erring, needing) run over explicit stacks: graphs are deep. What may have become
 * unneeded is collected and settled by {@link settle} at the end of each event.
 */
export class Transitions {
  readonly books: Books;
  readonly outbox: Outbox;
  /** Waiting to be placed at the end of the batch. */
  readonly ready = new ReadyList();
  /** Held back by the policy until a slot opens. */
  readonly queue: TaskQueue;
  /** Who must hear at once when one of a few tasks is released, erred or forgotten. Must not move tasks itself. */
  readonly watches = new Map<TaskId, () => void>();
  readonly #unneeded = new IntStack();
  /** How many tasks {@link settleSome} may still look at in this batch. */
  #settle_left = Number.POSITIVE_INFINITY;
  readonly #stack = new IntStack();

  constructor(books: Books, outbox: Outbox) {
    this.books = books;
    this.outbox = outbox;
    this.queue = new TaskQueue(books);
  }

  // ---- towards running

  /**
   * Makes a released task, and all that it depends on, waiting (and ready where nothing is waited for).
   * A dependency that is erred errs it; one that cannot be computed any more loses it.
   */
  activate(root: TaskId): void {
    const { tasks } = this.books;
    const stack = this.#stack;
    const bottom = stack.length;
    const failed: TaskId[] = [];
    stack.push(root);
    while (stack.length > bottom) {
      const task = stack.pop();
      if (tasks.state[task] !== RELEASED) continue;
      if ((tasks.flags[task]! & FLAG_RUNNABLE) === 0) {
        failed.push(task);
        continue;
      }
      this.#startWaiting(task, failed);
    }
    for (const task of failed) {
      if (tasks.state[task] === ERRED) this.#errDependents(task, this.books.errors.get(task)!);
      else if (tasks.state[task] === RELEASED) this.lose(task);
    }
  }

  /** released → waiting, with the dependencies that have to be activated too pushed on the stack. */
  #startWaiting(task: TaskId, failed: TaskId[]): void {
    const { tasks, edges } = this.books;
    this.books.setState(task, WAITING);
    let waiting_on = 0;
    const first = edges.first[task]!;
    for (let edge = first, end = first + edges.count[task]!; edge < end; edge++) {
      const dependency = edges.dependency[edge]!;
      tasks.waiters[dependency]!++;
      const state = tasks.state[dependency]!;
      if (state === MEMORY) continue;
      waiting_on++;
      if (state === RELEASED) this.#stack.push(dependency);
      else if (state === ERRED) failed.push(dependency);
    }
    tasks.waiting_on[task] = waiting_on;
    if (waiting_on === 0) this.#pushReady(task);
  }

  #pushReady(task: TaskId): void {
    const { tasks } = this.books;
    if (tasks.flags[task]! & FLAG_READY || tasks.payload_kind[task] === PAYLOAD_PENDING) return;
    tasks.flags[task]! |= FLAG_READY;
    this.ready.push(task);
  }

  /** The payload of a task has come: it may start, if it waits for nothing else. */
  payloadArrived(task: TaskId): void {
    const { tasks } = this.books;
    if (tasks.state[task] === WAITING && tasks.waiting_on[task] === 0) this.#pushReady(task);
  }

  /** waiting or queued → processing on `worker`. */
  assign(task: TaskId, worker: WorkerBook): void {
    const { books } = this;
    books.setState(task, PROCESSING);
    books.startProcessing(task, worker);
    this.outbox.computeTask(worker.id, task);
  }

  // ---- results

  /** → memory on `worker`, which computed it (or received it from a client). */
  complete(task: TaskId, worker: WorkerBook): void {
    const { books } = this;
    const { tasks, edges, wants } = books;
    if (tasks.state[task] === PROCESSING) {
      if (this.books.steals.size > 0) this.forgetSteal(task);
      books.stopProcessing(task);
    }
    books.setState(task, MEMORY);
    if (tasks.suspicious[task] !== 0) tasks.suspicious[task] = 0;
    books.addReplica(task, worker);
    const first = edges.first[task]!;
    for (let edge = first, end = first + edges.count[task]!; edge < end; edge++) {
      const dependency = edges.dependency[edge]!;
      if (--tasks.waiters[dependency]! === 0) this.mayBeUnneeded(dependency);
    }
    for (let want = wants.first_of_task[task]!; want !== NONE; want = wants.next_of_task[want]!)
      this.outbox.keyInMemory(wants.owner[want]!, task);
    for (let edge = edges.dependents[task]!; edge !== NONE; edge = edges.next[edge]!) {
      const dependent = edges.dependent[edge]!;
      if (tasks.state[dependent] === WAITING && --tasks.waiting_on[dependent]! === 0)
        this.#pushReady(dependent);
    }
    if (tasks.waiters[task] === 0 && wants.first_of_task[task] === NONE) this.mayBeUnneeded(task);
  }

  /** → erred, with all that waits for it. */
  fail(task: TaskId, error: TaskError): void {
    const { books } = this;
    if (books.tasks.state[task] === PROCESSING) {
      this.forgetSteal(task);
      // At once, where Dask remembers who erred until the task is released: a worker that still knows a failed key
      // answers its next compute-task with the old error.
      this.#freeKeys(books.stopProcessing(task), task);
      this.#markErred(task, error);
      this.#leaveDependencies(task);
    } else {
      this.release(task);
      this.#markErred(task, error);
    }
    this.#errDependents(task, error);
  }

  #markErred(task: TaskId, error: TaskError): void {
    const { books } = this;
    books.setState(task, ERRED);
    books.errors.set(task, error);
    this.watches.get(task)?.();
    const { wants } = books;
    for (let want = wants.first_of_task[task]!; want !== NONE; want = wants.next_of_task[want]!)
      this.outbox.taskErred(wants.owner[want]!, task);
    this.mayBeUnneeded(task);
  }

  /** Everything that waits for an erred task is erred too, and blames the same task. */
  #errDependents(source: TaskId, error: TaskError): void {
    const { tasks, edges } = this.books;
    const stack = this.#stack;
    const bottom = stack.length;
    stack.push(source);
    while (stack.length > bottom) {
      const erred = stack.pop();
      for (let edge = edges.dependents[erred]!; edge !== NONE; edge = edges.next[edge]!) {
        const dependent = edges.dependent[edge]!;
        const state = tasks.state[dependent]!;
        if (state === RELEASED || state === ERRED || state === MEMORY) continue;
        this.release(dependent);
        this.#markErred(dependent, error);
        stack.push(dependent);
      }
    }
  }

  // ---- away from running

  /**
   * Any state but forgotten → released: its worker and holders are told, its dependencies have a waiter less.
   * What waits for it is not touched; the caller settles that.
   */
  release(task: TaskId): void {
    const { books } = this;
    const state = books.tasks.state[task]!;
    if (state === RELEASED) return;
    if (state === MEMORY) this.#dropReplicas(task);
    else if (state === PROCESSING) {
      this.forgetSteal(task);
      this.#freeKeys(books.stopProcessing(task), task);
    } else if (state === QUEUED) this.queue.delete(task);
    else if (state === NO_WORKER) books.unrunnable.delete(task);
    else if (state === ERRED) books.errors.delete(task);
    books.setState(task, RELEASED);
    if (this.watches.size > 0) this.watches.get(task)?.();
    if (state !== MEMORY && state !== ERRED) this.#leaveDependencies(task);
  }

  /** Nothing is said to a worker that has left: its id may be another's before the message is encoded. */
  #freeKeys(worker: WorkerBook, task: TaskId): void {
    if (worker.status !== "closed") this.outbox.freeKeys(worker.id, task);
  }

  /** The dependencies of a task that stopped waiting for them have a waiter less. */
  #leaveDependencies(task: TaskId): void {
    const { tasks, edges } = this.books;
    tasks.waiting_on[task] = 0;
    const first = edges.first[task]!;
    for (let edge = first, end = first + edges.count[task]!; edge < end; edge++) {
      const dependency = edges.dependency[edge]!;
      if (--tasks.waiters[dependency]! === 0) this.mayBeUnneeded(dependency);
    }
  }

  #dropReplicas(task: TaskId): void {
    const { replicas } = this.books;
    let record = replicas.first_of_task[task]!;
    while (record !== NONE) {
      const next = replicas.next_of_task[record]!;
      const worker = this.books.worker(replicas.owner[record]!);
      if (worker.status !== "closed") this.outbox.freeReplica(worker.id, task);
      this.books.dropReplica(record);
      record = next;
    }
  }

  /** waiting (or queued still) → queued, in the order of priorities. */
  enqueue(task: TaskId): void {
    if (this.books.tasks.state[task] !== QUEUED) this.books.setState(task, QUEUED);
    this.queue.insert(task);
  }

  /** Forgets a steal in flight, and books the load back to where the task is. */
  forgetSteal(task: TaskId, granted = false): void {
    const { books } = this;
    const steal = books.steals.get(task);
    if (steal === undefined) return;
    books.steals.delete(task);
    steal.victim.steals_out--;
    steal.thief.steals_in--;
    books.watch?.stealEnded(task, granted);
    if (steal.victim.status !== "closed") books.updateLoad(steal.victim);
    if (steal.thief.status !== "closed") books.updateLoad(steal.thief);
  }

  /**
   * memory → released because the last replica is gone. What waits for the task, waits again; the task is
   * computed again if something needs it, and lost if it cannot be. As in Dask its clients are told in either case:
   * their futures are pending again until the next message.
   */
  vanish(task: TaskId): void {
    const { tasks, edges, wants } = this.books;
    for (let want = wants.first_of_task[task]!; want !== NONE; want = wants.next_of_task[want]!)
      this.outbox.lostData(wants.owner[want]!, task);
    // Tasks that were sent on the promise of this data are taken back: they could only fail to fetch it.
    for (let edge = edges.dependents[task]!; edge !== NONE; edge = edges.next[edge]!) {
      const dependent = edges.dependent[edge]!;
      const state = tasks.state[dependent]!;
      if (state === WAITING) tasks.waiting_on[dependent]!++;
    }
    const taken_back: TaskId[] = [];
    for (let edge = edges.dependents[task]!; edge !== NONE; edge = edges.next[edge]!) {
      const dependent = edges.dependent[edge]!;
      const state = tasks.state[dependent]!;
      if (state === PROCESSING || state === QUEUED || state === NO_WORKER) taken_back.push(dependent);
    }
    this.release(task);
    for (const dependent of taken_back) this.release(dependent);
    for (const dependent of taken_back) this.resume(dependent);
    this.resume(task);
  }

  /** A released task that something still needs is activated again. */
  resume(task: TaskId): void {
    const { tasks } = this.books;
    if (tasks.state[task] !== RELEASED) return;
    if (tasks.waiters[task]! > 0 || this.books.isWanted(task)) this.activate(task);
    else this.mayBeUnneeded(task);
  }

  /**
   * A released task that cannot be computed: it is cancelled for its clients, and all that needs it with it.
   * (`lost-data` alone would leave a client waiting for ever.)
   */
  lose(source: TaskId): void {
    const { tasks, edges } = this.books;
    const stack = this.#stack;
    const bottom = stack.length;
    stack.push(source);
    while (stack.length > bottom) {
      const task = stack.pop();
      if (task !== source) this.release(task);
      this.cancelWants(task, "lost dependencies");
      for (let edge = edges.dependents[task]!; edge !== NONE; edge = edges.next[edge]!) {
        const dependent = edges.dependent[edge]!;
        const state = tasks.state[dependent]!;
        if (state !== RELEASED && state !== ERRED && state !== MEMORY && state !== FORGOTTEN)
          stack.push(dependent);
      }
      this.mayBeUnneeded(task);
    }
  }

  /** Drops all wants of a task; each client is told why. */
  cancelWants(task: TaskId, reason: CancelReason): void {
    const { wants } = this.books;
    for (let want = wants.first_of_task[task]!; want !== NONE; want = wants.first_of_task[task]!) {
      this.outbox.cancelledKeys(wants.owner[want]!, task, reason);
      wants.remove(want);
    }
  }

  // ---- wants

  /** Books a want; the client is told at once if the task is done already. */
  want(client: ClientId, task: TaskId): void {
    const { books } = this;
    if (!books.wants.has(task, client)) books.wants.add(task, client);
    const state = books.tasks.state[task]!;
    if (state === MEMORY) this.outbox.keyInMemory(client, task);
    else if (state === ERRED) this.outbox.taskErred(client, task);
  }

  unwant(client: ClientId, task: TaskId): boolean {
    const record = this.books.wants.find(task, client);
    if (record === NONE) return false;
    this.books.wants.remove(record);
    if (this.books.wants.first_of_task[task] === NONE) this.mayBeUnneeded(task);
    return true;
  }

  // ---- the end of things

  /** Tasks that {@link settle} has still to look at. */
  get unsettled(): number {
    return this.#unneeded.length;
  }

  /** Whether there may be such tasks between events: the batch has had more of them than it may look at. */
  get exhausted(): boolean {
    return this.#settle_left <= 0;
  }

  /** A batch begins in which {@link settleSome} looks at `most` tasks; it begins with what the last one left. */
  beginBatch(most: number): void {
    this.#settle_left = most;
    this.settleSome();
  }

  mayBeUnneeded(task: TaskId): void {
    const { flags } = this.books.tasks;
    if (flags[task]! & FLAG_UNNEEDED) return;
    flags[task]! |= FLAG_UNNEEDED;
    this.#unneeded.push(task);
  }

  /**
   * Releases what nothing needs, and forgets what nothing could need again: no client wants it and no live task
   * depends on it. To be called at the end of each event.
   */
  settle(): void {
    this.#settle(Number.POSITIVE_INFINITY);
  }

  /**
   * {@link settle} after an event that is all in order if some tasks are let go of only in the next batches. A million
   * inputs of one task would hold up everybody else.
   */
  settleSome(): void {
    if (this.#unneeded.length > 0) this.#settle_left -= this.#settle(this.#settle_left);
  }

  /** Looks at no more than `most` tasks; how many it looked at. */
  #settle(most: number): number {
    const { books } = this;
    const { tasks, edges } = books;
    const unneeded = this.#unneeded;
    let looks = 0;
    while (unneeded.length > 0 && looks < most) {
      looks++;
      const task = unneeded.pop();
      tasks.flags[task]! &= ~FLAG_UNNEEDED;
      const state = tasks.state[task]!;
      if (state === FORGOTTEN || tasks.waiters[task]! > 0 || books.isWanted(task)) continue;
      const forgettable = edges.dependents[task] === NONE;
      if (state !== RELEASED && (state !== ERRED || forgettable)) this.release(task);
      if (forgettable) this.#forget(task);
    }
    return looks;
  }

  #forget(task: TaskId): void {
    const { books } = this;
    const { tasks, edges } = books;
    if (this.watches.size > 0) this.watches.get(task)?.();
    const first = edges.first[task]!;
    const end = first + edges.count[task]!;
    for (let edge = first; edge < end; edge++) this.mayBeUnneeded(edges.dependency[edge]!);
    edges.dropDependencies(task);
    books.setState(task, FORGOTTEN);
    if (tasks.flags[task]! & FLAG_RESTRICTED) books.restrictions.delete(task);
    if (books.annotations.size > 0) books.annotations.delete(task);
    if (books.actors.size > 0) books.actors.delete(task);
    if (books.lost_runs.size > 0) books.lost_runs.delete(task);
    tasks.dropPayload(task);
    books.keys.unlink(task);
    tasks.retire(task);
  }
}
