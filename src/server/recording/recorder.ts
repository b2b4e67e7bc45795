import { NONE, type TaskId } from "../../base/ids.ts";
import type { Machine, Timer } from "../../base/machine.ts";
import { grown } from "../../base/typed-arrays.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { FORGOTTEN, MEMORY, PROCESSING } from "../../core/states.ts";
import { keyText } from "../../protocol/keys.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { Pickled, Serialized, toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { keyNames } from "../../schedulers/key-names.ts";
import type { AddedKeys, Reports, TaskReport } from "../diagnostics/reports.ts";
import type { GraphIntake, GraphNews } from "../graphs/intake.ts";
import type { Cluster, WorkerPeer } from "../peers/cluster.ts";
import {
  ACTION,
  EVENT,
  type RecordedBatch,
  type RecordedGraph,
  type RecordedPayload,
  type RecordedWorker,
} from "./batch.ts";

/** The parts of a server that are followed. */
export interface RecorderParts {
  readonly scheduler: Scheduler;
  readonly cluster: Cluster;
  readonly intake: GraphIntake;
  readonly reports: Reports;
  readonly machine: Machine;
}

/** What happened waits for so long, or for so many numbers of events, until it is sent. */
const BATCH_MS = 200;
const BATCH_NUMBERS = 1 << 16;
const NO_ROW = -1;
/** Keys that are all different have as many prefixes: from so many on they count as one. */
const PREFIXES_MAX = 10_000;

/**
 * Follows what clients submit and what workers report of it, from its making until {@link end}, and hands it on in batches;
 * of the past it keeps a number for each task that is known. Times of the scheduler are those of its turn or packet: no clock
 * is read.
 */
export class Recorder {
  readonly #parts: RecorderParts;
  readonly #payloads_wanted: boolean;
  readonly #send: (batch: RecordedBatch) => void;
  /** By task id. */
  #row_of = new Int32Array(1024).fill(NO_ROW);
  #assigned_ns = new Float64Array(1024);
  #rows = 0;
  readonly #worker_index = new Map<WorkerPeer, number>();
  readonly #address_index = new Map<string, number>();
  readonly #client_index = new Map<string, number>();
  readonly #prefix_index = new Map<string, number>();
  #timer: Timer | null = null;
  // Of the batch at hand.
  #workers: RecordedWorker[] = [];
  #prefixes: string[] = [];
  #graphs: RecordedGraph[] = [];
  #events: number[] = [];
  #payloads: RecordedPayload[] = [];

