import type { WorldPlan } from "./plan.ts";
import { runWorld } from "./run-world.ts";

/** A part of a world that fails as the whole does. */
export interface SmallWorld {
  readonly plan: WorldPlan;
  /** Positions of the steps that are left, in order. */
  readonly steps: readonly number[];
  readonly failure: string;
}

/** Worlds that may be run to make one smaller. */
const RUNS_MAX = 2_000;

/**
 * Takes steps, workers and clients away for as long as the world fails (for whatever reason): first large parts of the
 * steps, then smaller ones, down to single ones.
 */
export async function shrink(plan: WorldPlan, failure: string, aborted: () => boolean): Promise<SmallWorld> {
  let runs = 0;
  let small: SmallWorld = { plan, steps: plan.steps.map((_, i) => i), failure };
  const tryOut = async (candidate: WorldPlan, steps: readonly number[]): Promise<boolean> => {
    if (runs++ >= RUNS_MAX || aborted()) return false;
    const verdict = await runWorld(candidate, new Set(steps));
    if (verdict.failure === null) return false;
    small = { plan: candidate, steps, failure: verdict.failure };
    return true;
  };
  for (let part = Math.ceil(small.steps.length / 2); part >= 1; part = part > 1 ? Math.ceil(part / 2) : 0)
    for (let at = 0; at < small.steps.length; )
      if (!(await tryOut(small.plan, without(small.steps, at, part)))) at += part;
  for (const what of ["workers", "clients"] as const)
    while (
      small.plan[what] > 1 &&
      (await tryOut({ ...small.plan, [what]: small.plan[what] - 1 }, small.steps))
    );
  // With less around them, some more steps may be of no account.
  for (let at = 0; at < small.steps.length; )
    if (!(await tryOut(small.plan, without(small.steps, at, 1)))) at++;
  return small;
}

function without(steps: readonly number[], at: number, count: number): number[] {
  return [...steps.slice(0, at), ...steps.slice(at + count)];
}
