import { InvariantError } from "../../src/base/assert.ts";
import { NONE, type TaskId } from "../../src/base/ids.ts";
import type { Restrictions, TaskError } from "../../src/core/books.ts";
import type { GraphBuilder, GraphResult } from "../../src/core/graph-builder.ts";
import { PAYLOAD_PICKLED, type Payload } from "../../src/core/payloads.ts";
import { Scheduler } from "../../src/core/scheduler.ts";
import { ERRED, MEMORY, PROCESSING, STATE_NAMES } from "../../src/core/states.ts";
import { validate } from "../../src/core/validate.ts";
import type { WorkerStatus } from "../../src/core/worker-book.ts";
import { keyBytes } from "../../src/protocol/keys.ts";
import type { Policy } from "../../src/schedulers/policy.ts";
import { WorkStealingPolicy } from "../../src/schedulers/work-stealing.ts";
import { ClientPeer, PeerOutbox, type Report, WorkerPeer } from "./peers.ts";

export type Graph = Readonly<Record<string, readonly string[]>>;

export interface SubmitOptions {
  readonly client?: string;
  /** Without it, the keys that nothing in the graph depends on. */
  readonly wanted?: readonly string[];
  readonly user_priority?: number;
  readonly retries?: number;
  readonly restrictions?: Readonly<Record<string, Partial<Restrictions>>>;
  readonly actors?: readonly string[];
  /** Keys whose payloads come later. */
  readonly pending?: readonly string[];
  readonly abort?: boolean;
}

/** A scheduler with workers and clients that the test moves by hand: each verb ends with all books checked. */
export class World {
  readonly scheduler: Scheduler;
  readonly outbox = new PeerOutbox();
  readonly workers = new Map<number, WorkerPeer>();
  readonly clients = new Map<string, ClientPeer>();
  /** Off: messages stay in the workers' inboxes until the test lets them read. */
  readonly prompt: boolean;
  /** What workers say that each run of a task took; 0: nothing. */
  run_s = 0;
  again_ns = Number.POSITIVE_INFINITY;
  #generation = 0;
  #batching = false;

  /** Tasks that are placed, and let go of, at once. */
  readonly #slice: number;

  constructor(
    options: { policy?: Policy; allowed_failures?: number; prompt?: boolean; slice?: number } = {},
  ) {
    this.#slice = options.slice ?? Number.POSITIVE_INFINITY;
    this.prompt = options.prompt ?? true;
    this.scheduler = new Scheduler({
      policy: options.policy ?? new WorkStealingPolicy(1),
      outbox: this.outbox,
      key_seed: 7,
      allowed_failures: options.allowed_failures ?? 3,
    });
    this.outbox.scheduler = this.scheduler;
  }

  // ---- what a test asks

  task(key: string): TaskId {
    const bytes = keyBytes(key);
    return this.scheduler.books.keys.findKey(bytes);
  }

  stateOf(key: string): string {
    const task = this.task(key);
    return task === NONE ? "forgotten" : STATE_NAMES[this.scheduler.books.tasks.state[task]!]!;
  }

  /** Number of the worker that processes the key, or -1. */
  workerOf(key: string): number {
    const task = this.task(key);
    const id = task === NONE ? NONE : this.scheduler.books.tasks.processing_on[task]!;
    return id === NONE ? NONE : this.outbox.workers.get(id)!.number;
  }

  runOf(key: string): number {
    return this.scheduler.books.tasks.run_id[this.task(key)]!;
  }

  holdersOf(key: string): number[] {
    const { replicas } = this.scheduler.books;
    const holders: number[] = [];
    for (let r = replicas.first_of_task[this.task(key)]!; r !== NONE; r = replicas.next_of_task[r]!)
      holders.push(this.outbox.workers.get(replicas.owner[r]!)!.number);
    return holders.sort();
  }

  /** What the worker was sent since the last time, as text. */
  toWorker(number: number): string[] {
    return this.worker(number).log.splice(0);
  }

  toClient(name = "alice"): string[] {
    return this.client(name).log.splice(0);
  }

  worker(number: number): WorkerPeer {
    const worker = this.workers.get(number);
    if (worker === undefined) throw new Error(`the test knows no worker ${number}`);
    return worker;
  }

