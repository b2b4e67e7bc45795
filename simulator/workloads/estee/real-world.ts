import { type GraphDraft, type Output, times } from "./draft.ts";

/** ESTEE's graphs that are inspired by real workloads. Sizes are MiB, durations s. */

const CHECKSUM_MIB = 16 / 2 ** 20;
const SCORE_MIB = 1e-4;

/** All pairs of some files are concatenated, each is hashed, the hashes merged. */
export function gridCat(draft: GraphDraft, count: number): void {
  const sizes = times(count, () => draft.normal(300, 25));
  const files = sizes.map((mib) => draft.task("input", draft.normal(0.01, 0.001), [], mib));
  const hashes: Output[] = [];
  for (let i = 0; i < count; i++)
    for (let j = i + 1; j < count; j++) {
      const mib = sizes[i]! + sizes[j]!;
      const cat = draft.task("cat", draft.normal(0.2, 0.01) + mib / 1000, [files[i]!, files[j]!], mib);
      hashes.push(draft.task("hash", draft.normal(0.2, 0.01) + mib / 500, [cat], CHECKSUM_MIB));
    }
  draft.task("merge", 0.1, hashes, CHECKSUM_MIB);
}

const CHUNK_MIB = 320;
const CHUNKS = 5;

/** All but the one at `left_out`. */
function without(chunks: readonly Output[], left_out: number): Output[] {
  return chunks.filter((_, i) => i !== left_out);
}

/** Trains on each of these merges, evaluates on the chunk that it leaves out: the scores. */
function trained(
  draft: GraphDraft,
  merges: readonly Output[],
  chunks: readonly Output[],
  times_s: { readonly train: number; readonly evaluate: number },
): Output[] {
  return merges.map((merge, i) => {
    const model = draft.task("train", draft.exponential(times_s.train), [merge], 18);
    return draft.task("eval", draft.normal(times_s.evaluate, 3), [model, chunks[i]!], SCORE_MIB);
  });
}

/** A cross-validation of `count` settings, `factor` times as long as the study's. */
export function crossValidation(draft: GraphDraft, count: number, factor = 1): void {
  const chunks = draft.tasksOf("generator", draft.normal(5, 0.5), [], new Array(CHUNKS).fill(CHUNK_MIB));
  const merges = chunks.map((_, i) =>
    draft.task("merge", draft.normal(1.1, 0.02), without(chunks, i), CHUNK_MIB * (CHUNKS - 1)),
  );
  for (let i = 0; i < count; i++) {
    const scores = trained(draft, merges, chunks, { train: 680 * factor, evaluate: 34 * factor });
    draft.task("final", 0.2, scores);
  }
}

export function fastCrossValidation(draft: GraphDraft, count: number): void {
  crossValidation(draft, count, 0.02);
}

/** Several cross-validations at once: `count` of as many settings. */
export function crossValidations(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) crossValidation(draft, count);
}

/** In each fold a cross-validation of its own finds the best of `count` settings. */
export function nestedCrossValidation(draft: GraphDraft, count: number): void {
  const folds = draft.tasksOf("generator", draft.normal(5, 0.5), [], new Array(CHUNKS).fill(CHUNK_MIB));
  for (let left_out = 0; left_out < CHUNKS; left_out++) {
    const inner = without(folds, left_out);
    const merges = inner.map((_, i) =>
      draft.task("merge", draft.normal(1.1, 0.02), without(inner, i), CHUNK_MIB * (inner.length - 1)),
    );
    const averages = times(count, (setting) => {
      const scores = trained(draft, merges, inner, { train: 680 * (setting + 1), evaluate: 35 });
      return draft.task("avg_score", 0.2, scores, SCORE_MIB);
    });
    const best = draft.task("best_param", 0.2, averages, SCORE_MIB);
    const all = draft.task("merge_all", draft.normal(1, 0.02), inner, CHUNK_MIB * inner.length);
    const model = draft.task("train_best", draft.exponential(680), [all, best], 18);
    draft.task("eval_best", draft.normal(38, 3), [model, folds[left_out]!], SCORE_MIB);
  }
}

const SPLIT_MIB = 2560;
const MAPPED_MIB = 250;

/** One splits, `count` map with an output for each of as many that reduce. */
export function mapReduce(draft: GraphDraft, count: number): void {
  const splits = draft.tasksOf("splitter", 10, [], new Array(count).fill(SPLIT_MIB));
  const sizes = splits.map(() => times(count, () => draft.normal(MAPPED_MIB / count, 20 / count)));
  const maps = splits.map((split, i) => draft.tasksOf("map", draft.normal(50, 10), [split], sizes[i]!));
  for (let i = 0; i < count; i++) {
    const seconds = sizes.reduce((sum, of_map) => sum + of_map[i]! / 25, 0);
    draft.task(
      "reduce",
      draft.normal(seconds, 5),
      maps.map((outputs) => outputs[i]!),
    );
  }
}
