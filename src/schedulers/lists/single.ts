import type { WorkerId } from "../../base/ids.ts";
import type { ClusterView, OrderSink, PlacementSink, Policy, PolicyWatch } from "../policy.ts";
import { type EstimateSettings, MeasuredEstimates } from "./estimates.ts";
import { LevelOrder } from "./levels.ts";

/**
 * ESTEE's `single`: everything to one worker, the one with the most threads, in order of b-level: no transfers, and no
 * parallel work but that worker's own. Restricted tasks go to the one with the most threads of those that may run them.
 * A task costs a constant, a change of workers a look at all of them.
 */
export class SinglePolicy implements Policy {
  readonly name = "single";
  readonly #settings: EstimateSettings;
  readonly #levels = new LevelOrder("b-time");
  #estimates!: MeasuredEstimates;
  /** Found when it is needed; null after workers came or left. */
  #largest: WorkerId | null = null;
  /** The same of those that some restrictions allow: the view has one list for all tasks under them. */
  readonly #largest_allowed = new WeakMap<readonly WorkerId[], WorkerId>();

  constructor(settings: EstimateSettings) {
    this.#settings = settings;
  }

  readonly watch = (view: ClusterView): PolicyWatch => {
    const estimates = new MeasuredEstimates(view, this.#settings);
    this.#estimates = estimates;
    const workerRuns = (): void => {
      this.#largest = null;
    };
    return { ...this.#levels.watch(estimates.watch), workerRuns };
  };

  readonly order = (view: ClusterView, sink: OrderSink): void =>
    this.#levels.order(view, this.#estimates, sink);

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    const { items, length } = view.running;
    this.#largest ??= largestOf(items, length, view);
    for (let i = 0; i < count; i++) {
      const task = ready[i]!;
      const allowed = view.candidates(task);
      if (allowed === null) sink.assign(task, this.#largest);
      else if (allowed.length === 0) sink.refuse(task);
      else sink.assign(task, this.#largestAllowed(allowed, view));
    }
  }

  #largestAllowed(allowed: readonly WorkerId[], view: ClusterView): WorkerId {
    const known = this.#largest_allowed.get(allowed);
    if (known !== undefined) return known;
    const worker = largestOf(allowed, allowed.length, view);
    this.#largest_allowed.set(allowed, worker);
    return worker;
  }

  balance(): number {
    return Number.POSITIVE_INFINITY;
  }

  stealAnswered(): void {
    // It never asks for a steal.
  }
}

/** Of equal ones the one with the lowest number. */
function largestOf(workers: ArrayLike<WorkerId>, count: number, view: ClusterView): WorkerId {
  let best = workers[0]!;
  for (let i = 1; i < count; i++) {
    const worker = workers[i]!;
    const more = view.threads(worker) - view.threads(best);
    if (more > 0 || (more === 0 && worker < best)) best = worker;
  }
  return best;
}
