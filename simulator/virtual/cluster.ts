import { InvariantError } from "../../src/base/assert.ts";
import { type ClientId, NONE, type TaskId, type WorkerId } from "../../src/base/ids.ts";
import { Prng } from "../../src/base/prng.ts";
import type { Outbox } from "../../src/core/outbox.ts";
import { Scheduler } from "../../src/core/scheduler.ts";
import { DEFAULT_DASK_SETTINGS } from "../../src/schedulers/dask/settings.ts";
import { createPolicy } from "../../src/schedulers/index.ts";
import { EventHeap } from "../clock/event-heap.ts";
import { type TransferModel, transferModel } from "../network/models.ts";
import type { Workload } from "../workloads/index.ts";
import type { VirtualOptions } from "./options.ts";
import { Submitter } from "./submitter.ts";
import { TimedWorker } from "./timed-worker.ts";

/** A task of a size that nobody recorded: as a zero worker's result. */
const NBYTES_UNKNOWN = 20;

/** When and where each task ran, by its position in the workload; times ns, −1: it did not. */
export interface Timeline {
  readonly worker: Int32Array;
  readonly assigned_ns: Float64Array;
  readonly start_ns: Float64Array;
  readonly stop_ns: Float64Array;
}

export interface VirtualCounts {
  events: number;
  invocations: number;
  transfers: number;
  bytes_moved: number;
  busy_ns: number;
}

/** What one worker fetches from another in one go. */
interface Transfer {
  readonly worker: TimedWorker;
  readonly inputs: readonly TaskId[];
  readonly from: WorkerId;
}

/**
 * The core and a policy, as they serve real workers, over timed workers: the core's effects are messages to them, their
 * reports the core's events, all by ids. From the first graph's submission until clients know all wanted keys.
 */
export class VirtualCluster implements Outbox {
  readonly scheduler: Scheduler;
  readonly timeline: Timeline;
  readonly counts: VirtualCounts = { events: 0, invocations: 0, transfers: 0, bytes_moved: 0, busy_ns: 0 };
  now_ns = 0;
  readonly #workload: Workload;
  readonly #options: VirtualOptions;
  readonly #workers: TimedWorker[] = [];
  readonly #events = new EventHeap<() => void>();
  readonly #network: TransferModel;
  readonly #prng: Prng;
  readonly #transfers: Transfer[] = [];
  readonly #free_transfers: number[] = [];
  readonly #submitter: Submitter;
  /** Events for the scheduler, which it has not been asked about. */
  #inbox: (() => void)[] = [];
  #invoked_ns = Number.NEGATIVE_INFINITY;
  #invocation_booked = false;
  /** Decisions of the present invocation: they leave together. */
  #effects: (() => void)[] = [];

