import { NONE, type TaskId } from "../base/ids.ts";
import type { Scheduler } from "../core/scheduler.ts";
import {
  ERRED,
  FORGOTTEN,
  MEMORY,
  NO_WORKER,
  PROCESSING,
  QUEUED,
  RELEASED,
  STATE_NAMES,
  type TaskStateName,
  WAITING,
} from "../core/states.ts";
import type { WorkerBook } from "../core/worker-book.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { type KeyBytes, keyBytes, keyText } from "../protocol/keys.ts";
import { toNumber, WireMap, type WireValue } from "../protocol/values.ts";
import type { CoreCluster } from "./core-cluster.ts";
import type { WorkerPeer, WorkerStatus } from "./peers/cluster.ts";
import type { RpcContext } from "./rpc/context.ts";
import { sortedWorkers } from "./rpc/identity.ts";

/** The figures of `/json/counts.json`, by Dask's names (distributed.http.scheduler.json). */
export interface ClusterCounts {
  readonly bytes: number;
  readonly clients: number;
  readonly cores: number;
  readonly erred: number;
  readonly hosts: number;
  readonly idle: number;
  readonly memory: number;
  readonly processing: number;
  readonly released: number;
  readonly saturated: number;
  readonly tasks: number;
  readonly unrunnable: number;
  readonly waiting: number;
  readonly waiting_data: number;
  readonly workers: number;
  readonly desired_workers: number;
}

/** How many workers stand how, by the labels of Dask's metric. */
export interface WorkerCounts {
  readonly idle: number;
  readonly partially_saturated: number;
  readonly saturated: number;
  readonly paused: number;
  readonly retiring: number;
}

/** What pages show of a worker. */
export interface WorkerRow {
  readonly address: string;
  readonly name: string;
  readonly host: string;
  readonly status: WorkerStatus;
  readonly nthreads: number;
  /** 0: no limit was given. */
  readonly memory_limit_bytes: number;
  /** Of its process, as its last heartbeat said; null: it said nothing. */
  readonly memory_bytes: number | null;
  /** Percent of one core, as its last heartbeat said. */
  readonly cpu_percent: number | null;
  readonly processing: number;
  readonly in_memory: number;
  /** Of the data that it holds. */
  readonly nbytes: number;
  readonly last_seen_s: number;
}

/** What pages show of a task. */
export interface TaskFacts {
  readonly key: string;
  readonly state: TaskStateName;
  readonly prefix: string;
  /** -1: not known. */
  readonly nbytes: number;
  readonly worker: string | null;
  readonly holders: readonly string[];
  readonly dependencies: readonly string[];
  readonly dependents: readonly string[];
  readonly exception_text: string | null;
}

/** A failed task. */
export interface Failure {
  readonly key: string;
  readonly worker: string;
  readonly exception_text: string;
  readonly traceback_text: string;
}

/** Dask's defaults of `unknown-task-duration` and `adaptive.target-duration`: a page is no reason to learn durations. */
const TASK_SECONDS = 0.5;
const TARGET_SECONDS = 5;
/** Neighbours of a task that a page lists. */
const NEIGHBOURS_MAX = 100;

/**
 * Reads the books for those who ask from outside: pages, metrics. Keeps nothing itself, so that what nobody asks for
 * costs nothing; one reading walks the workers and, for two of the counts, one column of the tasks.
 */
export class ClusterReader {
  readonly context: RpcContext;
  readonly #scheduler: Scheduler;
  readonly #cluster: CoreCluster;
  readonly #address: () => string;

  /** `address`: where the server itself can be reached from here. */
  constructor(scheduler: Scheduler, cluster: CoreCluster, context: RpcContext, address: () => string) {
    this.#scheduler = scheduler;
    this.#address = address;
    this.#cluster = cluster;
    this.context = context;
  }

  /** Counts of the scheduler's whole life. */
  get ledger(): Scheduler["counts"] {
    return this.#scheduler.counts;
  }

