import { listOf } from "../../base/grouped.ts";
import { NONE } from "../../base/ids.ts";
import { FLAG_LONG_RUNNING } from "../../core/task-table.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Inspector } from "../diagnostics/inspector.ts";
import type { Reports, TaskReport } from "../diagnostics/reports.ts";
import { timeoutMs } from "../graphs/generation.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import { addressHost } from "../registration/addresses.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import type { ScalingSettings } from "./settings.ts";

export interface ScalingParts {
  readonly inspector: Inspector;
  readonly cluster: CoreCluster;
  readonly reports: Reports;
  /** Addresses of workers that take part in a shuffle, which would begin anew without one of them. */
  readonly shuffling: () => ReadonlySet<string>;
  readonly settings: ScalingSettings;
  /** The groups of workers by a pickled function, and by plugins: [address, group] of those that may go; null: no say. */
  readonly group: (key: WireValue, workers: readonly string[]) => Promise<WireValue>;
}

/** Tasks that are looked at one by one when the need for workers is reckoned. */
const SAMPLE_MAX = 100;

/** Which workers there should be, for whoever starts and ends them (`Adaptive`, `retire_workers`). */
export class Scaling {
  readonly #parts: ScalingParts;
  /** Seconds that tasks of each prefix took of late, learned from the first question on. */
  readonly #durations = new Map<string, number>();
  readonly #learn = (report: TaskReport): void => this.#learned(report);

  constructor(parts: ScalingParts) {
    this.#parts = parts;
  }

