import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import type { ClusterView, OrderSink, PlacementSink, Policy, PolicyWatch } from "../policy.ts";
import { EarliestStart, type Start } from "./earliest-start.ts";
import type { EstimateSettings } from "./estimates.ts";
import { LevelOrder } from "./levels.ts";

/** Of more ready tasks, those with the best levels are weighed against each other. */
const WINDOW = 256;

/** ESTEE's policies that place every ready task at once, where and in the order that estimated starts say. */
type Rule = "etf" | "dls" | "mcp";

/**
 * ESTEE's list schedulers over the ready tasks:
 * - `etf`: of all pairs of a task and a worker the one that starts earliest, of equal ones the higher b-level; and again;
 * - `dls`: the pair with the most b-level less start;
 * - `mcp`: task by task, the earliest latest-possible start first, each to the worker that starts it earliest.
 * Levels are in expected seconds. ESTEE weighs all pairs of ready tasks and workers anew for each task; here a
 * task's best worker is found among the holders of its inputs and the one that is free soonest, and is only sought anew when that
 * worker got something else. With R ready tasks: `mcp` R, `etf` and `dls` R times a window of the 256 best levels.
 * Nothing is withheld, nothing is moved later.
 */
export class ListPolicy implements Policy {
  readonly name: Rule;
  readonly #settings: EstimateSettings;
  readonly #levels: LevelOrder;
  #starts!: EarliestStart;
  readonly #start: Start = { worker: NONE, start_s: 0 };

  constructor(name: Rule, settings: EstimateSettings) {
    this.name = name;
    this.#settings = settings;
    this.#levels = new LevelOrder(name === "mcp" ? "alap" : "b-time");
  }

  readonly watch = (view: ClusterView): PolicyWatch => {
    const starts = new EarliestStart(view, this.#settings);
    this.#starts = starts;
    return this.#levels.watch(starts.watch);
  };

  readonly order = (view: ClusterView, sink: OrderSink): void =>
    this.#levels.order(view, this.#starts.estimates, sink);

  place(ready: Int32Array, count: number, _view: ClusterView, sink: PlacementSink): void {
    if (this.name === "mcp") {
      for (let i = 0; i < count; i++) this.#placeOne(ready[i]!, sink);
      return;
    }
    const window: Candidate[] = [];
    let next = 0;
    while (next < count && window.length < WINDOW) window.push(this.#candidate(ready[next++]!));
    while (window.length > 0) {
      let best = 0;
      for (let i = 1; i < window.length; i++) if (this.#isBetter(window[i]!, window[best]!)) best = i;
      const { task, worker } = window[best]!;
      if (worker === NONE) sink.refuse(task);
      else sink.assign(task, worker);
      // The order of the window is that of levels, by which ties are broken.
      window.splice(best, 1);
      if (next < count) window.push(this.#candidate(ready[next++]!));
      for (const candidate of window) if (candidate.worker === worker) this.#seek(candidate);
    }
  }

  #placeOne(task: TaskId, sink: PlacementSink): void {
    this.#starts.best(task, this.#start);
    if (this.#start.worker === NONE) sink.refuse(task);
    else sink.assign(task, this.#start.worker);
  }

  #candidate(task: TaskId): Candidate {
    const candidate = { task, worker: NONE, start_s: 0, level: this.#levels.levelOf(task) };
    this.#seek(candidate);
    return candidate;
  }

  #seek(candidate: Candidate): void {
    this.#starts.best(candidate.task, this.#start);
    candidate.worker = this.#start.worker;
    candidate.start_s = this.#start.start_s;
  }

  #isBetter(a: Candidate, b: Candidate): boolean {
    if (this.name === "dls") return a.level - a.start_s > b.level - b.start_s;
    return a.start_s < b.start_s || (a.start_s === b.start_s && a.level > b.level);
  }

  balance(): number {
    return Number.POSITIVE_INFINITY;
  }

  stealAnswered(): void {
    // It never asks for a steal.
  }
}

interface Candidate {
  readonly task: TaskId;
  worker: WorkerId;
  start_s: number;
  readonly level: number;
}