  constructor(workload: Workload, options: VirtualOptions, seed: number) {
    this.#workload = workload;
    this.#options = options;
    this.#prng = new Prng(seed);
    this.#network = transferModel(options.network, options);
    const empty = (): Float64Array => new Float64Array(workload.tasks).fill(-1);
    this.timeline = {
      worker: new Int32Array(workload.tasks).fill(NONE),
      assigned_ns: empty(),
      start_ns: empty(),
      stop_ns: empty(),
    };
    const policy = createPolicy(options.scheduler, seed, {
      ...DEFAULT_DASK_SETTINGS,
      // What workers would measure and tell: a policy that weighs transfers knows what they cost.
      bandwidth: options.network === "instant" ? Number.POSITIVE_INFINITY : options.bandwidth,
    });
    this.scheduler = new Scheduler({ policy, outbox: this, key_seed: 1 });
    const { books } = this.scheduler;
    for (let i = 0; i < options.workers; i++) {
      const book = this.scheduler.workerJoined({
        ...{ address: `virtual://${i}`, host: `host-${i}`, alias: String(i) },
        threads: options.cores,
        resources: new Map(),
      });
      this.#workers[book.id] = new TimedWorker(
        book.id,
        options.cores,
        (a, b) => books.compare(a, b),
        options.fetch,
      );
      this.scheduler.workerStatusChanged(book, "running");
    }
    this.#submitter = new Submitter({
      ...{ workload, scheduler: this.scheduler, times: options.submit },
      at: (time_ns, event) => this.#events.add(time_ns, () => this.#heard(event)),
      holds: (task, worker) => {
        const id = Math.max(0, worker) % options.workers;
        this.#workers[id]!.data.add(task);
        return books.worker(id);
      },
    });
    this.#submitter.start();
  }

  /** Wanted keys that no client knows of yet. */
  get missing(): number {
    return this.#submitter.missing;
  }

  /** One event. False: nothing is left to happen. */
  step(): boolean {
    const network_ns = this.#network.next_ns;
    const event_ns = this.#events.next_ns;
    const next_ns = Math.min(network_ns, event_ns);
    if (next_ns === Number.POSITIVE_INFINITY) return false;
    this.now_ns = Math.max(this.now_ns, next_ns);
    this.counts.events++;
    if (network_ns <= event_ns) this.#network.advance(this.now_ns, (transfer) => this.#transferred(transfer));
    else this.#events.take()();
    return true;
  }

  // ---- the scheduler

  /** A message for the scheduler, which its worker sends after `delay_ns`: it is looked at when it is asked next. */
  #tell(event: () => void, delay_ns = 0): void {
    const after_ns = this.#options.message_ns + delay_ns;
    if (after_ns === 0) this.#heard(event);
    else this.#events.add(this.now_ns + after_ns, () => this.#heard(event));
  }

  #heard(event: () => void): void {
    this.#inbox.push(event);
    this.#bookInvocation();
  }

  /** All messages of one moment are one batch. */
  #bookInvocation(): void {
    if (this.#invocation_booked) return;
    this.#invocation_booked = true;
    const due_ns = this.#invoked_ns + this.#options.scheduling_delay_ns;
    this.#events.add(Math.max(this.now_ns, due_ns), () => this.#invoke(), 1);
  }

  #invoke(): void {
    this.#invocation_booked = false;
    this.#invoked_ns = this.now_ns;
    this.counts.invocations++;
    const { scheduler } = this;
    scheduler.now_ns = this.now_ns;
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const event of inbox) event();
    const again_ns = scheduler.schedule();
    scheduler.endBatch();
    if (again_ns !== Number.POSITIVE_INFINITY && this.missing > 0)
      this.#events.add(Math.max(again_ns, this.now_ns + 1e6), () => this.#bookInvocation());
    const effects = this.#effects;
    if (effects.length === 0) return;
    this.#effects = [];
    const { decision_delay_ns, message_ns } = this.#options;
    this.#events.add(this.now_ns + decision_delay_ns + message_ns, () => {
      for (const effect of effects) effect();
    });
  }

  // ---- Outbox: what it decides

  computeTask(worker: WorkerId, task: TaskId): void {
    const { tasks, edges } = this.scheduler.books;
    const run_id = tasks.run_id[task]!;
    const first = edges.first[task]!;
    const inputs = Array.from(edges.dependency.subarray(first, first + edges.count[task]!));
    this.#effects.push(() => {
      const timed = this.#workers[worker]!;
      const position = this.#submitter.position[task]!;
      this.timeline.worker[position] = worker;
      this.timeline.assigned_ns[position] = this.now_ns;
      const { missing } = timed.assign(task, run_id, inputs);
      const lag_us = missing === 0 ? 0 : (this.#workload.recorded?.fetch_lag_us[position] ?? 0);
      if (lag_us === 0) timed.fetch(inputs);
      else
        this.#events.add(this.now_ns + lag_us * 1e3, () => {
          timed.fetch(inputs);
          this.#goOn(timed);
        });
      this.#goOn(timed);
    });
  }

  freeKeys(worker: WorkerId, task: TaskId): void {
    this.#effects.push(() => {
      const timed = this.#workers[worker]!;
      timed.data.delete(task);
      timed.giveUp(task);
    });
  }

  freeReplica(worker: WorkerId, task: TaskId): void {
    this.freeKeys(worker, task);
  }

  removeReplicas(worker: WorkerId, task: TaskId): void {
    this.#effects.push(() => void this.#workers[worker]!.data.delete(task));
  }

  stealRequest(worker: WorkerId, task: TaskId, steal_id: number): void {
    this.#effects.push(() => {
      const timed = this.#workers[worker]!;
      const started = timed.assignments.has(task);
      const given = timed.giveUp(task);
      const state = given ? "ready" : started ? "executing" : timed.data.has(task) ? "memory" : null;
      const answer = (): void =>
        this.scheduler.stealAnswered(this.scheduler.books.worker(worker), task, steal_id, state);
      // The worker that takes its time with a report does so with an answer.
      this.#tell(answer, this.#reportNs(task));
    });
  }

  keyInMemory(client: ClientId, _task: TaskId): void {
    this.#effects.push(() => this.#submitter.told(client, this.now_ns));
  }

  taskErred(_client: ClientId, task: TaskId): void {
    throw new InvariantError(`task ${task} failed in a world where nothing fails`);
  }

  lostData(_client: ClientId, task: TaskId): void {
    throw new InvariantError(`the data of task ${task} was lost in a world where nothing is lost`);
  }

  cancelledKeys(_client: ClientId, task: TaskId): void {
    throw new InvariantError(`task ${task} was cancelled, which nobody asked for`);
  }

  taskRetried(_client: ClientId, task: TaskId): void {
    throw new InvariantError(`task ${task} is tried again, which nobody asked for`);
  }

  // ---- the workers

  #goOn(worker: TimedWorker): void {
    worker.startDownloads(
      (input) => this.#holderOf(input),
      (input) => this.#nbytes(input),
      (inputs, from) => this.#startTransfer({ worker, inputs, from }),
    );
    for (let next = worker.nextToRun(); next !== undefined; next = worker.nextToRun()) {
      const { task, run_id } = next;
      const position = this.#submitter.position[task]!;
      const start_ns = this.now_ns + (this.#workload.recorded?.overhead_us[position] ?? 0) * 1e3;
      this.timeline.start_ns[position] = start_ns;
      this.#events.add(start_ns + this.#durationNs(task), () => this.#ran(worker, task, run_id));
    }
  }

  #ran(worker: TimedWorker, task: TaskId, run_id: number): void {
    const position = this.#submitter.position[task]!;
    const duration_ns = this.#durationNs(task);
    this.timeline.stop_ns[position] = this.now_ns;
    this.counts.busy_ns += duration_ns;
    worker.free_cores++;
    worker.assignments.delete(task);
    worker.arrived(task);
    this.#tell(() => {
      const book = this.scheduler.books.worker(worker.id);
      this.scheduler.taskFinished(book, task, run_id, this.#nbytes(task), NONE, duration_ns / 1e9);
    }, this.#reportNs(task));
    this.#goOn(worker);
  }

  /** By lot among those that have it: what they hold, the workers know best. */
  #holderOf(input: TaskId): WorkerId {
    const { replicas } = this.scheduler.books;
    const holders: WorkerId[] = [];
    for (let r = replicas.first_of_task[input]!; r !== NONE; r = replicas.next_of_task[r]!)
      if (this.#workers[replicas.owner[r]!]!.data.has(input)) holders.push(replicas.owner[r]!);
    return holders.length === 0 ? NONE : holders[this.#prng.below(holders.length)]!;
  }

  #startTransfer(one: Transfer): void {
    const transfer = this.#free_transfers.pop() ?? this.#transfers.length;
    this.#transfers[transfer] = one;
    const bytes = one.inputs.reduce((sum, input) => sum + this.#nbytes(input), 0);
    this.counts.transfers++;
    this.counts.bytes_moved += bytes;
    this.#network.start(transfer, one.from, one.worker.id, bytes, this.now_ns);
  }

  #transferred(transfer: number): void {
    const { worker, inputs, from } = this.#transfers[transfer]!;
    this.#free_transfers.push(transfer);
    worker.downloaded(inputs, from);
    for (const input of inputs) worker.arrived(input);
    this.#tell(() => {
      const { books } = this.scheduler;
      for (const input of inputs)
        if (books.tasks.state[input] !== undefined) this.scheduler.keyAdded(books.worker(worker.id), input);
    });
    this.#goOn(worker);
  }

  #durationNs(task: TaskId): number {
    return (this.#workload.durations_us?.[this.#submitter.position[task]!] ?? 0) * 1e3;
  }

  #reportNs(task: TaskId): number {
    return (this.#workload.recorded?.report_us[this.#submitter.position[task]!] ?? 0) * 1e3;
  }

  #nbytes(task: TaskId): number {
    return this.#workload.nbytes?.[this.#submitter.position[task]!] ?? NBYTES_UNKNOWN;
  }
}
