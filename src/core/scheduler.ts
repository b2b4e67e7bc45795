import { type ClientId, NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import type { PlacementSink, Policy, StealSink } from "../schedulers/policy.ts";
import { PHASE } from "../trace/phases.ts";
import { Probe } from "../trace/tracer.ts";
import { actorLost, placeActors } from "./actors.ts";
import { Books, type Restrictions, type TaskError } from "./books.ts";
import { cancelKey } from "./cancel.ts";
import { GraphBuilder } from "./graph-builder.ts";
import type { Outbox } from "./outbox.ts";
import { inputBytes, type OversizedError, plainOversizedError } from "./oversized.ts";
import { PAYLOAD_NONE, PAYLOAD_PENDING } from "./payloads.ts";
import { attachWatch } from "./policy-watch.ts";
import { mayBalance, openQueue, recordPlaced } from "./ready.ts";
import { retryKey } from "./retry.ts";
import { ERRED, FORGOTTEN, MEMORY, NO_WORKER, PROCESSING, QUEUED, RELEASED, WAITING } from "./states.ts";
import { FLAG_ACTOR, FLAG_LONG_RUNNING, FLAG_PINNED, FLAG_READY, FLAG_RUNNABLE } from "./task-table.ts";
import { Transitions } from "./transitions.ts";
import type { WorkerBook, WorkerFacts, WorkerStatus } from "./worker-book.ts";

export interface SchedulerOptions {
  readonly policy: Policy;
  readonly outbox: Outbox;
  /** Seed of the key table's hash: from the system's randomness in a server, fixed in tests. */
  readonly key_seed: number;
  /** A task may be on this many workers that died unexpectedly; one more errs it (Dask's allowed-failures). */
  readonly allowed_failures?: number;
  /** What clients get as the error of an actor whose worker is gone: opaque here. */
  readonly actor_lost?: unknown;
  /** What they get where a task's inputs cannot fit its worker's memory. */
  readonly oversized?: OversizedError;
  /** Off unless given. */
  readonly probe?: Probe;
}

/** What ended a steal, by the state that the victim reported (distributed.stealing.move_task_confirm). */
const GRANTED = new Set(["ready", "constrained", "waiting"]);
const REFUSED = new Set(["memory", "executing", "long-running", "cancelled", "resumed"]);

/** Counts of the whole life of a scheduler (the summary's ledger, the part that the core knows). */
export interface Counts {
  tasks_sent: number;
  tasks_finished: number;
  steals_asked: number;
  steals_done: number;
  /** Finished once, lost since, and finished again. */
  recomputed: number;
}

/**
 * The scheduler: a deterministic state machine. Events come in as method calls with ids (bytes are looked up at
 * the edge), effects go out through the {@link Outbox}; it opens no socket, reads no clock and draws no lots.
 * A batch is any number of events, then one {@link schedule}, then one {@link endBatch}.
 */
export class Scheduler implements PlacementSink, StealSink {
  readonly books: Books;
  readonly moves: Transitions;
  readonly counts: Counts = {
    tasks_sent: 0,
    tasks_finished: 0,
    steals_asked: 0,
    steals_done: 0,
    recomputed: 0,
  };
  /** The batch's stamp, ns: set by the server before it hands events in. Decides nothing but steal intervals. */
  now_ns = 0;
  readonly #policy: Policy;
  readonly #balances: NonNullable<Policy["balances"]>;
  readonly #actor_lost: unknown;
  readonly #oversized: OversizedError;
  /** A task was erred where it was to be placed. */
  #erred_placing = false;
  readonly #outbox: Outbox;
  readonly #probe: Probe;
  /** A task may be on so many workers that died unexpectedly; one more errs it. */
  readonly allowed_failures: number;
  #last_steal_id = 0;

  constructor(options: SchedulerOptions) {
    this.books = new Books(options.key_seed);
    this.moves = new Transitions(this.books, options.outbox);
    this.#policy = options.policy;
    this.#balances = options.policy.balances ?? "uneven";
    const watch = options.policy.watch?.(this.books);
    if (watch !== undefined) attachWatch(this.books, watch);
    this.#outbox = options.outbox;
    this.#probe = options.probe ?? new Probe();
    this.#actor_lost = options.actor_lost ?? null;
    this.#oversized = options.oversized ?? plainOversizedError;
    this.allowed_failures = options.allowed_failures ?? 3;
  }

  get policy_name(): string {
    return this.#policy.name;
  }

  // ---- graphs and clients

  clientJoined(name: string): ClientId {
    return this.books.addClient(name);
  }

  /** Its wants go with it. */
  clientLeft(client: ClientId): void {
    const { wants } = this.books;
    for (let want = wants.first_of_owner[client]!; want !== NONE; want = wants.first_of_owner[client]!)
      this.moves.unwant(client, wants.task[want]!);
    this.moves.settleSome();
    this.books.dropClient(client);
  }

  graph(options: ConstructorParameters<typeof GraphBuilder>[2]): GraphBuilder {
    // A key that is on its way out would be taken for a known one, with the run_spec that it had.
    this.moves.settle();
    const builder = new GraphBuilder(this.books, this.moves, options);
    if (this.#probe.tracer !== null) builder.stamp_ns = this.now_ns;
    return builder;
  }

  /**
   * The payload of a task whose structure came before it. Nothing happens if the task was cancelled since; who waits
   * for payloads pins the task, so that its id cannot have become another's.
   */
  payloadArrived(task: TaskId, payload: Parameters<Books["tasks"]["setPayload"]>[1]): void {
    const { tasks } = this.books;
    if (tasks.state[task] === FORGOTTEN || tasks.payload_kind[task] !== PAYLOAD_PENDING) return;
    this.books.tasks.setPayload(task, payload);
    this.moves.payloadArrived(task);
  }

  /** The payload of a task that waits for it will not come. */
  payloadLost(task: TaskId): void {
    this.books.tasks.payload_kind[task] = PAYLOAD_NONE;
  }

  /** The task with this key, made if there is none: data from outside, or a key that a client wants. */
  keyNamed(key: Uint8Array): TaskId {
    return this.books.internKey(key);
  }

  /** Where a task may run from here on, if it does not run yet; null: anywhere. */
  restrictionsChanged(task: TaskId, restrictions: Restrictions | null): void {
    this.books.restrict(task, restrictions);
  }

  clientDesiresKey(client: ClientId, task: TaskId): void {
    const { books, moves } = this;
    moves.want(client, task);
    if (books.tasks.state[task] === RELEASED) moves.activate(task);
    moves.settle();
  }

  clientReleasesKey(client: ClientId, task: TaskId): void {
    this.moves.unwant(client, task);
    this.moves.settleSome();
  }

  /**
   * Dask's cancel: the key and what depends on it is dropped, unless other clients want it and `force` is off.
   * Every client that loses a want is told.
   */
  cancelKey(client: ClientId, task: TaskId, force: boolean): void {
    cancelKey(this.books, this.moves, this.#outbox, { client, task, force });
  }

  /** Computes an erred task again, and the erred tasks below it that it waits for. */
  retryKey(task: TaskId): boolean {
    return retryKey(this.books, this.moves, this.#outbox, task);
  }

  // ---- workers

  workerJoined(facts: WorkerFacts): WorkerBook {
    return this.books.addWorker(facts);
  }

  workerStatusChanged(worker: WorkerBook, status: WorkerStatus): void {
    if (worker.status === status) return;
    worker.status = status;
    this.books.updateLoad(worker);
    if (status === "running") this.#retryUnrunnable();
  }

  resourcesChanged(worker: WorkerBook, resources: ReadonlyMap<string, number>): void {
    for (const [name, amount] of resources) worker.resources.set(name, amount);
  }

  /** Workers' own measurements, with their heartbeats, for the policy. */
  bandwidthMeasured(bytes_per_s: number): void {
    this.books.watch?.bandwidthMeasured(bytes_per_s);
  }

  taskRunning(task: TaskId, since_s: number): void {
    this.books.watch?.taskRunning(task, since_s);
  }

  /** Tasks that no worker could take may fit the one that just came up. */
  #retryUnrunnable(): void {
    for (const task of [...this.books.unrunnable]) {
      this.moves.release(task);
      this.moves.resume(task);
    }
    this.moves.settle();
  }

  /**
   * A worker is gone. What it computed is given to others, what it alone held is computed again. With
   * `expected` (it said so itself, or was told to) its tasks are not suspected of having killed it.
   */
  workerLeft(worker: WorkerBook, expected: boolean, killed: (task: TaskId) => TaskError): void {
    const { books, moves } = this;
    const { tasks, replicas } = books;
    worker.status = "closed";
    books.updateLoad(worker);
    // A steal for it stays in the books: the victim will give the task up all the same, and it must be placed anew then.
    const taken: TaskId[] = [];
    for (let task = worker.first_processing; task !== NONE; task = worker.first_processing) {
      taken.push(task);
      moves.release(task);
    }
    // Before the replicas, whose loss may activate some of these tasks already.
    if (!expected)
      for (const task of taken)
        if (++tasks.suspicious[task]! > this.allowed_failures) moves.fail(task, killed(task));
    for (let record = replicas.first_of_owner[worker.id]!; record !== NONE; ) {
      const task = replicas.task[record]!;
      const lost = replicas.isSingle(task) || this.#livesOn(worker, task);
      books.dropReplica(record);
      if (lost) this.#vanish(task, worker);
      record = replicas.first_of_owner[worker.id]!;
    }
    for (const task of taken) moves.resume(task);
    moves.settle();
    books.dropWorker(worker);
  }

  /** The task is an actor of this worker's: copies elsewhere only refer to it. */
  #livesOn(worker: WorkerBook, task: TaskId): boolean {
    return this.books.isActor(task) && this.books.actorHome(task) === worker.id;
  }

  /** The last replica of a task is gone. An actor cannot be made again with its state: it is erred. */
  #vanish(task: TaskId, worker: WorkerBook): void {
    const { books, moves } = this;
    const flags = books.tasks.flags[task]!;
    if (flags & FLAG_ACTOR) {
      moves.fail(task, actorLost(task, worker, this.#actor_lost));
      return;
    }
    if (flags & FLAG_RUNNABLE) books.lost_runs.add(task);
    moves.vanish(task);
  }

  // ---- what workers report

  /**
   * `run_id` is what the report carries, or 0 from a worker of 2022.12, which has none. Returns false when the
   * report was stale and the worker must be told to drop the result (it has been, through the outbox).
   * `duration_s`: what the run took by the worker's own clock; 0: it did not say.
   */
  taskFinished(
    worker: WorkerBook,
    task: TaskId,
    run_id: number,
    nbytes: number,
    type: number,
    duration_s = 0,
  ): boolean {
    const { books, moves } = this;
    const { tasks } = books;
    if (worker.status === "closed") return false;
    const state = tasks.state[task]!;
    if (state === PROCESSING) {
      const assigned = tasks.processing_on[task] === worker.id;
      if (!assigned || (run_id !== 0 && tasks.run_id[task] !== run_id)) {
        this.#stale(worker, task, assigned);
        return false;
      }
    } else if (state === MEMORY && this.#countsAsReplica(worker, task, run_id)) {
      this.keyAdded(worker, task);
      return true;
    } else {
      // In memory by another run: free-keys is on its way to this worker, so what it reports is about to be dropped.
      // Or released, waiting, queued, no-worker, erred: nobody asked this worker for it any more.
      this.#outbox.freeKeys(worker.id, task);
      return false;
    }
    if (tasks.nbytes[task] !== nbytes) tasks.nbytes[task] = nbytes;
    tasks.type[task] = type;
    this.counts.tasks_finished++;
    if (books.lost_runs.size > 0 && books.lost_runs.delete(task)) this.counts.recomputed++;
    // It was done before the victim could give it up: as good as refused.
    if (books.steals.size > 0 && books.steals.has(task)) this.#policy.stealAnswered(false);
    if (books.watch !== null && duration_s > 0) books.watch.taskMeasured(task, duration_s);
    moves.complete(task, worker);
    moves.settleSome();
    return true;
  }

  /** A result that is known already: said twice, or by a worker that has fetched it in the meantime. */
  #countsAsReplica(worker: WorkerBook, task: TaskId, run_id: number): boolean {
    const { tasks, replicas } = this.books;
    return run_id === 0 || tasks.run_id[task] === run_id || replicas.has(task, worker.id);
  }

  /** A report of another run: from the worker that has the task, what it does now cannot be trusted: redo. */
  #stale(worker: WorkerBook, task: TaskId, assigned: boolean): void {
    if (!assigned) {
      this.#outbox.freeKeys(worker.id, task);
      return;
    }
    this.moves.release(task);
    this.moves.resume(task);
    this.moves.settle();
  }

  taskErred(worker: WorkerBook, task: TaskId, run_id: number, error: TaskError): void {
    const { tasks } = this.books;
    if (!this.#processes(worker, task)) return;
    if (run_id !== 0 && tasks.run_id[task] !== run_id) {
      this.#stale(worker, task, true);
      return;
    }
    if (tasks.retries[task]! > 0) {
      tasks.retries[task]!--;
      this.moves.release(task);
      this.moves.resume(task);
    } else {
      this.moves.fail(task, error);
    }
    this.moves.settle();
  }

  #processes(worker: WorkerBook, task: TaskId): boolean {
    const { tasks } = this.books;
    return (
      tasks.state[task] === PROCESSING &&
      tasks.processing_on[task] === worker.id &&
      worker.status !== "closed"
    );
  }

  /** A task that cannot be run for a reason of our own, such as a graph whose payloads never came. */
  taskFailed(task: TaskId, error: TaskError): void {
    const state = this.books.tasks.state[task]!;
    if (state === FORGOTTEN || state === MEMORY || state === ERRED) return;
    this.moves.fail(task, error);
    this.moves.settle();
  }

  /** The worker asks to have its task placed anew. */
  taskRescheduled(worker: WorkerBook, task: TaskId): void {
    if (!this.#processes(worker, task)) return;
    this.moves.release(task);
    this.moves.resume(task);
    this.moves.settle();
  }

  /**
   * What these tasks have done so far, together, is void: results are dropped, running ones taken back, and what
   * something still needs is computed anew. Failed tasks stay failed.
   */
  recompute(list: readonly TaskId[]): void {
    const { books, moves } = this;
    const { tasks } = books;
    // First those without a result: else the loss of a result would put each of them to waiting once more.
    for (const task of list) {
      const state = tasks.state[task]!;
      if (state !== FORGOTTEN && state !== ERRED && state !== MEMORY) moves.release(task);
    }
    for (const task of list) {
      if (tasks.state[task] !== MEMORY || (tasks.flags[task]! & FLAG_RUNNABLE) === 0) continue;
      books.lost_runs.add(task);
      moves.vanish(task);
    }
    for (const task of list) moves.resume(task);
    moves.settle();
  }

  /** The task seceded from its worker's thread pool: its slot is free. */
  taskLongRunning(worker: WorkerBook, task: TaskId, run_id: number, duration_s = 0): void {
    const { tasks, watch } = this.books;
    if (!this.#processes(worker, task)) return;
    if (run_id !== 0 && tasks.run_id[task] !== run_id) return;
    if (tasks.flags[task]! & FLAG_LONG_RUNNING) return;
    this.moves.forgetSteal(task);
    tasks.flags[task]! |= FLAG_LONG_RUNNING;
    worker.long_running++;
    this.books.updateLoad(worker);
    if (duration_s > 0) watch?.taskMeasured(task, duration_s);
    watch?.taskSeceded(task, worker.id);
  }

  /** The worker has fetched a replica. One that nothing is known of is to be dropped again. */
  keyAdded(worker: WorkerBook, task: TaskId): void {
    const { books } = this;
    if (worker.status === "closed") return;
    if (books.tasks.state[task] !== MEMORY) {
      this.#outbox.removeReplicas(worker.id, task);
      return;
    }
    if (!books.replicas.has(task, worker.id)) books.addReplica(task, worker);
  }

  /** The worker has dropped a replica, or another worker did not find it there. */
  keyReleased(worker: WorkerBook, task: TaskId): void {
    const { books } = this;
    if (worker.status === "closed") return;
    const record = books.replicas.find(task, worker.id);
    if (record === NONE) return;
    const lost = books.replicas.isSingle(task) || this.#livesOn(worker, task);
    books.dropReplica(record);
    if (!lost) return;
    this.#vanish(task, worker);
    this.moves.settle();
  }

  /**
   * Data that came from outside, for instance scattered by a client, which wants it then (NONE: nobody does on that
   * account, and what nothing needs is freed again). `type` NONE: unknown.
   */
  dataReceived(worker: WorkerBook, task: TaskId, nbytes: number, type: number, client: ClientId): void {
    const { books, moves } = this;
    const { tasks, edges } = books;
    if (worker.status === "closed") return;
    if (tasks.state[task] === MEMORY) {
      if (nbytes >= 0) books.setNbytes(task, nbytes);
      this.keyAdded(worker, task);
      if (client !== NONE) moves.want(client, task);
      return;
    }
    if (client !== NONE && !books.wants.has(task, client)) books.wants.add(task, client);
    if (!this.#processes(worker, task)) {
      // Whoever was to compute it is told to stop; then it passes through waiting, like any other result. The worker
      // that holds it is not told: its copy would go with it.
      moves.release(task);
      tasks.run_id[task] = 0;
      books.setState(task, WAITING);
      tasks.flags[task]! &= ~FLAG_READY;
      for (let e = edges.first[task]!, end = e + edges.count[task]!; e < end; e++)
        tasks.waiters[edges.dependency[e]!]!++;
    }
    tasks.nbytes[task] = nbytes;
    tasks.type[task] = type;
    // It did not come by a run: no hop of its begins here, or at what a task of this id did before.
    tasks.stamp_ns[task] = Number.NaN;
    moves.complete(task, worker);
    moves.settle();
  }

  // ---- placing

  /** There is more to be placed than the last {@link schedule} was to take. */
  get placing(): boolean {
    return this.moves.ready.length > 0;
  }

  /** {@link schedule} has something to do, even if nothing happens. */
  get unfinished(): boolean {
    return this.placing || this.moves.unsettled > 0;
  }

  /**
   * Places what became ready since the last time, and balances. Returns when it wants to be called again (ns on
   * the clock of {@link now_ns}), or Infinity. `most`: so many tasks are placed, and so many let go of until it
   * is called again, at most; then it may be {@link unfinished}.
   */
  schedule(most = Number.POSITIVE_INFINITY): number {
    const { tracer } = this.#probe;
    const { moves, books } = this;
    moves.beginBatch(most);
    this.#policy.order?.(books, books);
    // What another process decided has left the queue: it is placed now.
    const slice = this.#policy.picks === undefined ? most : Number.POSITIVE_INFINITY;
    openQueue(books, moves, this.#policy, slice - moves.ready.length);
    if (this.placing) {
      if (tracer !== null) tracer.enter(PHASE.placement);
      const ids = moves.ready.take(books, slice);
      const count = ids.length;
      if (books.running.length === 0) for (let i = 0; i < count; i++) this.refuse(ids[i]!);
      else {
        const others = books.actors.size === 0 ? count : placeActors(ids, count, books, this);
        this.#policy.place(ids, others, books, this);
      }
      // Only now: what it lets go of may have been among those to be placed.
      if (this.#erred_placing) moves.settle();
      this.#erred_placing = false;
      if (tracer !== null) {
        recordPlaced(tracer, books, ids, this.now_ns, tracer.exit());
      }
    }
    if (!mayBalance(books, this.#balances)) return Number.POSITIVE_INFINITY;
    if (tracer !== null) tracer.enter(PHASE.balance);
    const again_ns = this.#policy.balance(this.now_ns, books, this);
    if (tracer !== null) tracer.exit();
    return again_ns;
  }

  /** Ids that this batch forgot become reusable. After all that could name them has been queued. */
  endBatch(): void {
    this.books.tasks.recycle();
  }

  // ---- PlacementSink, StealSink

  assign(task: TaskId, worker: WorkerId): void {
    const { books } = this;
    const book = books.worker(worker);
    // Only while the cluster holds more than one of its workers could, is a task asked for its inputs.
    if (books.held_bytes > books.memory_limit_min_bytes && this.#failsOversized(task, book)) return;
    this.counts.tasks_sent++;
    this.moves.assign(task, book);
  }

  /** Inputs that are larger than the worker's memory would but kill it, and the next one after it: as in Dask, an error. */
  #failsOversized(task: TaskId, worker: WorkerBook): boolean {
    const bytes = inputBytes(this.books, task);
    if (bytes <= worker.memory_limit_bytes) return false;
    this.moves.fail(task, this.#oversized(task, worker, bytes));
    this.#erred_placing = true;
    return true;
  }

  queue(task: TaskId): void {
    this.moves.enqueue(task);
  }

  refuse(task: TaskId): void {
    if (this.books.tasks.state[task] === QUEUED) {
      this.books.setState(task, RELEASED);
      this.books.setState(task, WAITING);
    }
    this.books.setState(task, NO_WORKER);
    this.books.unrunnable.add(task);
  }

  steal(task: TaskId, thief: WorkerId): void {
    const { books } = this;
    const from = books.worker(books.tasks.processing_on[task]!);
    const to = books.worker(thief);
    if (books.steals.has(task) || from === to) return;
    const id = ++this.#last_steal_id;
    books.steals.set(task, { id, victim: from, thief: to });
    from.steals_out++;
    to.steals_in++;
    books.updateLoad(from);
    books.updateLoad(to);
    this.counts.steals_asked++;
    this.#outbox.stealRequest(from.id, task, id);
  }

  /**
   * The victim's answer. RSDS leaves its books on the thief when a steal fails, though the task stays with the
   * victim; here a refusal puts the load back where the task is, and pins the task: it is running.
   */
  stealAnswered(worker: WorkerBook, task: TaskId, steal_id: number, state: string | null): void {
    const { books, moves } = this;
    const steal = books.steals.get(task);
    if (steal === undefined || steal.id !== steal_id || steal.victim !== worker) return;
    const granted = state !== null && GRANTED.has(state);
    moves.forgetSteal(task, granted);
    if (granted) {
      this.#moveTask(task, steal.thief);
      return;
    }
    this.#policy.stealAnswered(false);
    if (state !== null && REFUSED.has(state)) {
      books.tasks.flags[task]! |= FLAG_PINNED;
      return;
    }
    // The victim does not know the task: neither the assignment nor a report may ever come from there.
    moves.release(task);
    moves.resume(task);
    moves.settle();
  }

  #moveTask(task: TaskId, thief: WorkerBook): void {
    const { books, moves } = this;
    this.#policy.stealAnswered(true);
    if (thief.status !== "running") {
      moves.release(task);
      moves.resume(task);
      moves.settle();
      return;
    }
    books.stopProcessing(task);
    books.startProcessing(task, thief);
    // Placed anew: what it waited at the victim is none of the way to the thief.
    if (this.#probe.tracer !== null) books.tasks.stamp_ns[task] = this.now_ns;
    this.counts.steals_done++;
    this.counts.tasks_sent++;
    this.#outbox.computeTask(thief.id, task);
  }
}
