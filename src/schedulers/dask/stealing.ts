import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import { IndexedHeap } from "../../base/indexed-heap.ts";
import type { ClusterView, StealSink } from "../policy.ts";
import type { TaskGroups, TaskPrefix } from "../task-groups.ts";
import type { Holders } from "./holders.ts";
import type { DaskPolicySettings } from "./settings.ts";
import type { WorkerLoad, WorkerLoads } from "./worker-loads.ts";

/** What a steal costs beside the transfer of inputs, by Dask's careful estimate. */
const LATENCY_S = 0.1;
/** Tasks are taken in classes of transfer to compute time, each twice the one before; dearer ones never. */
const LEVELS = 15;
/** A level's ratio is 2^(level − 6). */
const LEVEL_OF_ONE = 6;
/** Without saturated workers so many of the most occupied are victims, if they have so much to do. */
const VICTIMS_MAX = 10;
const VICTIM_S_MIN = 0.2;
/** Tasks that are weighed in one round, over all victims; and allowed thieves for one restricted task. */
const TASKS_MAX = 16_384;
const ALLOWED_MAX = 32;

interface Flight {
  readonly victim: WorkerLoad;
  readonly thief: WorkerLoad;
  readonly victim_s: number;
  readonly thief_s: number;
}

/** A victim, and its tasks by the ratio of transfer to compute time, the newest first. */
interface Victim {
  readonly load: WorkerLoad;
  readonly levels: readonly TaskId[][];
}

/**
 * Dask's work stealing (distributed.stealing): at intervals, tasks go from saturated workers to idle ones, those first that
 * cost least to move for what they take. Which they are is found when it is asked, from the victims' own lists, instead of
 * being kept for every task.
 */
export class Stealing {
  readonly #settings: DaskPolicySettings;
  readonly #loads: WorkerLoads;
  readonly #groups: TaskGroups;
  readonly #holders: Holders;
  readonly #flights = new Map<TaskId, Flight>();
  #next_ns = 0;
  #cursor = 0;
  /** Of this round: what each worker had to do when it began, and thieves by that and what is on its way, a thread. */
  readonly #occupancy_s = new Map<WorkerLoad, number>();
  readonly #thieves = new IndexedHeap();

  constructor(settings: DaskPolicySettings, loads: WorkerLoads, groups: TaskGroups, holders: Holders) {
    this.#settings = settings;
    this.#loads = loads;
    this.#groups = groups;
    this.#holders = holders;
  }

