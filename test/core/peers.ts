import { InvariantError } from "../../src/base/assert.ts";
import type { ClientId, TaskId, WorkerId } from "../../src/base/ids.ts";
import type { CancelReason, Outbox } from "../../src/core/outbox.ts";
import { PAYLOAD_NONE, PAYLOAD_PENDING } from "../../src/core/payloads.ts";
import type { Scheduler } from "../../src/core/scheduler.ts";
import { STATE_NAMES } from "../../src/core/states.ts";
import type { WorkerBook } from "../../src/core/worker-book.ts";
import { keyText } from "../../src/protocol/keys.ts";

/** What the scheduler says to a worker. */
export type ToWorker =
  | { readonly op: "compute-task"; readonly key: string; readonly run_id: number }
  | { readonly op: "free-keys" | "remove-replicas"; readonly key: string }
  | { readonly op: "steal-request"; readonly key: string; readonly steal_id: number };

/** What a worker says to the scheduler. */
export type Report =
  | { readonly op: "task-finished"; readonly key: string; readonly run_id: number; readonly nbytes: number }
  | { readonly op: "task-erred" | "long-running"; readonly key: string; readonly run_id: number }
  | { readonly op: "add-keys" | "release-worker-data" | "reschedule"; readonly key: string }
  | {
      readonly op: "steal-response";
      readonly key: string;
      readonly steal_id: number;
      readonly state: string | null;
    };

type Running = { run_id: number; state: "ready" | "executing" | "long-running" };

/** A worker as it sees itself: what it was told to do and not yet told to drop, what it holds. */
export class WorkerPeer {
  readonly number: number;
  readonly book: WorkerBook;
  /** Messages from the scheduler that it has not read yet, in order. */
  readonly inbox: ToWorker[] = [];
  /** Its messages that the scheduler has not read yet, in order. */
  readonly reports: Report[] = [];
  readonly tasks = new Map<string, Running>();
  readonly data = new Set<string>();
  /** Compute-tasks out, as the scheduler's stream to it says: by key the run that it has to do. */
  readonly promised = new Map<string, number>();
  /** Everything it was ever sent, as text, until {@link World.toWorker} takes it. */
  log: string[] = [];

  constructor(number: number, book: WorkerBook) {
    this.number = number;
    this.book = book;
  }

  /** Reads one message; the answers go to {@link reports}. */
  receive(): boolean {
    const message = this.inbox.shift();
    if (message === undefined) return false;
    switch (message.op) {
      case "compute-task":
        if (this.data.has(message.key))
          this.reports.push({ op: "task-finished", key: message.key, run_id: message.run_id, nbytes: 8 });
        else this.tasks.set(message.key, { run_id: message.run_id, state: "ready" });
        break;
      case "free-keys":
        this.tasks.delete(message.key);
        this.data.delete(message.key);
        break;
      case "remove-replicas":
        if (this.data.delete(message.key)) this.reports.push({ op: "release-worker-data", key: message.key });
        break;
      case "steal-request":
        this.#answer(message.key, message.steal_id);
    }
    return true;
  }

  /** As a dask worker answers: a task that has not started is given up. */
  #answer(key: string, steal_id: number): void {
    const task = this.tasks.get(key);
    const state = task?.state ?? (this.data.has(key) ? "memory" : null);
    if (state === "ready") this.tasks.delete(key);
    this.reports.push({ op: "steal-response", key, steal_id, state });
  }

  /** Runs a task to its end. */
  finish(key: string, nbytes = 8): void {
    const task = this.tasks.get(key);
    if (task === undefined) return;
    this.tasks.delete(key);
    this.data.add(key);
    this.reports.push({ op: "task-finished", key, run_id: task.run_id, nbytes });
  }

  fail(key: string): void {
    const task = this.tasks.get(key);
    if (task === undefined) return;
    this.reports.push({ op: "task-erred", key, run_id: task.run_id });
  }
}

/** A client as it sees itself: the last it heard of each key that it wants. */
export class ClientPeer {
  readonly name: string;
  readonly id: ClientId;
  readonly heard = new Map<string, string>();
  log: string[] = [];

  constructor(name: string, id: ClientId) {
    this.name = name;
    this.id = id;
  }
}

/**
 * Follows what each peer is told, and throws where a promise of the protocol is broken (INVARIANTS M4, M7, M9, M11,
 * C1): the checker of all tests that drive a scheduler.
 */
export class PeerOutbox implements Outbox {
  scheduler!: Scheduler;
  readonly workers = new Map<WorkerId, WorkerPeer>();
  readonly clients = new Map<ClientId, ClientPeer>();
  compute_tasks = 0;
  #last_run_id = 0;