  constructor(parts: RecorderParts, payloads: boolean, send: (batch: RecordedBatch) => void) {
    this.#parts = parts;
    this.#payloads_wanted = payloads;
    this.#send = send;
    for (const peer of parts.cluster.workers.values()) this.#worker(peer);
    parts.intake.followers.add(this.#onGraph);
    parts.reports.follow(this.#onReport);
    parts.reports.followAdded(this.#onAdded);
    parts.scheduler.books.follow(this.#onTransition);
  }

  /** Lets go of the server, and hands over the last batch. */
  end(why: string): void {
    const { intake, reports, scheduler, machine } = this.#parts;
    intake.followers.delete(this.#onGraph);
    reports.unfollow(this.#onReport);
    reports.unfollowAdded(this.#onAdded);
    scheduler.books.unfollow(this.#onTransition);
    machine.cancel(this.#timer);
    this.#sendBatch(why);
  }

  #sendBatch(end: string | null): void {
    this.#timer = null;
    const batch = {
      workers: this.#workers,
      prefixes: this.#prefixes,
      graphs: this.#graphs,
      events: Float64Array.from(this.#events),
      payloads: this.#payloads,
      end,
    };
    this.#workers = [];
    this.#prefixes = [];
    this.#graphs = [];
    this.#events = [];
    this.#payloads = [];
    this.#send(batch);
  }

  #book(): void {
    const { machine } = this.#parts;
    if (this.#events.length >= BATCH_NUMBERS) {
      machine.cancel(this.#timer);
      this.#sendBatch(null);
    } else this.#timer ??= machine.after(BATCH_MS, () => this.#sendBatch(null));
  }

  // ---- graphs

  readonly #onGraph = ({ client, wanted, tasks, submitted_ns, known_ns }: GraphNews): void => {
    const { books } = this.#parts.scheduler;
    const fresh: TaskId[] = [];
    const outside: TaskId[] = [];
    const first_row = this.#rows;
    for (const task of tasks) {
      // What no wanted key needs was forgotten at once.
      if (books.tasks.state[task] === FORGOTTEN || this.#rowOf(task) !== NO_ROW) continue;
      if (books.tasks.state[task] === MEMORY) outside.push(task);
      else fresh.push(task);
      this.#setRow(task, first_row);
    }
    for (const task of fresh) this.#outsideOf(task, first_row, outside);
    const all = [...outside, ...fresh];
    for (const task of all) this.#setRow(task, this.#rows++);
    this.#graphs.push({
      ...{ submitted_ns, known_ns, first_row },
      client: indexIn(this.#client_index, client),
      outside: outside.length,
      ...this.#columns(all, outside.length),
      wanted: Uint32Array.from(
        wanted()
          .map((key) => this.#rowOf(books.keys.findKey(key)))
          .filter((row) => row !== NO_ROW),
      ),
    });
    this.#book();
  };

  /** What a task depends on and nobody submitted since the recording began. */
  #outsideOf(task: TaskId, first_row: number, outside: TaskId[]): void {
    const { edges } = this.#parts.scheduler.books;
    const first = edges.first[task]!;
    for (let e = first, end = first + edges.count[task]!; e < end; e++) {
      const dependency = edges.dependency[e]!;
      if (this.#rowOf(dependency) !== NO_ROW) continue;
      this.#setRow(dependency, first_row);
      outside.push(dependency);
    }
  }

  #columns(
    all: readonly TaskId[],
    outside: number,
  ): Omit<RecordedGraph, "submitted_ns" | "known_ns" | "client" | "first_row" | "outside" | "wanted"> {
    const { tasks, edges } = this.#parts.scheduler.books;
    const dependencies: number[] = [];
    const dependency_counts = Uint32Array.from(all, (task, i) => {
      if (i < outside) return 0;
      const first = edges.first[task]!;
      for (let e = first, end = first + edges.count[task]!; e < end; e++)
        dependencies.push(this.#rowOf(edges.dependency[e]!));
      return edges.count[task]!;
    });
    const data = all.slice(0, outside);
    return {
      prefixes: Uint32Array.from(all, (task) => this.#prefixOf(task)),
      user_priorities: Float64Array.from(all, (task) => tasks.user_priority[task]!),
      generations: Float64Array.from(all, (task) => tasks.generation[task]!),
      orders: Float64Array.from(all, (task) => tasks.order[task]!),
      dependency_counts,
      dependencies: Uint32Array.from(dependencies),
      outside_nbytes: Float64Array.from(data, (task) =>
        tasks.state[task] === MEMORY ? Math.max(0, tasks.nbytes[task]!) : -1,
      ),
      outside_workers: Float64Array.from(data, (task) => this.#holderOf(task)),
    };
  }

  #prefixOf(task: TaskId): number {
    const full = this.#prefix_index.size >= PREFIXES_MAX;
    const prefix = full ? "Other" : keyNames(this.#parts.scheduler.books.keys.bytes(task)).prefix;
    let index = this.#prefix_index.get(prefix);
    if (index === undefined) {
      index = indexIn(this.#prefix_index, prefix);
      this.#prefixes.push(prefix);
    }
    return index;
  }

  #holderOf(task: TaskId): number {
    const { replicas, tasks } = this.#parts.scheduler.books;
    const record = replicas.first_of_task[task]!;
    if (tasks.state[task] !== MEMORY || record === NONE) return -1;
    const { address } = this.#parts.scheduler.books.worker(replicas.owner[record]!);
    return this.#address_index.get(address) ?? -1;
  }

  // ---- tasks

  readonly #onTransition = (task: TaskId, _from: number, to: number): void => {
    if (to === FORGOTTEN) {
      if (this.#rowOf(task) !== NO_ROW) this.#row_of[task] = NO_ROW;
    } else if (to === PROCESSING) this.#assigned(task);
  };

  #assigned(task: TaskId): void {
    const row = this.#rowOf(task);
    if (row === NO_ROW) return;
    this.#assigned_ns[task] = this.#parts.scheduler.now_ns;
    if (this.#payloads_wanted) this.#payload(task, row);
  }

  readonly #onReport = ({ task, worker, finish, fields }: TaskReport): void => {
    const row = this.#rowOf(task);
    if (row === NO_ROW) return;
    const events = this.#events;
    events.push(EVENT.finished, row, this.#worker(worker), this.#assigned_ns[task]!);
    events.push(this.#parts.scheduler.now_ns, toNumber(fields.get("nbytes")) ?? 0);
    events.push(toNumber(fields.get("thread")) ?? 0, finish === "erred" ? 1 : 0);
    this.#actions(fields.get("startstops"));
    this.#book();
  };

  #actions(startstops: WireValue | undefined): void {
    const events = this.#events;
    const at = events.push(0) - 1;
    for (const item of Array.isArray(startstops) ? startstops : []) {
      if (!(item instanceof WireMap)) continue;
      const action = item.get("action");
      const kind = action === "compute" ? ACTION.compute : action === "transfer" ? ACTION.transfer : null;
      const start_s = toNumber(item.get("start"));
      const stop_s = toNumber(item.get("stop"));
      if (kind === null || start_s === undefined || stop_s === undefined) continue;
      events.push(kind, start_s, stop_s, this.#address_index.get(String(item.get("source"))) ?? -1);
      events[at]!++;
    }
  }

  readonly #onAdded = ({ worker, tasks }: AddedKeys): void => {
    const rows = tasks.map((task) => this.#rowOf(task)).filter((row) => row !== NO_ROW);
    if (rows.length === 0) return;
    this.#events.push(EVENT.added, this.#worker(worker), this.#parts.scheduler.now_ns, rows.length, ...rows);
    this.#book();
  };

  /** What its worker was sent, the first time. */
  #payload(task: TaskId, row: number): void {
    const { cluster, scheduler } = this.#parts;
    const key = scheduler.books.keys.bytes(task);
    const spec = cluster.runSpec(key);
    if (spec === null) return;
    const framed = spec instanceof Pickled || spec instanceof Serialized;
    this.#payloads.push({
      row,
      key: keyText(key),
      form: spec instanceof Pickled ? "pickled" : framed ? "serialized" : "inline",
      // Copies: the buffer that they lie in may be that of a whole graph.
      frames: (framed ? [spec.header, ...spec.frames] : [packValue(spec)]).map((frame) => frame.slice()),
    });
    this.#book();
  }

  // ---- numbers

  #rowOf(task: TaskId): number {
    return task >= 0 && task < this.#row_of.length ? this.#row_of[task]! : NO_ROW;
  }

  #setRow(task: TaskId, row: number): void {
    if (task >= this.#row_of.length) {
      const capacity = Math.max(2 * this.#row_of.length, task + 1);
      this.#row_of = grown(this.#row_of, capacity, NO_ROW);
      this.#assigned_ns = grown(this.#assigned_ns, capacity);
    }
    this.#row_of[task] = row;
    this.#assigned_ns[task] = Number.NaN;
  }

  #worker(peer: WorkerPeer): number {
    let index = this.#worker_index.get(peer);
    if (index !== undefined) return index;
    index = this.#worker_index.size;
    this.#worker_index.set(peer, index);
    this.#address_index.set(peer.address, index);
    this.#workers.push({ threads: peer.nthreads, release: peer.release });
    return index;
  }
}

/** The number of a name among those that were asked for. */
function indexIn(indices: Map<string, number>, name: string): number {
  const known = indices.get(name);
  if (known !== undefined) return known;
  indices.set(name, indices.size);
  return indices.size - 1;
}