  /** `adaptive_target {target_duration?}`: how many workers would do what there is in that time. */
  async target(request: Request): Promise<number> {
    const { cluster, inspector, reports, settings } = this.#parts;
    reports.follow(this.#learn);
    const asked = request.value("target_duration");
    const target_s = (asked === null ? settings.target_duration_ms : timeoutMs(asked)) / 1000;
    if (!(target_s > 0)) throw new PythonError("ValueError", "target_duration must be longer than nothing");
    const waiting = [...inspector.tasks()].filter((task) =>
      ["queued", "no-worker"].includes(inspector.state(task)),
    );
    const sample = waiting.slice(0, SAMPLE_MAX);
    let waiting_s = sample.reduce((sum, task) => sum + this.#seconds(inspector.prefix(task)), 0);
    if (waiting.length > SAMPLE_MAX) waiting_s *= waiting.length / SAMPLE_MAX;
    let cores = Math.ceil((this.#occupancy_s() + waiting_s) / target_s);
    // A few long tasks are no reason for many cores.
    let ready = waiting.length;
    for (const peer of cluster.workers.values()) ready += cluster.book(peer).processing;
    cores = Math.min(ready, cores);
    const peers = [...cluster.workers.values()];
    const threads = peers.reduce((sum, peer) => sum + peer.nthreads, 0);
    let workers = threads > 0 ? Math.ceil((cores / threads) * peers.length) : cores;
    if (waiting.length > 0 && peers.length === 0) workers = Math.max(1, workers);
    const limit = peers.reduce((sum, peer) => sum + peer.memory_limit_bytes, 0);
    const used = peers.reduce((sum, peer) => sum + cluster.book(peer).nbytes, 0);
    const target = Math.max(workers, limit > 0 && used > 0.6 * limit ? 2 * peers.length : 0);
    if (target >= peers.length) return target;
    const to_close = await this.toClose({ memory_ratio: null, n: null, key: null, minimum: 0, target: null });
    return peers.length - to_close.length;
  }

  /** Seconds of work that lie with the workers. */
  #occupancy_s(): number {
    const { cluster, inspector } = this.#parts;
    const { tasks } = inspector.books;
    let seconds = 0;
    for (const peer of cluster.workers.values()) {
      const { first_processing } = cluster.book(peer);
      for (let task = first_processing; task !== NONE; task = tasks.next_processing[task]!)
        if ((tasks.flags[task]! & FLAG_LONG_RUNNING) === 0) seconds += this.#seconds(inspector.prefix(task));
    }
    return seconds;
  }

  #seconds(prefix: string): number {
    return this.#durations.get(prefix) ?? this.#parts.settings.unknown_task_ms / 1000;
  }

  /** Half of an average is its last value, as in Dask. */
  #learned({ task, fields, finish }: TaskReport): void {
    const startstops = fields.get("startstops");
    if (finish !== "memory" || !Array.isArray(startstops)) return;
    let seconds = 0;
    for (const span of startstops)
      if (span instanceof WireMap && span.get("action") === "compute")
        seconds += (toNumber(span.get("stop")) ?? 0) - (toNumber(span.get("start")) ?? 0);
    const prefix = this.#parts.inspector.prefix(task);
    const known = this.#durations.get(prefix);
    this.#durations.set(prefix, known === undefined ? seconds : (known + seconds) / 2);
  }

  /** `workers_to_close {memory_ratio?, n?, key?, minimum?, target?, attribute?}`. */
  async workersToClose(request: Request): Promise<WireValue> {
    const attribute = request.optionalString("attribute") ?? "address";
    const peers = await this.toClose(closeOptions(request));
    return peers.map((peer) => attributeOf(peer, attribute));
  }

  /** Idle workers that hold little, as long as twice the memory that is in use stays. */
  async toClose(options: CloseOptions): Promise<WorkerPeer[]> {
    const { cluster } = this.#parts;
    const all = [...cluster.workers.values()];
    const n = options.n ?? (options.target === null ? null : all.length - options.target);
    const wanted = n === null ? null : Math.max(0, n);
    const ratio = options.memory_ratio ?? (wanted === null ? 2 : null);
    const isBusy = (peer: WorkerPeer): boolean => cluster.book(peer).processing > 0;
    if ((wanted ?? 0) === 0 && all.every(isBusy)) return [];
    const groups = await this.#groups(options.key);
    const bytes = (group: readonly WorkerPeer[]): number =>
      group.reduce((sum, peer) => sum + cluster.book(peer).nbytes, 0);
    const limits = (group: readonly WorkerPeer[]): number =>
      group.reduce((sum, peer) => sum + peer.memory_limit_bytes, 0);
    let limit = groups.reduce((sum, group) => sum + limits(group), 0);
    const total = groups.reduce((sum, group) => sum + bytes(group), 0);
    groups.sort((a, b) => Number(a.some(isBusy)) - Number(b.some(isBusy)) || bytes(a) - bytes(b));
    const to_close: WorkerPeer[] = [];
    let remaining = all.length;
    for (const group of groups) {
      if (wanted === null && group.some(isBusy)) break;
      if (options.minimum > 0 && remaining - group.length < options.minimum) break;
      limit -= limits(group);
      const by_count = wanted !== null && remaining - group.length >= all.length - wanted;
      if (!by_count && !(ratio !== null && limit >= ratio * total)) break;
      to_close.push(...group);
      remaining -= group.length;
    }
    return to_close;
  }

  /** Workers that close together; those in a shuffle, or with a task that has seceded and perhaps waits, are left out. */
  async #groups(key: WireValue): Promise<WorkerPeer[][]> {
    const { cluster, group } = this.#parts;
    const shuffling = this.#parts.shuffling();
    const valid = [...cluster.workers.values()].filter(
      (peer) => cluster.book(peer).long_running === 0 && !shuffling.has(peer.address),
    );
    const answer = await group(
      key,
      valid.map((peer) => peer.address),
    );
    if (!Array.isArray(answer)) return valid.map((peer) => [peer]);
    const groups = new Map<number, WorkerPeer[]>();
    for (const pair of answer) {
      const [address, number] = Array.isArray(pair) ? pair : [];
      const peer = cluster.workers.get(String(address));
      if (peer !== undefined) listOf(groups, toNumber(number) ?? 0).push(peer);
    }
    return [...groups.values()];
  }
}

export interface CloseOptions {
  readonly memory_ratio: number | null;
  readonly n: number | null;
  /** A pickled function of a worker's state, or null. */
  readonly key: WireValue;
  readonly minimum: number;
  readonly target: number | null;
}

export function closeOptions(request: Request): CloseOptions {
  return {
    memory_ratio: request.optionalNumber("memory_ratio"),
    n: request.optionalNumber("n"),
    key: request.value("key"),
    minimum: request.optionalNumber("minimum") ?? 0,
    target: request.optionalNumber("target"),
  };
}

/** Attributes of Dask's WorkerState by which tools name workers. */
function attributeOf(peer: WorkerPeer, attribute: string): WireValue {
  if (attribute === "host") return addressHost(peer.address);
  if (attribute === "address" || attribute === "name" || attribute === "nanny" || attribute === "pid")
    return peer[attribute];
  if (attribute === "server_id" || attribute === "local_directory" || attribute === "nthreads")
    return peer[attribute];
  throw new PythonError("AttributeError", `'WorkerState' object has no attribute '${attribute}'`);
}