  /** Dask's `balance`: returns when the next one is due, or Infinity. */
  balance(now_ns: number, view: ClusterView, sink: StealSink): number {
    if (!this.#settings.stealing) return Number.POSITIVE_INFINITY;
    if (now_ns < this.#next_ns) return this.#next_ns;
    this.#next_ns = now_ns + this.#settings.stealing_interval_ns;
    this.#occupancy_s.clear();
    const { idle } = this.#loads;
    if (idle.length === 0 || idle.length === view.running.length) return this.#next_ns;
    const victims = this.#victims(view);
    if (victims.length === 0) return this.#next_ns;
    for (let i = 0; i < idle.length; i++) this.#addThief(idle.items[i]!);
    for (let level = 0; level < LEVELS; level++)
      for (const victim of victims) this.#relieve(victim, level, view, sink);
    while (this.#thieves.length > 0) this.#thieves.delete(this.#thieves.top);
    return this.#next_ns;
  }

  /** A steal is over, whatever came of it. */
  ended(task: TaskId): void {
    const flight = this.#flights.get(task);
    if (flight === undefined) return;
    this.#flights.delete(task);
    flight.victim.flight_s += flight.victim_s;
    flight.victim.flight_tasks++;
    flight.thief.flight_s -= flight.thief_s;
    flight.thief.flight_tasks--;
    if (this.#flights.size > 0) return;
    // Sums of floats drift: without a steal under way there is nothing on its way.
    flight.victim.flight_s = 0;
    flight.thief.flight_s = 0;
  }

  #occupancyOf_s(load: WorkerLoad): number {
    let occupancy_s = this.#occupancy_s.get(load);
    if (occupancy_s === undefined) {
      occupancy_s = this.#loads.occupancy_s(load);
      this.#occupancy_s.set(load, occupancy_s);
    }
    return occupancy_s + load.flight_s;
  }

  #addThief(worker: WorkerId): void {
    const load = this.#loads.of(worker);
    this.#thieves.set(worker, this.#occupancyOf_s(load) / load.threads);
  }

  // ---- victims

  #victims(view: ClusterView): Victim[] {
    const { saturated } = this.#loads;
    const list = saturated.length > 0 ? saturated : view.overloaded;
    let loads = Array.from(list.items.subarray(0, list.length), (worker) => this.#loads.of(worker));
    loads.sort((a, b) => this.#occupancyOf_s(b) - this.#occupancyOf_s(a) || a.id - b.id);
    if (saturated.length === 0) loads = loads.filter((load) => this.#isVictim(load)).slice(0, VICTIMS_MAX);
    const look_max = Math.ceil(TASKS_MAX / Math.max(1, loads.length));
    return loads.map((load) => ({ load, levels: this.#tasksByLevel(load, look_max, view) }));
  }

  #isVictim(load: WorkerLoad): boolean {
    if (this.#loads.idle.has(load.id)) return false;
    return this.#occupancyOf_s(load) > VICTIM_S_MIN && load.processing + load.flight_tasks > load.threads;
  }

  #tasksByLevel(load: WorkerLoad, look_max: number, view: ClusterView): TaskId[][] {
    const levels: TaskId[][] = Array.from({ length: LEVELS }, () => []);
    let task = view.newestProcessing(load.id);
    for (let looked_at = 0; looked_at < look_max && task !== NONE; looked_at++) {
      const level = this.#levelOf(task, view);
      if (level !== NONE) levels[level]!.push(task);
      task = view.olderProcessing(task);
    }
    return levels;
  }

  /** NONE: moving it would cost too much, or it takes next to nothing. */
  #levelOf(task: TaskId, view: ClusterView): number {
    const { prefix } = this.#groups.of(task);
    if (prefix.fast) return NONE;
    if (view.dependencyCount(task) === 0) return 0;
    const compute_s = this.#groups.duration_s(prefix);
    if (compute_s <= 0) return NONE;
    const transfer_s = this.#holders.inputBytes(task, view) / this.#loads.bandwidth + LATENCY_S;
    const level = Math.round(Math.log2(transfer_s / compute_s) + LEVEL_OF_ONE);
    return level >= LEVELS ? NONE : Math.max(1, level);
  }

  // ---- thieves

  #relieve({ load, levels }: Victim, level: number, view: ClusterView, sink: StealSink): void {
    for (const task of levels[level]!) {
      if (this.#thieves.length === 0) return;
      const thief = this.#thiefFor(task, view);
      if (thief === NONE || thief === load.id || !view.stealable(task, thief)) continue;
      this.#move(task, load, this.#loads.of(thief), view, sink);
    }
  }

  #move(task: TaskId, victim: WorkerLoad, thief: WorkerLoad, view: ClusterView, sink: StealSink): void {
    const prefix: TaskPrefix = this.#groups.of(task).prefix;
    const compute_s = this.#groups.duration_s(prefix);
    const { bandwidth } = this.#loads;
    const thief_s = compute_s + this.#holders.missingOf(task, thief.id, view) / bandwidth;
    const victim_s = compute_s + this.#holders.missingOf(task, victim.id, view) / bandwidth;
    if (this.#occupancyOf_s(thief) + thief_s > this.#occupancyOf_s(victim) - victim_s / 2) return;
    this.#flights.set(task, { victim, thief, victim_s, thief_s });
    victim.flight_s -= victim_s;
    victim.flight_tasks--;
    thief.flight_s += thief_s;
    thief.flight_tasks++;
    sink.steal(task, thief.id);
    const occupancy_s = this.#occupancyOf_s(thief);
    if (this.#loads.isUnoccupied(thief, occupancy_s, thief.processing + thief.flight_tasks))
      this.#thieves.set(thief.id, occupancy_s / thief.threads);
    else this.#thieves.delete(thief.id);
  }

  /**
   * The thief that would start the task first: one that holds inputs of it, or else the one with least to do. A thief that
   * holds nothing cannot be better than that one, so that no others are looked at. Of a restricted task those that its
   * restrictions name; where none of them is a thief, any other, which a strict restriction refuses.
   */
  #thiefFor(task: TaskId, view: ClusterView): WorkerId {
    const allowed = view.candidates(task);
    const named = allowed === null ? NONE : this.#best(task, this.#someOf(allowed), view);
    if (named !== NONE) return named;
    if (view.dependencyCount(task) === 0) return this.#thieves.top;
    this.#holders.find(task, view);
    return this.#best(task, [this.#thieves.top, ...this.#holders.workers], view);
  }

  /** Of many allowed workers a window, another one each time. */
  #someOf(allowed: readonly WorkerId[]): readonly WorkerId[] {
    if (allowed.length <= ALLOWED_MAX) return allowed;
    return Array.from({ length: ALLOWED_MAX }, () => allowed[this.#cursor++ % allowed.length]!);
  }

  #best(task: TaskId, workers: readonly WorkerId[], view: ClusterView): WorkerId {
    let best: WorkerId = NONE;
    let best_s = Number.POSITIVE_INFINITY;
    for (const worker of workers) {
      if (!this.#thieves.has(worker)) continue;
      const load = this.#loads.of(worker);
      const fetch_s = this.#holders.missingOf(task, worker, view) / this.#loads.bandwidth;
      const start_s = this.#occupancyOf_s(load) / load.threads + fetch_s;
      if (start_s >= best_s) continue;
      best = worker;
      best_s = start_s;
    }
    return best;
  }
}