  client(name: string): ClientPeer {
    let client = this.clients.get(name);
    if (client === undefined) {
      client = new ClientPeer(name, this.scheduler.clientJoined(name));
      this.clients.set(name, client);
      this.outbox.clients.set(client.id, client);
    }
    return client;
  }

  // ---- workers

  join(
    number: number,
    facts: {
      threads?: number;
      host?: string;
      alias?: string;
      resources?: Record<string, number>;
      memory_limit_bytes?: number;
    } = {},
    status: WorkerStatus = "running",
  ): WorkerPeer {
    return this.#event(() => {
      const host = facts.host ?? "10.0.0.1";
      const book = this.scheduler.workerJoined({
        address: `tcp://${host}:${1000 + number}`,
        host,
        alias: facts.alias ?? `w${number}`,
        threads: facts.threads ?? 1,
        resources: new Map(Object.entries(facts.resources ?? {})),
        memory_limit_bytes: facts.memory_limit_bytes ?? 0,
      });
      const peer = new WorkerPeer(number, book);
      this.workers.set(number, peer);
      this.outbox.workers.set(book.id, peer);
      this.scheduler.workerStatusChanged(book, status);
      return peer;
    });
  }

  status(number: number, status: WorkerStatus): void {
    this.#event(() => this.scheduler.workerStatusChanged(this.worker(number).book, status));
  }

  lose(number: number, expected = false): void {
    this.#event(() => {
      const { book } = this.worker(number);
      this.scheduler.workerLeft(book, expected, (task) => errorOf(task, "KilledWorker"));
      this.workers.delete(number);
      this.outbox.workers.delete(book.id);
    });
  }

  // ---- clients

  submit(graph: Graph, options: SubmitOptions = {}): GraphResult {
    return this.#event(() => {
      const client = this.client(options.client ?? "alice");
      const builder = this.scheduler.graph({
        client: client.id,
        buffer: new Uint8Array(64),
        generation: this.#generation++,
        user_priority: -(options.user_priority ?? 0),
      });
      fill(builder, graph, options);
      if (options.abort) {
        builder.abort();
        return { tasks: 0, lost: [] };
      }
      const wanted = options.wanted ?? sinksOf(graph);
      for (const key of wanted) client.heard.delete(key);
      return builder.commit(wanted.map((key) => intern(builder, key)));
    });
  }

  /** The client asks for a key by name, as a future that was sent to it does. */
  desire(key: string, name = "alice"): void {
    this.#event(() => {
      const client = this.client(name);
      client.heard.delete(key);
      this.scheduler.clientDesiresKey(client.id, this.task(key));
    });
  }

  release(key: string, name = "alice"): void {
    this.#event(() => {
      if (this.task(key) !== NONE) this.scheduler.clientReleasesKey(this.client(name).id, this.task(key));
    });
  }

  cancel(key: string, name = "alice", force = false): void {
    this.#event(() => {
      if (this.task(key) !== NONE) this.scheduler.cancelKey(this.client(name).id, this.task(key), force);
    });
  }

  retry(key: string): boolean {
    return this.#event(() => this.task(key) !== NONE && this.scheduler.retryKey(this.task(key)));
  }

  /** What these keys have done is void, all of it together. */
  recompute(...keys: readonly string[]): void {
    this.#event(() => this.scheduler.recompute(keys.map((key) => this.task(key)).filter((t) => t !== NONE)));
  }

  restrict(key: string, restrictions: Restrictions | null): void {
    this.#event(() => this.scheduler.books.restrict(this.task(key), restrictions));
  }

  leave(name = "alice"): void {
    this.#event(() => {
      const client = this.client(name);
      this.scheduler.clientLeft(client.id);
      this.clients.delete(name);
      this.outbox.clients.delete(client.id);
    });
  }

  /** The client puts data on a worker. */
  scatter(key: string, number: number, name = "alice", nbytes = 8): void {
    this.#event(() => {
      const { books } = this.scheduler;
      const bytes = keyBytes(key);
      const task = books.internKey(bytes);
      const client = this.client(name);
      client.heard.delete(key);
      const worker = this.worker(number);
      worker.tasks.delete(key);
      worker.promised.delete(key);
      worker.data.add(key);
      this.scheduler.dataReceived(worker.book, task, nbytes, 0, client.id);
    });
  }

  /** A policy of the test's own asks for a steal. */
  steal(task: TaskId, thief: number): void {
    this.#event(() => this.scheduler.steal(task, thief));
  }

  /** The payload of a task that was submitted without. */
  payload(key: string, frames: readonly number[] = [4, 4]): void {
    this.#event(() => {
      const { segments } = this.scheduler.books.tasks;
      const segment = segments.add(new Uint8Array(64));
      const payload: Payload = { kind: PAYLOAD_PICKLED, segment, offset: 0, frame_bytes: frames };
      this.scheduler.payloadArrived(this.task(key), payload);
      segments.release(segment);
    });
  }

  failTask(key: string): void {
    this.#event(() => this.scheduler.taskFailed(this.task(key), errorOf(this.task(key), "unpacker")));
  }

  // ---- what workers do, each read by the scheduler at once

  /** Runs a task to its end on the worker that was given it, or on `number`, which may have no business with it. */
  finish(key: string, number = this.workerOf(key), nbytes = 8): void {
    const worker = this.worker(number);
    if (worker.tasks.has(key)) worker.finish(key, nbytes);
    else worker.reports.push({ op: "task-finished", key, run_id: this.#runOn(worker, key), nbytes });
    this.readAll(number);
  }

  /** A report of a run that may be over. */
  finishRun(key: string, number: number, run_id: number): void {
    this.say(number, { op: "task-finished", key, run_id, nbytes: 8 });
  }

  err(key: string, number = this.workerOf(key)): void {
    this.worker(number).fail(key);
    this.readAll(number);
  }

  /** Finishes whatever is processing until nothing is. */
  finishAll(): void {
    for (let rounds = 0; ; rounds++) {
      if (rounds > 10_000) throw new InvariantError("L1: there is no end to the work");
      const worker = [...this.workers.values()].find((w) => w.tasks.size > 0);
      if (worker === undefined) return;
      for (const key of [...worker.tasks.keys()]) if (worker.tasks.has(key)) this.finish(key, worker.number);
    }
  }

  start(key: string, number = this.workerOf(key)): void {
    const task = this.worker(number).tasks.get(key);
    if (task !== undefined) task.state = "executing";
  }

  say(number: number, report: Report): void {
    this.worker(number).reports.push(report);
    this.readAll(number);
  }

  addKey(key: string, number: number): void {
    this.worker(number).data.add(key);
    this.say(number, { op: "add-keys", key });
  }

  dropKey(key: string, number: number): void {
    this.worker(number).data.delete(key);
    this.say(number, { op: "release-worker-data", key });
  }

  /** The worker's answer to a steal request for the key that waits in its inbox (the world is not prompt). */
  answerSteal(key: string, number: number, state: string | null): void {
    const peer = this.worker(number);
    const at = peer.inbox.findIndex((m) => m.op === "steal-request" && m.key === key);
    const message = peer.inbox.splice(at, 1)[0];
    if (message?.op !== "steal-request") throw new Error(`worker ${number} was not asked for ${key}`);
    if (state === "ready") peer.tasks.delete(key);
    this.say(number, { op: "steal-response", key, steal_id: message.steal_id, state });
  }

  /** The scheduler reads all that the worker has said, message by message. */
  readAll(number: number): void {
    const worker = this.workers.get(number);
    while (worker !== undefined && worker.reports.length > 0) this.read(number);
  }

  /** The scheduler reads the next message of the worker. */
  read(number: number): void {
    this.#event(() => {
      const worker = this.worker(number);
      const report = worker.reports.shift();
      if (report !== undefined) this.#apply(worker, report);
    });
  }

  /** The scheduler gets a report, from wherever it comes; as in the server, unknown keys are answered at the edge. */
  #apply(peer: WorkerPeer, report: Report): void {
    const { scheduler } = this;
    const task = this.task(report.key);
    const { book } = peer;
    if (task === NONE) {
      if (report.op === "task-finished") this.outbox.free(peer, report.key);
      else if (report.op === "add-keys") this.outbox.remove(peer, report.key);
      return;
    }
    switch (report.op) {
      case "task-finished":
        if (peer.promised.get(report.key) === report.run_id) peer.promised.delete(report.key);
        scheduler.taskFinished(book, task, report.run_id, report.nbytes, 0, this.run_s);
        break;
      case "task-erred":
        scheduler.taskErred(book, task, report.run_id, errorOf(task, "ValueError"));
        break;
      case "long-running":
        scheduler.taskLongRunning(book, task, report.run_id);
        break;
      case "reschedule":
        scheduler.taskRescheduled(book, task);
        break;
      case "add-keys":
        scheduler.keyAdded(book, task);
        break;
      case "release-worker-data":
        scheduler.keyReleased(book, task);
        break;
      case "steal-response":
        if (report.state === "ready" && scheduler.books.steals.get(task)?.id === report.steal_id)
          peer.promised.delete(report.key);
        scheduler.stealAnswered(book, task, report.steal_id, report.state);
    }
  }

  #runOn(worker: WorkerPeer, key: string): number {
    return worker.promised.get(key) ?? (this.task(key) === NONE ? 1 : this.runOf(key));
  }

  // ---- batches

  /** Several verbs in one batch: one schedule at the end. */
  batch(verbs: () => void): void {
    this.#batching = true;
    verbs();
    this.#batching = false;
    this.#endBatch();
  }

  /** A batch without events, some time later. */
  wait(ns: number): void {
    this.scheduler.now_ns += ns;
    this.#event(() => undefined);
  }

  #event<T>(event: () => T): T {
    const result = event();
    validate(this.scheduler);
    if (!this.#batching) this.#endBatch();
    return result;
  }

  #endBatch(): void {
    const { scheduler } = this;
    do {
      this.again_ns = scheduler.schedule(this.#slice);
      validate(scheduler);
      if (this.#slice === Number.POSITIVE_INFINITY && scheduler.unfinished)
        throw new InvariantError("ready tasks are left over");
    } while (scheduler.unfinished);
    this.checkClients();
    scheduler.endBatch();
    validate(scheduler);
    if (!this.prompt) return;
    for (const [number, worker] of this.workers) {
      while (worker.receive());
      this.readAll(number);
    }
  }

  /** C3: what a client heard last of a key that it wants agrees with the key's state. */
  checkClients(): void {
    const { books } = this.scheduler;
    for (const client of this.clients.values())
      for (let r = books.wants.first_of_owner[client.id]!; r !== NONE; r = books.wants.next_of_owner[r]!) {
        const task = books.wants.task[r]!;
        const state = books.tasks.state[task];
        const heard = client.heard.get(this.outbox.keyOf(task)) ?? "nothing";
        const done = state === MEMORY ? "key-in-memory" : state === ERRED ? "task-erred" : null;
        const right = done === null ? !FINAL.has(heard) : heard === done;
        if (!right)
          throw new InvariantError(
            `C3: ${client.name} heard ${heard} of ${this.outbox.keyOf(task)}, which is ${STATE_NAMES[state!]}`,
          );
      }
  }

  /** Tasks that are processing anywhere. */
  get processing(): number {
    let count = 0;
    const { state, top } = this.scheduler.books.tasks;
    for (let task = 0; task < top; task++) if (state[task] === PROCESSING) count++;
    return count;
  }
}

