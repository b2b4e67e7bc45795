import type { ClusterView, PlacementSink, Policy } from "../../src/schedulers/policy.ts";

/** Gives a worker no more tasks than it has threads and holds the rest back, as Dask does with root tasks. */
export class QueuingPolicy implements Policy {
  readonly name = "queuing";

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    for (let i = 0; i < count; i++) {
      const task = ready[i]!;
      const allowed = view.candidates(task);
      if (allowed !== null && allowed.length === 0) sink.refuse(task);
      else if (allowed !== null) sink.assign(task, allowed[0]!);
      else if (view.underloaded.length > 0) sink.assign(task, view.underloaded.items[0]!);
      else if (view.queueable(task)) sink.queue(task);
      else sink.assign(task, view.running.items[0]!);
    }
  }

  balance(): number {
    return Number.POSITIVE_INFINITY;
  }

  stealAnswered(): void {
    // It never asks for a steal.
  }
}
