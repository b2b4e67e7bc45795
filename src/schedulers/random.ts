import { Prng } from "../base/prng.ts";
import type { ClusterView, PlacementSink, Policy } from "./policy.ts";

/**
 * RSDS's `random`: a uniformly random worker for each task; nothing else is looked at, nothing is moved later.
 * RSDS draws when the task arrives and holds it until it is ready; drawing when it is ready gives the same
 * distribution, and cannot pick a worker that has left in between.
 */
export class RandomPolicy implements Policy {
  readonly name = "random";
  readonly #prng: Prng;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    const { running } = view;
    for (let i = 0; i < count; i++) {
      const task = ready[i]!;
      const allowed = view.candidates(task);
      if (allowed === null) sink.assign(task, running.items[this.#prng.below(running.length)]!);
      else if (allowed.length === 0) sink.refuse(task);
      else sink.assign(task, allowed[this.#prng.below(allowed.length)]!);
    }
  }

  balance(): number {
    return Number.POSITIVE_INFINITY;
  }

  stealAnswered(): void {
    // It never asks for a steal, so no answer can concern it.
  }
}