  keyOf(task: TaskId): string {
    return keyText(this.scheduler.books.keys.bytes(task));
  }

  computeTask(worker: WorkerId, task: TaskId): void {
    const { books } = this.scheduler;
    const peer = this.#worker(worker);
    const key = this.keyOf(task);
    const run_id = books.tasks.run_id[task]!;
    const kind = books.tasks.payload_kind[task]!;
    if (peer.book.status !== "running")
      this.#breach(task, `M7: sent to a worker that is ${peer.book.status}`);
    if (books.tasks.processing_on[task] !== worker) this.#breach(task, "M7: sent to another worker");
    if (run_id <= this.#last_run_id) this.#breach(task, `M4: run ${run_id} after ${this.#last_run_id}`);
    if (kind === PAYLOAD_NONE || kind === PAYLOAD_PENDING) this.#breach(task, "sent without a payload");
    for (let i = 0; i < books.dependencyCount(task); i++)
      if (books.firstHolder(books.dependency(task, i)) < 0) this.#breach(task, "M7: an input has no holder");
    if (peer.promised.has(key)) this.#breach(task, "M8: sent again without free-keys");
    peer.promised.set(key, run_id);
    this.#last_run_id = run_id;
    this.compute_tasks++;
    peer.inbox.push({ op: "compute-task", key, run_id });
    peer.log.push(`compute-task ${key}`);
  }

  freeKeys(worker: WorkerId, task: TaskId): void {
    this.free(this.#worker(worker), this.keyOf(task));
  }

  freeReplica(worker: WorkerId, task: TaskId): void {
    this.freeKeys(worker, task);
  }

  free(peer: WorkerPeer, key: string): void {
    peer.promised.delete(key);
    peer.inbox.push({ op: "free-keys", key });
    peer.log.push(`free-keys ${key}`);
  }

  removeReplicas(worker: WorkerId, task: TaskId): void {
    if (this.scheduler.books.replicas.has(task, worker))
      this.#breach(task, "M11: a booked replica is removed");
    this.remove(this.#worker(worker), this.keyOf(task));
  }

  remove(peer: WorkerPeer, key: string): void {
    peer.inbox.push({ op: "remove-replicas", key });
    peer.log.push(`remove-replicas ${key}`);
  }

  stealRequest(worker: WorkerId, task: TaskId, steal_id: number): void {
    const { books } = this.scheduler;
    const peer = this.#worker(worker);
    const key = this.keyOf(task);
    const steal = books.steals.get(task);
    if (steal === undefined || steal.id !== steal_id)
      this.#breach(task, "M9: a steal that is not in the books");
    if (books.tasks.processing_on[task] !== worker) this.#breach(task, "M9: stolen from another worker");
    if (steal?.thief.status !== "running") this.#breach(task, "W12: the thief does not run");
    peer.inbox.push({ op: "steal-request", key, steal_id });
    peer.log.push(`steal-request ${key}`);
  }

  keyInMemory(client: ClientId, task: TaskId): void {
    this.#tell(client, task, "key-in-memory", true);
  }

  taskErred(client: ClientId, task: TaskId): void {
    this.#tell(client, task, "task-erred", true);
  }

  lostData(client: ClientId, task: TaskId): void {
    this.#tell(client, task, "lost-data", true);
  }

  cancelledKeys(client: ClientId, task: TaskId, reason: CancelReason): void {
    this.#tell(client, task, "cancelled-keys", false, reason);
  }

  taskRetried(client: ClientId, task: TaskId): void {
    this.#tell(client, task, "task-retried", true);
  }

  #tell(client: ClientId, task: TaskId, op: string, wanted: boolean, reason = ""): void {
    const peer = this.clients.get(client);
    if (peer === undefined) this.#breach(task, `${op} to client ${client}, which is gone`);
    if (wanted && !this.scheduler.books.wants.has(task, client))
      this.#breach(task, `${op} to who wants it not`);
    const key = this.keyOf(task);
    peer.heard.set(key, op);
    peer.log.push(reason === "" ? `${op} ${key}` : `${op} ${key} (${reason})`);
  }

  #worker(worker: WorkerId): WorkerPeer {
    const peer = this.workers.get(worker);
    if (peer === undefined) throw new InvariantError(`a message to worker ${worker}, which is gone`);
    return peer;
  }

  #breach(task: TaskId, rule: string): never {
    const state = STATE_NAMES[this.scheduler.books.tasks.state[task]!];
    throw new InvariantError(`${rule}: ${this.keyOf(task)} (${state})`);
  }
}