  /**
   * Asks the server itself, as any peer would: what is blocked for them is blocked here. Throws as
   * {@link import("./rpc/worker-pool.ts").WorkerPool.request}.
   */
  request(op: string, fields: Readonly<Record<string, WireValue>>, timeout_ms: number): Promise<WireValue> {
    return this.context.pool.request(this.#address(), WireMap.of({ op, ...fields }), timeout_ms);
  }

  counts(): ClusterCounts {
    const { books } = this.#scheduler;
    const { state_counts } = books;
    const { workers, clients } = this.#cluster;
    let bytes = 0;
    let cores = 0;
    let memory = 0;
    for (const peer of workers.values()) {
      const book = this.#cluster.book(peer);
      bytes += book.nbytes;
      cores += peer.nthreads;
      memory += books.replicas.count_of_owner[book.id]!;
    }
    return {
      bytes,
      // Dask counts the name under which it keeps what was fired and forgotten.
      clients: clients.size + 1,
      cores,
      erred: state_counts[ERRED]!,
      hosts: books.hosts,
      idle: books.underloaded.length,
      memory,
      processing: state_counts[PROCESSING]!,
      released: state_counts[RELEASED]!,
      saturated: books.overloaded.length,
      tasks: books.tasks.live,
      unrunnable: state_counts[NO_WORKER]!,
      ...this.#waiting(),
      workers: workers.size,
      desired_workers: this.desiredWorkers(),
    };
  }

  /** How many tasks are in each state, by Dask's names; `forgotten` counts all that ever were. */
  taskStates(): Record<TaskStateName, number> {
    const { state_counts } = this.#scheduler.books;
    // The count of the forgotten only grows, beyond the column's sign in the end.
    const pairs = STATE_NAMES.map((name, state) => [name, state_counts[state]! >>> 0]);
    return Object.fromEntries(pairs) as Record<TaskStateName, number>;
  }

  workerStates(): WorkerCounts {
    const { books } = this.#scheduler;
    const running = books.running.length;
    const idle = books.underloaded.length;
    const saturated = books.overloaded.length;
    let paused = 0;
    for (const peer of this.#cluster.workers.values()) if (peer.status === "paused") paused++;
    const retiring = this.#cluster.workers.size - paused - running;
    return { idle, partially_saturated: running - idle - saturated, saturated, paused, retiring };
  }

  /** Dask's `adaptive_target` for tasks that all take {@link TASK_SECONDS}. */
  desiredWorkers(): number {
    const { state_counts } = this.#scheduler.books;
    const peers = [...this.#cluster.workers.values()];
    const waiting = state_counts[QUEUED]! + state_counts[NO_WORKER]!;
    const processing = state_counts[PROCESSING]!;
    let cpu = Math.ceil(((processing + waiting) * TASK_SECONDS) / TARGET_SECONDS);
    cpu = Math.min(cpu, processing + waiting);
    let threads = 0;
    let limit_bytes = 0;
    let used_bytes = 0;
    for (const peer of peers) {
      threads += peer.nthreads;
      limit_bytes += peer.memory_limit_bytes;
      used_bytes += this.#cluster.book(peer).nbytes;
    }
    if (threads > 0) cpu = Math.ceil((cpu / threads) * peers.length);
    if (waiting > 0 && peers.length === 0) cpu = Math.max(1, cpu);
    const crowded = used_bytes > 0.6 * limit_bytes && limit_bytes > 0;
    const target = Math.max(crowded ? 2 * peers.length : 0, cpu);
    if (target < peers.length) return peers.length - this.#closable(peers.length - target);
    return target;
  }

  /** The first so many workers, in the order of their addresses. */
  workers(count_max: number): WorkerRow[] {
    return sortedWorkers(this.context)
      .slice(0, count_max)
      .map((peer) => this.#row(peer));
  }

  /** Null: no such worker. */
  worker(address: string): WorkerRow | null {
    const peer = this.#cluster.workers.get(address);
    return peer === undefined ? null : this.#row(peer);
  }

  /** Texts of the keys that a worker processes, the first so many. Null: no such worker. */
  processing(address: string, count_max: number): string[] | null {
    const peer = this.#cluster.workers.get(address);
    if (peer === undefined) return null;
    const { tasks } = this.#scheduler.books;
    const keys: string[] = [];
    let task = this.#cluster.book(peer).first_processing;
    for (; task !== NONE && keys.length < count_max; task = tasks.next_processing[task]!)
      keys.push(this.#text(task));
    return keys;
  }

  /** The first so many failed tasks. */
  failures(count_max: number): Failure[] {
    const found: Failure[] = [];
    for (const [task, error] of this.#scheduler.books.errors) {
      if (found.length >= count_max) break;
      const { worker, exception_text, traceback_text } = error;
      found.push({ key: this.#text(task), worker, exception_text, traceback_text });
    }
    return found;
  }

  /** The task whose key prints so. Null: none. */
  task(text: string): TaskFacts | null {
    const { books } = this.#scheduler;
    const task = this.#find(text);
    if (task === NONE) return null;
    const { tasks, edges } = books;
    const first = edges.first[task]!;
    const end = first + Math.min(NEIGHBOURS_MAX, edges.count[task]!);
    const dependencies: string[] = [];
    for (let e = first; e < end; e++) dependencies.push(this.#text(edges.dependency[e]!));
    const dependents: string[] = [];
    for (
      let e = edges.dependents[task]!;
      e !== NONE && dependents.length < NEIGHBOURS_MAX;
      e = edges.next[e]!
    )
      dependents.push(this.#text(edges.dependent[e]!));
    const key = books.keys.bytes(task);
    const on = tasks.state[task] === PROCESSING ? tasks.processing_on[task]! : NONE;
    return {
      key: keyText(key),
      state: STATE_NAMES[tasks.state[task]!]!,
      prefix: this.#cluster.prefix(key),
      nbytes: tasks.nbytes[task]!,
      worker: on === NONE ? null : books.worker(on).address,
      holders: this.#cluster.holders(key) ?? [],
      dependencies,
      dependents,
      exception_text: books.errors.get(task)?.exception_text ?? null,
    };
  }

  /** The canonical bytes of the task's key, and where it runs. Null: it runs nowhere. */
  runningKey(text: string): { readonly key: KeyBytes; readonly worker: string } | null {
    const { books } = this.#scheduler;
    const task = this.#find(text);
    if (task === NONE || books.tasks.state[task] !== PROCESSING) return null;
    return { key: books.keys.bytes(task), worker: books.worker(books.tasks.processing_on[task]!).address };
  }

  /** Tasks that wait for data, and data that tasks wait for: the two counts that no table keeps. */
  #waiting(): { waiting: number; waiting_data: number } {
    const { tasks } = this.#scheduler.books;
    const { state, waiting_on, waiters, top } = tasks;
    let waiting = 0;
    let waiting_data = 0;
    for (let task = 0; task < top; task++) {
      if (state[task] === FORGOTTEN) continue;
      if (state[task] === WAITING && waiting_on[task]! > 0) waiting++;
      if (waiters[task]! > 0) waiting_data++;
    }
    return { waiting, waiting_data };
  }

  /** Workers that could go without anyone missing them: idle, and without the last copy of anything. */
  #closable(count_max: number): number {
    const { replicas, tasks } = this.#scheduler.books;
    let closable = 0;
    for (const peer of this.#cluster.workers.values()) {
      if (closable >= count_max) break;
      const book = this.#cluster.book(peer);
      if (book.processing > 0) continue;
      let r = replicas.first_of_owner[book.id]!;
      while (
        r !== NONE &&
        (tasks.state[replicas.task[r]!] !== MEMORY || !replicas.isSingle(replicas.task[r]!))
      )
        r = replicas.next_of_owner[r]!;
      if (r === NONE) closable++;
    }
    return closable;
  }

  #row(peer: WorkerPeer): WorkerRow {
    const book: WorkerBook = this.#cluster.book(peer);
    return {
      address: peer.address,
      name: String(peer.name),
      host: book.host,
      status: peer.status,
      nthreads: peer.nthreads,
      memory_limit_bytes: peer.memory_limit_bytes,
      memory_bytes: metric(peer.metrics, "memory"),
      cpu_percent: metric(peer.metrics, "cpu"),
      processing: book.processing,
      in_memory: this.#scheduler.books.replicas.count_of_owner[book.id]!,
      nbytes: book.nbytes,
      last_seen_s: peer.last_seen_ms / 1000,
    };
  }

  #text(task: TaskId): string {
    return keyText(this.#scheduler.books.keys.bytes(task));
  }

  #find(text: string): TaskId {
    const { keys } = this.#scheduler.books;
    for (const value of keysPrintedAs(text)) {
      const bytes = bytesOf(value);
      const task = bytes === null ? NONE : keys.findKey(bytes);
      if (task !== NONE) return task;
    }
    return NONE;
  }
}

function metric(metrics: WireMap, name: string): number | null {
  return toNumber(metrics.get(name)) ?? null;
}

/** Null: no key can be this. */
function bytesOf(value: WireValue): KeyBytes | null {
  try {
    return keyBytes(value);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}

/** A string stands for itself; what looks like a tuple of strings and numbers may be one, too. */
function keysPrintedAs(text: string): WireValue[] {
  if (!text.startsWith("(")) return [text];
  const json = text.replaceAll("(", "[").replace(/,?\)/g, "]").replaceAll("'", '"');
  try {
    return [text, JSON.parse(json) as WireValue];
  } catch (error) {
    if (error instanceof SyntaxError) return [text];
    throw error;
  }
}
