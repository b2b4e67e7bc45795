import { NONE, type TaskId } from "../../base/ids.ts";
import { grown, IntStack } from "../../base/typed-arrays.ts";
import { type ClusterView, type OrderSink, type PolicyWatch, UNWATCHED } from "../policy.ts";
import type { EstimateWatch, TaskEstimates } from "./estimates.ts";

/** Of the levels of a task's consumers MCP compares so many. */
const CONSUMERS_COMPARED = 16;

/**
 * How important a task is:
 * - `b-count`: tasks on the longest path to an end of the graph, itself included (RSDS's b-level);
 * - `t-count`: tasks on the longest path from a beginning to it, itself included (RSDS's t-level), the fewest first;
 * - `b-time`: expected seconds of that path to an end (ESTEE's b-level);
 * - `alap`: the latest start by which no path gets longer, transfers included; the earliest first, then by its consumers' (MCP).
 */
export type LevelKind = "b-count" | "t-count" | "b-time" | "alap";

/**
 * Gives the tasks of each graph their places in the order of some level, once they are known. Tasks of earlier graphs keep
 * theirs: RSDS and ESTEE level the whole graph anew, which differs where a graph is added to another that has begun.
 * A graph costs its edges, and a sort of its tasks.
 */
export class LevelOrder {
  readonly #kind: LevelKind;
  /** Tasks that wait since the last time, and are to get a level. */
  readonly #fresh = new IntStack(1024);
  /** By task: its level; NaN: it has none yet. */
  #level = new Float64Array(1024).fill(Number.NaN);
  /** Of the graph at hand, by task: neighbours that have no level yet. */
  #missing = new Int32Array(1024);
  #is_fresh = new Uint8Array(1024);
  /** `alap` alone: the earliest start, by the paths that lead to it. */
  #earliest_s = new Float64Array(1024);

  constructor(kind: LevelKind) {
    this.#kind = kind;
  }

  /** The watch of a policy: the levels follow the tasks beside what its estimates follow. */
  watch(estimates: EstimateWatch & Partial<PolicyWatch>): PolicyWatch {
    return {
      ...UNWATCHED,
      ...estimates,
      taskWaiting: (task) => this.#taskWaiting(task),
      taskForgotten: (task) => {
        estimates.taskForgotten(task);
        this.#taskForgotten(task);
      },
    };
  }

