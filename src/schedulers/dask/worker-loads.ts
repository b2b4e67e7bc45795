import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import { IndexedHeap } from "../../base/indexed-heap.ts";
import { IndexedSet } from "../../base/indexed-set.ts";
import type { ClusterView } from "../policy.ts";
import type { TaskPrefix } from "../task-groups.ts";
import type { DaskPolicySettings } from "./settings.ts";

/** A worker with this much work beyond its threads (seconds), and this much more than the average, is saturated. */
const PENDING_S_MIN = 0.4;
const PENDING_RATIO = 1.9;

/** What a worker has to do. */
export interface WorkerLoad {
  readonly id: WorkerId;
  readonly threads: number;
  running: boolean;
  /** Tasks that were given to it, those that have seceded included. */
  processing: number;
  seceded: number;
  /** Tasks that take a thread, by prefix. */
  readonly counts: Map<TaskPrefix, number>;
  /** Results that it will fetch, and their bytes. */
  needs: number;
  need_bytes: number;
  /** Seconds of work, and tasks, on their way to it (or from it: negative) by steals that are not answered. */
  flight_s: number;
  flight_tasks: number;
  /** Slots for root tasks that {@link WorkerLoads.open_slots} counts. */
  open_slots: number;
}

/**
 * How much each worker has to do, in seconds (Dask's occupancy): what its tasks take, and what it must fetch for them. With
 * it go Dask's sets: idle, saturated, and workers with slots for root tasks.
 */
export class WorkerLoads {
  readonly #settings: DaskPolicySettings;
  readonly #duration_s: (prefix: TaskPrefix) => number;
  readonly #loads: (WorkerLoad | undefined)[] = [];
  readonly #dirty = new IndexedSet();
  readonly #idle = new IndexedSet();
  readonly #saturated = new IndexedSet();
  /** Running workers with slots for root tasks, the one with the fewest tasks a thread on top. */
  readonly open = new IndexedHeap();
  open_slots = 0;
  threads = 0;
  bandwidth: number;
  #workers = 0;
  #compute_s = 0;
  #need_bytes = 0;
  #processing = 0;

  constructor(settings: DaskPolicySettings, durationOf: (prefix: TaskPrefix) => number) {
    this.#settings = settings;
    this.#duration_s = durationOf;
    this.bandwidth = settings.bandwidth;
  }

  of(worker: WorkerId): WorkerLoad {
    return this.#loads[worker]!;
  }

  // ---- workers

