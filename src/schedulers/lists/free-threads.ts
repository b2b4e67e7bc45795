import type { TaskId, WorkerId } from "../../base/ids.ts";
import { Prng } from "../../base/prng.ts";
import type { ClusterView, OrderSink, PlacementSink, Policy, PolicyWatch } from "../policy.ts";
import { TransferCost } from "../transfer-cost.ts";
import { type EstimateSettings, MeasuredEstimates, type TaskEstimates } from "./estimates.ts";
import { inputCount, inputWorkers, willFetch } from "./input-workers.ts";
import { type LevelKind, LevelOrder } from "./levels.ts";

/** So few free workers are all looked at; of more, those that have to do with an input, and one of the others. */
const LOOK_MAX = 16;
/** Of more workers that a task's restrictions allow, as many are looked at. */
const ALLOWED_MAX = 32;
/** ESTEE: an input that is on its way to the worker anyway costs this share of its size. */
const UNDER_WAY = 0.1;

/**
 * The list schedulers that never give a worker more tasks than it has threads: the ready tasks with the best level go to free
 * workers, each to the one with the least to transfer; the rest wait in the scheduler. Nothing is moved later.
 * - `blevel`, `tlevel`: RSDS's (src/scheduler/level.rs), levels in tasks, its own transfer cost. A worker of several
 *   threads is filled at once, where RSDS gives each worker one task a call: its workers have one thread.
 * - `blevel-gt`: ESTEE's, levels in expected seconds, greedy transfer, ties by lot.
 * Placing a task costs the holders of its inputs; the order of a graph its edges and a sort.
 */
export class FreeThreadsPolicy implements Policy {
  readonly name: string;
  readonly #levels: LevelOrder;
  readonly #greedy: boolean;
  readonly #settings: EstimateSettings;
  readonly #prng: Prng;
  readonly #transfer = new TransferCost();
  readonly #candidates: WorkerId[] = [];
  #estimates!: TaskEstimates;
  #allowed_cursor = 0;

  constructor(name: "blevel" | "tlevel" | "blevel-gt", seed: number, settings: EstimateSettings) {
    const kinds: Readonly<Record<string, LevelKind>> = {
      blevel: "b-count",
      tlevel: "t-count",
      "blevel-gt": "b-time",
    };
    this.name = name;
    this.#levels = new LevelOrder(kinds[name]!);
    this.#greedy = name === "blevel-gt";
    this.#settings = settings;
    this.#prng = new Prng(seed);
  }

  readonly watch = (view: ClusterView): PolicyWatch => {
    const estimates = new MeasuredEstimates(view, this.#settings);
    this.#estimates = estimates;
    return this.#levels.watch(estimates.watch);
  };

  readonly order = (view: ClusterView, sink: OrderSink): void =>
    this.#levels.order(view, this.#estimates, sink);

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    for (let i = 0; i < count; i++) {
      const task = ready[i]!;
      const allowed = view.candidates(task);
      if (allowed !== null) this.#placeRestricted(task, allowed, view, sink);
      else if (view.underloaded.length > 0) sink.assign(task, this.#cheapestFree(task, view));
      else if (view.queueable(task)) sink.queue(task);
      else sink.assign(task, view.running.items[this.#prng.below(view.running.length)]!);
    }
  }

  #cheapestFree(task: TaskId, view: ClusterView): WorkerId {
    const { items, length } = view.underloaded;
    const candidates = this.#candidates;
    if (length > LOOK_MAX) {
      inputWorkers(task, view, candidates);
      candidates.push(items[this.#prng.below(length)]!);
    } else {
      candidates.length = 0;
      for (let i = 0; i < length; i++) candidates.push(items[i]!);
    }
    return this.#cheapest(task, candidates, view);
  }

  /** Of the free ones among `workers`, of which there is one. */
  #cheapest(task: TaskId, workers: readonly WorkerId[], view: ClusterView): WorkerId {
    let best = workers[0]!;
    let best_cost = Number.POSITIVE_INFINITY;
    let ties = 0;
    for (const worker of workers) {
      if (!view.underloaded.has(worker)) continue;
      const cost = this.#cost(task, worker, view);
      if (cost > best_cost) continue;
      ties = cost === best_cost ? ties + 1 : 1;
      // RSDS takes the first of equal ones, ESTEE draws.
      if (ties > 1 && !(this.#greedy && this.#prng.below(ties) === 0)) continue;
      best = worker;
      best_cost = cost;
    }
    return best;
  }

  #cost(task: TaskId, worker: WorkerId, view: ClusterView): number {
    if (!this.#greedy) return this.#transfer.of(task, worker, view);
    let bytes = 0;
    for (let i = inputCount(task, view) - 1; i >= 0; i--) {
      const input = view.dependency(task, i);
      if (view.holds(input, worker)) continue;
      const nbytes = this.#estimates.nbytes(input);
      bytes += willFetch(input, worker, view) ? UNDER_WAY * nbytes : nbytes;
    }
    return bytes;
  }

  /** Withholding is not for tasks that are tied to workers: they go there, free thread or not. */
  #placeRestricted(task: TaskId, allowed: readonly WorkerId[], view: ClusterView, sink: PlacementSink): void {
    if (allowed.length === 0) {
      sink.refuse(task);
      return;
    }
    const few =
      allowed.length <= ALLOWED_MAX
        ? allowed
        : Array.from({ length: ALLOWED_MAX }, () => allowed[this.#allowed_cursor++ % allowed.length]!);
    const free = few.filter((worker) => view.underloaded.has(worker));
    if (free.length > 0) sink.assign(task, this.#cheapest(task, free, view));
    else {
      const load = (worker: WorkerId): number => view.load(worker) / view.threads(worker);
      sink.assign(
        task,
        few.reduce((a, b) => (load(b) < load(a) ? b : a)),
      );
    }
  }

  balance(): number {
    return Number.POSITIVE_INFINITY;
  }

  stealAnswered(): void {
    // It never asks for a steal.
  }
}