  #taskWaiting(task: TaskId): void {
    if (task >= this.#level.length) this.#grow(task);
    if (!Number.isNaN(this.#level[task]!) || this.#is_fresh[task] === 1) return;
    this.#is_fresh[task] = 1;
    this.#fresh.push(task);
  }

  #taskForgotten(task: TaskId): void {
    if (task >= this.#level.length) return;
    this.#level[task] = Number.NaN;
    // Its number may be another's by the time that the rest is levelled.
    this.#is_fresh[task] = 0;
  }

  /** Zero for a task that has none. */
  levelOf(task: TaskId): number {
    return task < this.#level.length && !Number.isNaN(this.#level[task]!) ? this.#level[task]! : 0;
  }

  /** Levels what came since the last time, and has it run in that order. */
  order(view: ClusterView, estimates: TaskEstimates, sink: OrderSink): void {
    if (this.#fresh.length === 0) return;
    const listed = this.#fresh.items.subarray(0, this.#fresh.length);
    const fresh = [...new Set(listed)].filter((task) => this.#is_fresh[task] === 1);
    this.#fresh.clear();
    if (this.#kind === "t-count") this.#fromAbove(fresh, view, () => 1, 1);
    else if (this.#kind === "b-count") this.#fromBelow(fresh, view, () => 1);
    else if (this.#kind === "b-time") this.#fromBelow(fresh, view, (task) => estimates.duration_s(task));
    else this.#alap(fresh, view, estimates);
    for (const task of fresh) this.#is_fresh[task] = 0;
    this.#place(fresh, view, sink);
  }

  #place(fresh: TaskId[], view: ClusterView, sink: OrderSink): void {
    const sign = this.#kind === "b-count" || this.#kind === "b-time" ? -1 : 1;
    const level = this.#level;
    const lists =
      this.#kind === "alap" ? new Map(fresh.map((task) => [task, this.#listOf(task, view)])) : null;
    const before = new Map(fresh.map((task) => [task, view.order(task)]));
    fresh.sort(
      (a, b) =>
        sign * (level[a]! - level[b]!) ||
        (lists === null ? 0 : compareLists(lists.get(a)!, lists.get(b)!)) ||
        before.get(a)! - before.get(b)! ||
        a - b,
    );
    for (const [place, task] of fresh.entries()) sink.setOrder(task, place);
  }

  /** MCP's list: its consumers' levels, the latest first. */
  #listOf(task: TaskId, view: ClusterView): number[] {
    const levels: number[] = [];
    for (let edge = view.firstDependent(task); edge !== NONE; edge = view.nextDependent(edge))
      levels.push(this.levelOf(view.dependent(edge)));
    return levels.sort((a, b) => b - a).slice(0, CONSUMERS_COMPARED);
  }

  // ---- walks, each task once its neighbours on one side have been walked

  /** The longest way to an end: over consumers, those of earlier graphs with the levels that they have. */
  #fromBelow(fresh: readonly TaskId[], view: ClusterView, weight: (task: TaskId) => number): void {
    this.#walkUp(fresh, view, (task) => {
      let longest = 0;
      for (let edge = view.firstDependent(task); edge !== NONE; edge = view.nextDependent(edge))
        longest = Math.max(longest, this.levelOf(view.dependent(edge)));
      this.#level[task] = longest + weight(task);
    });
  }

  /** The longest way from a beginning, `weight` of each task before it, and `own`. */
  #fromAbove(
    fresh: readonly TaskId[],
    view: ClusterView,
    weight: (task: TaskId) => number,
    own: number,
  ): void {
    this.#walkDown(fresh, view, (task) => {
      let longest = own;
      for (let i = view.dependencyCount(task) - 1; i >= 0; i--) {
        const dependency = view.dependency(task, i);
        longest = Math.max(longest, this.levelOf(dependency) + weight(dependency));
      }
      this.#level[task] = longest;
    });
  }

  #alap(fresh: readonly TaskId[], view: ClusterView, estimates: TaskEstimates): void {
    const transfer_s = (task: TaskId): number => estimates.nbytes(task) / estimates.bandwidth;
    this.#fromAbove(fresh, view, (task) => estimates.duration_s(task) + transfer_s(task), 0);
    for (const task of fresh) this.#earliest_s[task] = this.#level[task]!;
    for (const task of fresh) this.#level[task] = Number.NaN;
    this.#walkUp(fresh, view, (task) => {
      let latest_s = Number.POSITIVE_INFINITY;
      for (let edge = view.firstDependent(task); edge !== NONE; edge = view.nextDependent(edge))
        latest_s = Math.min(latest_s, this.levelOf(view.dependent(edge)) - transfer_s(task));
      const start_s = latest_s - estimates.duration_s(task);
      this.#level[task] = latest_s === Number.POSITIVE_INFINITY ? this.#earliest_s[task]! : start_s;
    });
  }

  #walkUp(fresh: readonly TaskId[], view: ClusterView, visit: (task: TaskId) => void): void {
    const stack: TaskId[] = [];
    for (const task of fresh) {
      let missing = 0;
      for (let edge = view.firstDependent(task); edge !== NONE; edge = view.nextDependent(edge))
        if (this.#isFresh(view.dependent(edge))) missing++;
      this.#missing[task] = missing;
      if (missing === 0) stack.push(task);
    }
    for (let task = stack.pop(); task !== undefined; task = stack.pop()) {
      visit(task);
      this.#missing[task] = 0;
      for (let i = view.dependencyCount(task) - 1; i >= 0; i--) {
        const dependency = view.dependency(task, i);
        if (this.#isFresh(dependency) && --this.#missing[dependency]! === 0) stack.push(dependency);
      }
    }
  }

  #walkDown(fresh: readonly TaskId[], view: ClusterView, visit: (task: TaskId) => void): void {
    const stack: TaskId[] = [];
    for (const task of fresh) {
      let missing = 0;
      for (let i = view.dependencyCount(task) - 1; i >= 0; i--)
        if (this.#isFresh(view.dependency(task, i))) missing++;
      this.#missing[task] = missing;
      if (missing === 0) stack.push(task);
    }
    for (let task = stack.pop(); task !== undefined; task = stack.pop()) {
      visit(task);
      this.#missing[task] = 0;
      for (let edge = view.firstDependent(task); edge !== NONE; edge = view.nextDependent(edge)) {
        const dependent = view.dependent(edge);
        if (this.#isFresh(dependent) && --this.#missing[dependent]! === 0) stack.push(dependent);
      }
    }
  }

  /** A neighbour of the graph at hand that has not been visited. */
  #isFresh(task: TaskId): boolean {
    return task < this.#is_fresh.length && this.#is_fresh[task] === 1 && Number.isNaN(this.#level[task]!);
  }

  #grow(task: TaskId): void {
    const capacity = Math.max(task + 1, 2 * this.#level.length);
    this.#level = grown(this.#level, capacity, Number.NaN);
    this.#missing = grown(this.#missing, capacity);
    this.#earliest_s = grown(this.#earliest_s, capacity);
    this.#is_fresh = grown(this.#is_fresh, capacity);
  }
}

function compareLists(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}