  joined(id: WorkerId, threads: number): void {
    this.#loads[id] = {
      id,
      threads,
      running: false,
      processing: 0,
      seceded: 0,
      counts: new Map(),
      needs: 0,
      need_bytes: 0,
      flight_s: 0,
      flight_tasks: 0,
      open_slots: 0,
    };
    this.threads += threads;
    this.#workers++;
  }

  left(id: WorkerId): void {
    const load = this.of(id);
    load.running = false;
    this.#changed(load);
    this.#dirty.delete(id);
    this.#idle.delete(id);
    this.#saturated.delete(id);
    this.#loads[id] = undefined;
    this.threads -= load.threads;
    this.#workers--;
  }

  runs(id: WorkerId, running: boolean): void {
    const load = this.of(id);
    load.running = running;
    this.#changed(load);
  }

  /** A worker's measurement counts as much as one worker among all. */
  bandwidthMeasured(bytes_per_s: number): void {
    const share = 1 / Math.max(1, this.#workers);
    if (bytes_per_s > 0) this.bandwidth = this.bandwidth * (1 - share) + bytes_per_s * share;
  }

  // ---- tasks

  started(id: WorkerId, prefix: TaskPrefix): void {
    const load = this.of(id);
    load.processing++;
    load.counts.set(prefix, (load.counts.get(prefix) ?? 0) + 1);
    this.#occupy(prefix, 1);
    this.#changed(load);
  }

  stopped(id: WorkerId, prefix: TaskPrefix, seceded: boolean): void {
    const load = this.of(id);
    load.processing--;
    if (seceded) load.seceded--;
    else this.#vacate(load, prefix);
    this.#changed(load);
  }

  seceded(id: WorkerId, prefix: TaskPrefix): void {
    const load = this.of(id);
    load.seceded++;
    this.#vacate(load, prefix);
    this.#changed(load);
  }

  #vacate(load: WorkerLoad, prefix: TaskPrefix): void {
    const count = load.counts.get(prefix)! - 1;
    if (count === 0) load.counts.delete(prefix);
    else load.counts.set(prefix, count);
    this.#occupy(prefix, -1);
  }

  #occupy(prefix: TaskPrefix, count: 1 | -1): void {
    prefix.assigned += count;
    this.#processing += count;
    // Sums of floats drift: with nothing to do they start from nothing again.
    this.#compute_s = this.#processing === 0 ? 0 : this.#compute_s + count * this.#duration_s(prefix);
  }

  /** Tasks of the prefix are taken to last longer, or shorter, than before. */
  durationChanged(prefix: TaskPrefix, before_s: number, after_s: number): void {
    this.#compute_s += prefix.assigned * (after_s - before_s);
  }

  needBegan(id: WorkerId, nbytes: number): void {
    const load = this.of(id);
    load.needs++;
    load.need_bytes += nbytes;
    this.#need_bytes += nbytes;
    this.#dirty.add(id);
  }

  /** A size may have changed in between: sums stay at 0 or above, and end with the last need. */
  needEnded(id: WorkerId, nbytes: number): void {
    const load = this.of(id);
    const left = --load.needs === 0 ? 0 : Math.max(0, load.need_bytes - nbytes);
    this.#need_bytes = Math.max(0, this.#need_bytes - (load.need_bytes - left));
    load.need_bytes = left;
    this.#dirty.add(id);
  }

  #changed(load: WorkerLoad): void {
    this.#dirty.add(load.id);
    const most = Math.max(1, Math.ceil(this.#settings.worker_saturation * load.threads));
    const slots = load.running ? Math.max(0, most - (load.processing - load.seceded)) : 0;
    if (Number.isFinite(most)) {
      this.open_slots += slots - load.open_slots;
      load.open_slots = slots;
    }
    if (slots > 0) this.open.set(load.id, load.processing / load.threads);
    else this.open.delete(load.id);
  }

  // ---- occupancy

  /** Seconds of work that the worker has. */
  occupancy_s(load: WorkerLoad): number {
    let seconds = load.need_bytes / this.bandwidth;
    for (const [prefix, count] of load.counts) seconds += count * this.#duration_s(prefix);
    return seconds;
  }

  /** The same of all workers, a thread. */
  get average_s(): number {
    return Math.max(0, this.#compute_s + this.#need_bytes / this.bandwidth) / Math.max(1, this.threads);
  }

  /** Not enough to stay busy: fewer tasks than threads, or less than half of the average work. */
  isUnoccupied(load: WorkerLoad, occupancy_s: number, processing: number): boolean {
    return processing < load.threads || occupancy_s < (load.threads * this.average_s) / 2;
  }

  get idle(): IndexedSet {
    this.#refresh();
    return this.#idle;
  }

  /** More than enough to stay busy, and more than others. */
  get saturated(): IndexedSet {
    this.#refresh();
    return this.#saturated;
  }

  /** A worker is judged after something happened to it, not when the average moves: as in Dask, which does so at once. */
  #refresh(): void {
    const dirty = this.#dirty;
    while (dirty.length > 0) {
      const id = dirty.items[dirty.length - 1]!;
      dirty.delete(id);
      this.#judge(this.of(id));
    }
  }

  #judge(load: WorkerLoad): void {
    const { id, threads, processing } = load;
    this.#idle.delete(id);
    this.#saturated.delete(id);
    if (!load.running) return;
    const occupancy_s = this.occupancy_s(load);
    if (this.isUnoccupied(load, occupancy_s, processing)) this.#idle.add(id);
    else if (processing > threads) {
      const pending_s = (occupancy_s * (processing - threads)) / (processing * threads);
      if (pending_s > PENDING_S_MIN && pending_s > PENDING_RATIO * this.average_s) this.#saturated.add(id);
    }
  }

  /** The running worker with slots and the fewest tasks a thread; NONE: all are full. */
  get leastBusy(): WorkerId {
    return this.open.length === 0 ? NONE : this.open.top;
  }

  /** The first disagreement with the view, or null: walks everything. */
  breach(view: ClusterView, prefixOf: (task: TaskId) => TaskPrefix): string | null {
    let slots = 0;
    let compute_s = 0;
    for (const load of this.#loads) {
      if (load === undefined) continue;
      const breach = breachOf(load, view, prefixOf);
      if (breach !== null) return `worker ${load.id}: ${breach}`;
      slots += load.open_slots;
      for (const [prefix, count] of load.counts) compute_s += count * this.#duration_s(prefix);
    }
    if (slots !== this.open_slots) return `${slots} slots are open`;
    return Math.abs(compute_s - this.#compute_s) < 1e-6 * (1 + compute_s) ? null : `${compute_s} s of work`;
  }
}

function breachOf(
  load: WorkerLoad,
  view: ClusterView,
  prefixOf: (task: TaskId) => TaskPrefix,
): string | null {
  if (load.running !== view.running.has(load.id)) return `running is not ${load.running}`;
  const counts = new Map<TaskPrefix, number>();
  let processing = 0;
  for (let task = view.newestProcessing(load.id); task !== NONE; task = view.olderProcessing(task)) {
    processing++;
    counts.set(prefixOf(task), (counts.get(prefixOf(task)) ?? 0) + 1);
  }
  let occupied = 0;
  for (const [prefix, count] of load.counts) {
    if (count > (counts.get(prefix) ?? 0)) return `${count} tasks of ${prefix.name}`;
    occupied += count;
  }
  if (load.processing !== processing) return `processes ${processing}`;
  if (occupied + load.seceded !== processing) return `${load.seceded} have seceded`;
  return load.needs < 0 || (load.needs === 0 && load.need_bytes !== 0) ? `needs ${load.needs}` : null;
}
