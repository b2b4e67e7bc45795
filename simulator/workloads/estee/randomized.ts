import type { GraphDraft, Output } from "./draft.ts";

/** ESTEE's random graphs: sizes are MiB, durations s. */

const DURATIONS_S = [1, 6, 30, 60, 180, 320, 600];
const SIZES_MIB = [0.01, 1, 10, 20, 50, 100, 200, 320, 640, 1000, 2500, 16_000, 32_000];
/** One task in fifty has up to 19 outputs. */
const SEVERAL = 0.02;

/** A graph that grows: the tasks from `first` on. */
interface Growing {
  readonly draft: GraphDraft;
  readonly first: number;
}

/** What a step does, by weight. */
const STEPS: readonly (readonly [(graph: Growing, step: number) => void, number])[] = [
  [independent, 10],
  [level, 40],
  [uniformLevel, 20],
  [links, 10],
  [duplicate, 5],
  // Another graph, of fewer steps, beside it.
  [({ draft }, step) => grow(draft, step), 5],
];
/** A graph that is so large grows no more. */
const TASKS_MAX = 5000;

/** A graph that grows by `steps` steps: levels upon what has no consumers yet, links, copies with noise, graphs beside it. */
export function randomized(draft: GraphDraft, steps: number): void {
  grow(draft, steps);
}

function grow(draft: GraphDraft, steps: number): void {
  const graph = { draft, first: draft.tasks };
  independent(graph);
  const weights = STEPS.map(([, weight]) => weight);
  for (let step = 0; step < steps && draft.tasks < TASKS_MAX; step++)
    STEPS[draft.weighted(weights)]![0](graph, step);
  links(graph);
}

function task(draft: GraphDraft, inputs: readonly Output[]): void {
  const seconds = draft.chosen(DURATIONS_S);
  const count = draft.weighted([1 - SEVERAL, SEVERAL]) === 0 ? 1 : draft.between(1, 20);
  const sizes = Array.from({ length: count }, () => {
    const mib = draft.chosen(SIZES_MIB);
    return draft.normal(mib, mib / 10);
  });
  draft.tasksOf(`task${seconds}`, draft.normal(seconds, seconds / 10), inputs, sizes);
}

function independent({ draft }: Growing): void {
  for (let i = draft.between(1, 20); i > 0; i--) task(draft, []);
}

/** How many inputs: few more likely than many. */
function inputCount(draft: GraphDraft, sources: number): number {
  return 1 + draft.weighted(Array.from({ length: sources }, (_, i) => 1 / (1 + 1.2 * i)));
}

/** An output of each of `count` of these tasks. */
function drawn(draft: GraphDraft, sources: readonly Output[][], count: number): Output[] {
  const left = [...sources];
  const inputs: Output[] = [];
  for (let i = 0; i < count; i++)
    inputs.push(draft.chosen(left.splice(draft.between(0, left.length), 1)[0]!));
  return inputs;
}

function level({ draft, first }: Growing): void {
  const sources = draft.leaves(first);
  for (let i = draft.between(1, 20); i > 0; i--)
    task(draft, drawn(draft, sources, inputCount(draft, sources.length)));
}

/** Tasks of one length, with as many inputs each. */
function uniformLevel({ draft, first }: Growing): void {
  const sources = draft.leaves(first);
  const inputs = inputCount(draft, sources.length);
  const seconds = draft.chosen(DURATIONS_S);
  const mib = draft.chosen(SIZES_MIB);
  const outputs = sources.flat().length;
  const count = draft.weighted([1, 1]) === 0 ? draft.between(4, 50) : draft.between(0, outputs);
  for (let i = 0; i < count; i++) {
    const taken = drawn(draft, sources, inputs);
    draft.task(`task${seconds}`, draft.normal(seconds, seconds / 15), taken, mib);
  }
}

function links({ draft, first }: Growing): void {
  const end = draft.tasks;
  for (let i = Math.ceil((end - first) / 20); i > 0; i--) {
    const task = draft.between(first, end);
    draft.link(task, draft.chosen(draft.outputsOf(draft.between(first, end))));
  }
}

function duplicate({ draft, first }: Growing): void {
  draft.duplicate(
    first,
    (seconds) => draft.normal(0, seconds / 20),
    (mib) => draft.normal(0, mib / 30),
  );
}
