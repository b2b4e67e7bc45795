import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import type { ClusterView } from "../policy.ts";

/** A task is weighed by its first so many inputs, and each of them by the first so many holders. */
const INPUTS_MAX = 512;
const HOLDERS_MAX = 32;

/** How many inputs of a task are looked at. */
export function inputCount(task: TaskId, view: ClusterView): number {
  return Math.min(view.dependencyCount(task), INPUTS_MAX);
}

/**
 * The workers that hold an input of the task, or will fetch one: all others have everything to fetch, and are as good as each
 * other. Some of them, where an input has very many. Written to `into`.
 */
export function inputWorkers(task: TaskId, view: ClusterView, into: WorkerId[]): void {
  into.length = 0;
  const seen = new Set<WorkerId>();
  for (let i = inputCount(task, view) - 1; i >= 0; i--) {
    const input = view.dependency(task, i);
    let looked_at = 0;
    for (let r = view.firstHolder(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextHolder(r)) {
      seen.add(view.holder(r));
      looked_at++;
    }
    looked_at = 0;
    for (let r = view.firstNeed(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextNeed(r)) {
      seen.add(view.need(r));
      looked_at++;
    }
  }
  into.push(...seen);
}

/** Whether the worker will fetch the input, as far as the first few that will are looked at. */
export function willFetch(input: TaskId, worker: WorkerId, view: ClusterView): boolean {
  let looked_at = 0;
  for (let r = view.firstNeed(input); r !== NONE && looked_at < HOLDERS_MAX; r = view.nextNeed(r)) {
    if (view.need(r) === worker) return true;
    looked_at++;
  }
  return false;
}
