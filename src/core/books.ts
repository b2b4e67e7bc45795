import { NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import { IndexedSet } from "../base/indexed-set.ts";
import { viewOf } from "../base/typed-arrays.ts";
import type { PolicyWatch } from "../schedulers/policy.ts";
import { Edges } from "./edges.ts";
import { KeyTable } from "./key-table.ts";
import { Relation } from "./relation.ts";
import { checkEdge, PROCESSING, RELEASED } from "./states.ts";
import { FLAG_ACTOR, FLAG_LONG_RUNNING, FLAG_PINNED, FLAG_RESTRICTED, TaskTable } from "./task-table.ts";
import { WorkerBook, type WorkerFacts } from "./worker-book.ts";

/** Which workers may run a task, as the client's annotations say. */
export interface Restrictions {
  /** Addresses, names or hosts of workers; null: any. */
  readonly workers: ReadonlySet<string> | null;
  /** With loose restrictions any worker will do when none of the named ones runs. */
  readonly loose: boolean;
  readonly resources: ReadonlyMap<string, number> | null;
}

/** Why a task is erred: what the worker sent, opaque, or a text of our own. */
export interface TaskError {
  /** The task whose failure this is: itself or a transitive dependency. */
  readonly blame: TaskId;
  readonly exception: unknown;
  readonly traceback: unknown;
  readonly exception_text: string;
  readonly traceback_text: string;
  readonly worker: string;
}

/** Told of a change of a task's state, by their numbers. It must not change anything in turn. */
export type TransitionFollower = (task: TaskId, from: number, to: number) => void;

/** A steal that was asked for and is not answered yet. */
export interface Steal {
  readonly id: number;
  readonly victim: WorkerBook;
  readonly thief: WorkerBook;
}

/**
 * All of the scheduler's tables, and the small operations that keep them consistent with one another.
 * Decides nothing: that is {@link import("./transitions.ts").Transitions} and the events of
 * {@link import("./scheduler.ts").Scheduler}.
 */
export class Books {
  readonly keys: KeyTable;
  readonly tasks: TaskTable;
  readonly edges = new Edges();
  /** Who holds what: tasks in memory × workers. */
  readonly replicas = new Relation();
  /** Who wants what: tasks × clients. */
  readonly wants = new Relation();
  /** Which worker will fetch what, and for how many of its tasks (`needs_what`). */
  readonly needs = new Relation();
  readonly workers: (WorkerBook | null)[] = [];
  /** The sum of all workers' `nbytes`, and the least memory limit among them. */
  held_bytes = 0;
  memory_limit_min_bytes = Number.POSITIVE_INFINITY;
  readonly clients: (string | null)[] = [];
  readonly restrictions = new Map<TaskId, Restrictions>();
  readonly errors = new Map<TaskId, TaskError>();
  /** The annotations that go out in compute-task, for the few tasks that have some: opaque here. */
  readonly annotations = new Map<TaskId, unknown>();
  /** Steals that are not answered yet: at most one a task. */
  readonly steals = new Map<TaskId, Steal>();
  /** Tasks that were in memory and are to be computed again, for the count of recomputed ones. */
  readonly lost_runs = new Set<TaskId>();
  /** Tasks that no running worker may take. */
  readonly unrunnable = new Set<TaskId>();

  /** Tasks that are actors, in whatever state. */
  readonly actors = new Set<TaskId>();

  readonly running = new IndexedSet();
  readonly underloaded = new IndexedSet();
  readonly overloaded = new IndexedSet();
  readonly #hosts = new Map<string, { readonly id: number; workers: number }>();
  readonly #free_hosts: number[] = [];
  /** Ids to be used again. */
  readonly free_workers: WorkerId[] = [];
  readonly free_clients: number[] = [];
  /** Who may run tasks under some restrictions, while the same workers run: found once for all tasks of a layer. */
  readonly #allowed = new WeakMap<Restrictions, { version: number; workers: readonly WorkerId[] | null }>();
  #running_version = 0;
  #last_run_id = 0;
  /** How many tasks are in each state, by its number. */
  readonly state_counts = new Int32Array(8);
  /** State changes so far: two equal readings mean that nothing happened between. */
  transition_count = 0;
  readonly #followers = new Set<TransitionFollower>();
  /** A policy that keeps books of its own, or null. */
  watch: PolicyWatch | null = null;

  constructor(key_seed: number) {
    this.keys = new KeyTable(key_seed);
    this.tasks = new TaskTable((task) => this.keys.releaseBytes(task));
  }

  get hosts(): number {
    return this.#hosts.size;
  }

  // ---- tasks

  /** The task with these key bytes, made in state released if there is none. */
  intern(view: DataView, start: number, end: number): TaskId {
    const found = this.keys.probe(view, start, end);
    if (found !== NONE) return found;
    const task = this.tasks.create();
    this.state_counts[RELEASED]!++;
    this.keys.insertProbed(task, view, start, end);
    this.edges.addTask(task);
    this.replicas.addTask(task);
    this.wants.addTask(task);
    this.needs.addTask(task);
    return task;
  }

  /** {@link intern} of a key that stands alone. */
  internKey(key: Uint8Array): TaskId {
    return this.intern(viewOf(key), 0, key.length);
  }

  /**
   * Gives back what tables of more than `tasks_kept` tasks take, a power of two, once there are no tasks at all: they
   * double as they fill, and would stay as large as they have ever been. False: there are some, or messages that name one.
   */
  trim(tasks_kept: number): boolean {
    if (!this.tasks.trim(tasks_kept)) return false;
    this.keys.trim(tasks_kept);
    this.edges.trim(tasks_kept);
    for (const relation of [this.replicas, this.wants, this.needs]) relation.trim(tasks_kept);
    return true;
  }

  /** The single place that writes a task's state. */
  setState(task: TaskId, to: number): void {
    const from = this.tasks.state[task]!;
    checkEdge(from, to, task);
    this.tasks.state[task] = to;
    this.state_counts[from]!--;
    this.state_counts[to]!++;
    this.transition_count++;
  }

  /**
   * Changes which workers may run a task; null: any. Resources must stay those that the task has, if any: it may be
   * running under them.
   */
  restrict(task: TaskId, restrictions: Restrictions | null): void {
    if (restrictions === null) {
      this.restrictions.delete(task);
      this.tasks.flags[task]! &= ~FLAG_RESTRICTED;
      return;
    }
    this.restrictions.set(task, restrictions);
    this.tasks.flags[task]! |= FLAG_RESTRICTED;
  }

  /**
   * Has `follower` called after each change of a state, until {@link unfollow}. Without followers nothing asks whether
   * there are any: the method itself is replaced while there are.
   */
  follow(follower: TransitionFollower): void {
    const followers = this.#followers;
    followers.add(follower);
    this.setState = (task, to): void => {
      const from = this.tasks.state[task]!;
      Books.prototype.setState.call(this, task, to);
      for (const each of followers) each(task, from, to);
    };
  }

  unfollow(follower: TransitionFollower): void {
    this.#followers.delete(follower);
    if (this.#followers.size === 0) Reflect.deleteProperty(this, "setState");
  }

  isActor(task: TaskId): boolean {
    return (this.tasks.flags[task]! & FLAG_ACTOR) !== 0;
  }

  /** The worker that an actor lives on, or is to live on; others hold what refers to it. NONE: nowhere yet. */
  actorHome(task: TaskId): WorkerId {
    let record = this.replicas.first_of_task[task]!;
    if (record === NONE) return this.tasks.processing_on[task]!;
    // Later copies stand in front.
    for (let next = record; next !== NONE; next = this.replicas.next_of_task[next]!) record = next;
    return this.replicas.owner[record]!;
  }

  isWanted(task: TaskId): boolean {
    return this.wants.first_of_task[task] !== NONE;
  }

  /** Lower runs first: Dask's order of priorities. */
  compare(a: TaskId, b: TaskId): number {
    const t = this.tasks;
    return (
      t.user_priority[a]! - t.user_priority[b]! ||
      t.generation[a]! - t.generation[b]! ||
      t.order[a]! - t.order[b]! ||
      a - b
    );
  }

  // ---- workers

  addWorker(facts: WorkerFacts): WorkerBook {
    const id = this.free_workers.pop() ?? this.workers.length;
    let host = this.#hosts.get(facts.host);
    if (host === undefined) {
      host = { id: this.#free_hosts.pop() ?? this.#hosts.size, workers: 0 };
      this.#hosts.set(facts.host, host);
    }
    host.workers++;
    const worker = new WorkerBook(id, host.id, facts);
    this.workers[id] = worker;
    this.replicas.addOwner(id);
    this.needs.addOwner(id);
    this.memory_limit_min_bytes = Math.min(this.memory_limit_min_bytes, worker.memory_limit_bytes);
    this.watch?.workerJoined(id, worker.threads);
    return worker;
  }

  /** The worker must hold and process nothing any more. */
  dropWorker(worker: WorkerBook): void {
    worker.status = "closed";
    this.updateLoad(worker);
    this.workers[worker.id] = null;
    if (worker.memory_limit_bytes === this.memory_limit_min_bytes)
      this.memory_limit_min_bytes = this.workers.reduce(
        (least, other) => Math.min(least, other?.memory_limit_bytes ?? least),
        Number.POSITIVE_INFINITY,
      );
    this.watch?.workerLeft(worker.id);
    const host = this.#hosts.get(worker.host)!;
    if (--host.workers === 0) {
      // Hosts come and go for as long as the server lives: their numbers are reused.
      this.#hosts.delete(worker.host);
      this.#free_hosts.push(host.id);
    }
    this.free_workers.push(worker.id);
  }

  addClient(name: string): number {
    const id = this.free_clients.pop() ?? this.clients.length;
    this.clients[id] = name;
    this.wants.addOwner(id);
    return id;
  }

  dropClient(id: number): void {
    this.clients[id] = null;
    this.free_clients.push(id);
  }

  worker(id: WorkerId): WorkerBook {
    return this.workers[id]!;
  }

  /** Brings the lists of running, under- and overloaded workers up to date with one worker. */
  updateLoad(worker: WorkerBook): void {
    const running = worker.status === "running";
    const load = worker.load;
    const changed = running !== this.running.has(worker.id);
    if (running) this.running.add(worker.id);
    else this.running.delete(worker.id);
    if (changed) {
      this.#running_version++;
      this.watch?.workerRuns(worker.id, running);
    }
    if (running && load < worker.threads) this.underloaded.add(worker.id);
    else this.underloaded.delete(worker.id);
    if (running && load > worker.threads) this.overloaded.add(worker.id);
    else this.overloaded.delete(worker.id);
  }

  /** Puts a task at the end of a worker's processing list under a fresh run_id, and books what it will fetch. */
  startProcessing(task: TaskId, worker: WorkerBook): void {
    const t = this.tasks;
    const last = worker.last_processing;
    t.processing_on[task] = worker.id;
    t.previous_processing[task] = last;
    t.next_processing[task] = NONE;
    if (last === NONE) worker.first_processing = task;
    else t.next_processing[last] = task;
    worker.last_processing = task;
    t.run_id[task] = ++this.#last_run_id;
    const load = worker.load;
    worker.processing++;
    // Only at the two thresholds does a list change: the common case is two comparisons.
    if (load < worker.threads || load === worker.threads) this.updateLoad(worker);
    const edges = this.edges;
    const first = edges.first[task]!;
    for (let edge = first, end = first + edges.count[task]!; edge < end; edge++)
      this.#addNeed(edges.dependency[edge]!, worker.id);
    if (t.flags[task]! & FLAG_RESTRICTED) this.#useResources(task, worker, 1);
    if (this.watch !== null) this.watch.taskStarted(task, worker.id);
  }

  /** Takes a task out of its worker's processing list and books. */
  stopProcessing(task: TaskId): WorkerBook {
    const t = this.tasks;
    const worker = this.workers[t.processing_on[task]!]!;
    const before = t.previous_processing[task]!;
    const after = t.next_processing[task]!;
    if (before === NONE) worker.first_processing = after;
    else t.next_processing[before] = after;
    if (after === NONE) worker.last_processing = before;
    else t.previous_processing[after] = before;
    t.processing_on[task] = NONE;
    const flags = t.flags[task]!;
    const load = worker.load;
    worker.processing--;
    if (flags & FLAG_LONG_RUNNING) worker.long_running--;
    else if (load <= worker.threads || load === worker.threads + 1) this.updateLoad(worker);
    const edges = this.edges;
    const first = edges.first[task]!;
    for (let edge = first, end = first + edges.count[task]!; edge < end; edge++)
      this.#dropNeed(edges.dependency[edge]!, worker.id);
    if (flags & FLAG_RESTRICTED) this.#useResources(task, worker, -1);
    t.flags[task] = flags & ~(FLAG_LONG_RUNNING | FLAG_PINNED);
    if (this.watch !== null) this.watch.taskStopped(task, worker.id, (flags & FLAG_LONG_RUNNING) !== 0);
    return worker;
  }

  #addNeed(dependency: TaskId, worker: WorkerId): void {
    if (this.replicas.has(dependency, worker)) return;
    const record = this.needs.find(dependency, worker);
    if (record !== NONE) this.needs.tally[record]!++;
    else {
      this.needs.add(dependency, worker);
      if (this.watch !== null) this.watch.needBegan(dependency, worker);
    }
  }

  #dropNeed(dependency: TaskId, worker: WorkerId): void {
    if (this.needs.first_of_task[dependency] === NONE) return;
    const record = this.needs.find(dependency, worker);
    if (record === NONE || --this.needs.tally[record]! > 0) return;
    this.needs.remove(record);
    if (this.watch !== null) this.watch.needEnded(dependency, worker);
  }

  #useResources(task: TaskId, worker: WorkerBook, sign: 1 | -1): void {
    const resources = this.restrictions.get(task)?.resources;
    if (!resources) return;
    for (const [name, amount] of resources)
      worker.used_resources.set(name, (worker.used_resources.get(name) ?? 0) + sign * amount);
  }

  // ---- replicas

  /** Books a replica that is not booked yet. */
  addReplica(task: TaskId, worker: WorkerBook): void {
    this.replicas.add(task, worker.id);
    const nbytes = Math.max(0, this.tasks.nbytes[task]!);
    worker.nbytes += nbytes;
    this.held_bytes += nbytes;
    if (this.needs.first_of_task[task] !== NONE) {
      const need = this.needs.find(task, worker.id);
      if (need !== NONE) {
        this.needs.remove(need);
        this.watch?.needEnded(task, worker.id);
      }
    }
  }

  /**
   * Drops a booked replica by its record. Tasks of that worker that need it will have to fetch it again:
   * their need is booked anew.
   */
  dropReplica(record: number): void {
    const task = this.replicas.task[record]!;
    const worker = this.workers[this.replicas.owner[record]!]!;
    this.replicas.remove(record);
    const nbytes = Math.max(0, this.tasks.nbytes[task]!);
    worker.nbytes -= nbytes;
    this.held_bytes -= nbytes;
    if (this.tasks.waiters[task] === 0) return;
    let needed = 0;
    const { edges, tasks } = this;
    for (let e = edges.dependents[task]!; e !== NONE; e = edges.next[e]!) {
      const dependent = edges.dependent[e]!;
      if (tasks.state[dependent] === PROCESSING && tasks.processing_on[dependent] === worker.id) needed++;
    }
    if (needed === 0) return;
    this.needs.tally[this.needs.add(task, worker.id)] = needed;
    this.watch?.needBegan(task, worker.id);
  }

  /** Changes the size of a result (−1: unknown, which counts as none), and the books of those that hold it. */
  setNbytes(task: TaskId, nbytes: number): void {
    const before = Math.max(0, this.tasks.nbytes[task]!);
    const difference = Math.max(0, nbytes) - before;
    this.tasks.nbytes[task] = nbytes;
    if (difference === 0) return;
    const replicas = this.replicas;
    for (let r = replicas.first_of_task[task]!; r !== NONE; r = replicas.next_of_task[r]!) {
      this.workers[replicas.owner[r]!]!.nbytes += difference;
      this.held_bytes += difference;
    }
  }

  // ---- ClusterView (schedulers/policy.ts)

  threads(worker: WorkerId): number {
    return this.workers[worker]!.threads;
  }

  load(worker: WorkerId): number {
    return this.workers[worker]!.load;
  }

  host(worker: WorkerId): number {
    return this.workers[worker]!.host_id;
  }

  dependencyCount(task: TaskId): number {
    return this.edges.count[task]!;
  }

  dependency(task: TaskId, index: number): TaskId {
    return this.edges.dependency[this.edges.first[task]! + index]!;
  }

  nbytes(task: TaskId): number {
    return this.tasks.nbytes[task]!;
  }

  firstDependent(task: TaskId): number {
    return this.edges.dependents[task]!;
  }

  nextDependent(record: number): number {
    return this.edges.next[record]!;
  }

  dependent(record: number): TaskId {
    return this.edges.dependent[record]!;
  }

  order(task: TaskId): number {
    return this.tasks.order[task]!;
  }

  setOrder(task: TaskId, order: number): void {
    this.tasks.order[task] = order;
  }

  heldBytes(worker: WorkerId): number {
    return this.workers[worker]!.nbytes;
  }

  readKey(task: TaskId, target: Uint8Array): number {
    const length = this.keys.byteLength(task);
    if (length <= target.length) this.keys.copyTo(task, viewOf(target), 0);
    return length;
  }

  holds(task: TaskId, worker: WorkerId): boolean {
    return this.replicas.has(task, worker);
  }

  firstHolder(task: TaskId): number {
    return this.replicas.first_of_task[task]!;
  }

  nextHolder(record: number): number {
    return this.replicas.next_of_task[record]!;
  }

  holder(record: number): WorkerId {
    return this.replicas.owner[record]!;
  }

  firstNeed(task: TaskId): number {
    return this.needs.first_of_task[task]!;
  }

  nextNeed(record: number): number {
    return this.needs.next_of_task[record]!;
  }

  need(record: number): WorkerId {
    return this.needs.owner[record]!;
  }

  newestProcessing(worker: WorkerId): TaskId {
    return this.workers[worker]!.last_processing;
  }

  olderProcessing(task: TaskId): TaskId {
    return this.tasks.previous_processing[task]!;
  }

  stealable(task: TaskId, thief: WorkerId): boolean {
    const flags = this.tasks.flags[task]!;
    if (flags & (FLAG_PINNED | FLAG_ACTOR | FLAG_LONG_RUNNING)) return false;
    if (this.tasks.state[task] !== PROCESSING || this.steals.has(task)) return false;
    return (flags & FLAG_RESTRICTED) === 0 || this.#mayMoveTo(task, this.workers[thief]!);
  }

  /** A loose restriction says where the task is best placed, and gives way to load: as in Dask it does not hold for steals. */
  #mayMoveTo(task: TaskId, thief: WorkerBook): boolean {
    const restrictions = this.restrictions.get(task)!;
    return restrictions.loose ? hasResources(thief, restrictions) : this.#allows(task, thief);
  }

  candidates(task: TaskId): readonly WorkerId[] | null {
    if ((this.tasks.flags[task]! & FLAG_RESTRICTED) === 0) return null;
    const restrictions = this.restrictions.get(task)!;
    const known = this.#allowed.get(restrictions);
    if (known !== undefined && known.version === this.#running_version) return known.workers;
    const workers = this.#findAllowed(task, restrictions);
    this.#allowed.set(restrictions, { version: this.#running_version, workers });
    return workers;
  }

  queueable(task: TaskId): boolean {
    return (this.tasks.flags[task]! & (FLAG_RESTRICTED | FLAG_ACTOR)) === 0;
  }

  #findAllowed(task: TaskId, restrictions: Restrictions): readonly WorkerId[] | null {
    const allowed: WorkerId[] = [];
    for (let i = 0; i < this.running.length; i++) {
      const id = this.running.items[i]!;
      if (this.#allows(task, this.workers[id]!)) allowed.push(id);
    }
    if (allowed.length > 0 || !restrictions.loose) return allowed;
    return restrictions.resources === null
      ? null
      : Array.from(this.running.items.subarray(0, this.running.length)).filter((id) =>
          hasResources(this.workers[id]!, restrictions),
        );
  }

  #allows(task: TaskId, worker: WorkerBook): boolean {
    const restrictions = this.restrictions.get(task);
    if (restrictions === undefined) return true;
    const named = restrictions.workers;
    if (named !== null && !named.has(worker.address) && !named.has(worker.alias) && !named.has(worker.host))
      return false;
    return hasResources(worker, restrictions);
  }
}

function hasResources(worker: WorkerBook, restrictions: Restrictions): boolean {
  if (restrictions.resources === null) return true;
  for (const [name, amount] of restrictions.resources)
    if ((worker.resources.get(name) ?? 0) < amount) return false;
  return true;
}