function intern(builder: GraphBuilder, key: string): TaskId {
  const bytes = keyBytes(key);
  return builder.internKey(bytes);
}

function fill(builder: GraphBuilder, graph: Graph, options: SubmitOptions): void {
  const pending = new Set(options.pending ?? []);
  const payload = { kind: PAYLOAD_PICKLED, offset: 0, header_bytes: 4, body_bytes: 4 };
  let order = 0;
  for (const [key, inputs] of Object.entries(graph)) {
    const task = intern(builder, key);
    const ids = inputs.map((input) => intern(builder, input));
    builder.define(task, pending.has(key) ? null : payload, ids, 0, ids.length, order++);
    const restrictions = options.restrictions?.[key];
    builder.annotate(task, {
      ...(options.retries === undefined ? {} : { retries: options.retries }),
      ...(options.actors?.includes(key) ? { actor: true } : {}),
      ...(restrictions === undefined ? {} : { restrictions: { ...UNRESTRICTED, ...restrictions } }),
    });
  }
}

const FINAL = new Set(["key-in-memory", "task-erred", "cancelled-keys"]);
const UNRESTRICTED: Restrictions = { workers: null, loose: false, resources: null };

function errorOf(task: TaskId, text: string): TaskError {
  return {
    blame: task,
    exception: null,
    traceback: null,
    exception_text: text,
    traceback_text: "",
    worker: "",
  };
}

function sinksOf(graph: Graph): string[] {
  const inputs = new Set(Object.values(graph).flat());
  return Object.keys(graph).filter((key) => !inputs.has(key));
}
