import { type GraphDraft, type Output, times } from "./draft.ts";

/** ESTEE's elementary graphs: one shape each. Sizes are MiB, durations s. */

const LENGTHS_S = [10, 20, 60, 180];

/** Independent tasks of four lengths, each its own by a tenth. */
export function plainNormal(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) {
    const seconds = draft.chosen(LENGTHS_S);
    draft.task(`task${seconds}`, draft.normal(seconds, seconds / 10));
  }
}

export function plainExponential(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) draft.task("task", draft.exponential(60));
}

/** Chains of three. */
export function triplets(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) {
    const first = draft.task("a", draft.normal(5, 1.5), [], 40);
    const second = draft.task("b", draft.normal(120, 20), [first], 120);
    draft.task("c", draft.normal(32, 3), [second]);
  }
}

const large = (draft: GraphDraft): Output => draft.task("a", draft.normal(15, 3), [], draft.normal(99, 2.5));

/** A ring: each task takes two neighbours. */
export function mergeNeighbours(draft: GraphDraft, count: number): void {
  const sources = times(count, () => large(draft));
  for (let i = 0; i < count; i++)
    draft.task("b", draft.normal(15, 2), [sources[i]!, sources[(i + 1) % count]!]);
}

export function mergeTriplets(draft: GraphDraft, count: number): void {
  const sources = times(count, () => large(draft));
  for (let i = 0; i < count; i += 3) draft.task("b", draft.normal(15, 2), sources.slice(i, i + 3));
}

/** A small and a large input for each. */
export function mergeSmallBig(draft: GraphDraft, count: number): void {
  const small = times(count, () => draft.task("small", draft.normal(11, 3), [], 0.5));
  const big = times(count, () => draft.task("big", draft.normal(15, 3), [], draft.normal(99, 2.5)));
  for (let i = 0; i < count; i++) draft.task("merge", draft.normal(10, 1), [small[i]!, big[i]!]);
}

/** Two tasks for each result. */
export function forkOne(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) {
    const source = draft.task("a", draft.normal(17, 3), [], 100);
    for (const name of ["b", "c"]) draft.task(name, draft.normal(15, 2), [source]);
  }
}

/** Two tasks for each, an output for either. */
export function forkTwo(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) {
    const [one, other] = draft.tasksOf("a", draft.normal(17, 3), [], [100, 100]);
    draft.task("b", draft.normal(15, 2), [one!]);
    draft.task("c", draft.normal(15, 2), [other!]);
  }
}

export function bigMerge(draft: GraphDraft, count: number): void {
  const sources = times(count, () => draft.task("a", draft.normal(17, 3), [], 100));
  draft.task("merge", 40, sources);
}

/** Two tasks of each whole number of seconds. */
export function durationStairs(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) for (const name of ["a", "b"]) draft.task(name, i);
}

/** One task with outputs of all sizes, and one for each of them. */
export function sizeStairs(draft: GraphDraft, count: number): void {
  const sizes = times(count, (i) => i);
  for (const output of draft.tasksOf("source", 0.1, [], sizes)) draft.task("sink", 20, [output]);
}

/** A binary tree, from its root. */
export function splitters(draft: GraphDraft, depth: number): void {
  let level = [draft.task("root", 1, [], 512)];
  for (let i = 0; i < depth; i++)
    level = level.flatMap((input) => times(2, () => draft.task("split", draft.normal(20, 1), [input], 128)));
}

/** A binary tree, towards its root. */
export function conflux(draft: GraphDraft, depth: number): void {
  let level = times(2 ** depth, () => draft.task("top", draft.normal(20, 1.5), [], 128));
  while (level.length > 1)
    level = times(level.length / 2, (i) =>
      draft.task("join", draft.normal(20, 1), level.slice(2 * i, 2 * i + 2), 128),
    );
}

/** A square: each task takes the one above and the one before. */
export function grid(draft: GraphDraft, size: number): void {
  let above: Output[] = [];
  for (let row = 0; row < size; row++) {
    const made: Output[] = [];
    for (let column = 0; column < size; column++) {
      const inputs = [...above.slice(column, column + 1), ...made.slice(-1)];
      made.push(draft.task("cell", draft.normal(20, 1), inputs, 128));
    }
    above = made;
  }
}

/** A chain, each link of which takes the result of a task beside it. */
export function fern(draft: GraphDraft, length: number): void {
  let stem = draft.task("stem", draft.normal(20, 1), [], 5);
  for (let i = 0; i < length; i++) {
    const mib = draft.normal(5 + i / 10, i / 100);
    const leaf = draft.task("leaf", draft.normal(35, 3), [], draft.normal(42, 2));
    stem = draft.task("stem", draft.normal(17 + i / 10, 3), [stem, leaf], mib);
  }
}
