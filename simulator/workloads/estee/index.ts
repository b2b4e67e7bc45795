import type { Workload } from "../workload.ts";
import { GraphDraft } from "./draft.ts";
import * as elementary from "./elementary.ts";
import * as pegasus from "./pegasus.ts";
import { randomized } from "./randomized.ts";
import * as real from "./real-world.ts";

interface Generator {
  readonly make: (draft: GraphDraft, size: number) => void;
  /** The study's. */
  readonly size: number;
  /** Beyond it a graph would have some hundred thousand tasks. */
  readonly size_max: number;
}

const MANY = 100_000;

/**
 * The graphs that ESTEE's study compared schedulers on (Beránek, Böhm, Cima: Analysis of workflow schedulers in simulated
 * distributed environments, J. Supercomputing 2022), by its names and with its sizes, durations and counts. A task here has one
 * core, as Dask's; `plain1cpus`, whose tasks differ from those of `plain1n` in that alone, is left out.
 */
export const ESTEE_GENERATORS: Readonly<Record<string, Generator>> = {
  plain1n: { make: elementary.plainNormal, size: 380, size_max: MANY },
  plain1e: { make: elementary.plainExponential, size: 380, size_max: MANY },
  triplets: { make: elementary.triplets, size: 110, size_max: MANY },
  merge_neighbours: { make: elementary.mergeNeighbours, size: 107, size_max: MANY },
  merge_triplets: { make: elementary.mergeTriplets, size: 111, size_max: MANY },
  merge_small_big: { make: elementary.mergeSmallBig, size: 80, size_max: MANY },
  fork1: { make: elementary.forkOne, size: 100, size_max: MANY },
  fork2: { make: elementary.forkTwo, size: 100, size_max: MANY },
  bigmerge: { make: elementary.bigMerge, size: 320, size_max: MANY },
  duration_stairs: { make: elementary.durationStairs, size: 190, size_max: MANY },
  size_stairs: { make: elementary.sizeStairs, size: 190, size_max: MANY },
  splitters: { make: elementary.splitters, size: 7, size_max: 17 },
  conflux: { make: elementary.conflux, size: 7, size_max: 17 },
  grid: { make: elementary.grid, size: 19, size_max: 500 },
  fern: { make: elementary.fern, size: 200, size_max: MANY },
  gridcat: { make: real.gridCat, size: 20, size_max: 400 },
  crossv: { make: real.crossValidation, size: 8, size_max: 20_000 },
  crossvx: { make: real.crossValidations, size: 4, size_max: 100 },
  fastcrossv: { make: real.fastCrossValidation, size: 8, size_max: 20_000 },
  mapreduce: { make: real.mapReduce, size: 160, size_max: 400 },
  nestedcrossv: { make: real.nestedCrossValidation, size: 5, size_max: 5000 },
  montage: { make: pegasus.montage, size: 50, size_max: MANY },
  cybershake: { make: pegasus.cyberShake, size: 50, size_max: MANY },
  epigenomics: { make: pegasus.epigenomics, size: 50, size_max: 40_000 },
  ligo: { make: pegasus.ligo, size: 20, size_max: 40_000 },
  sipht: { make: pegasus.sipht, size: 2, size_max: 5000 },
  randomized: { make: randomized, size: 12, size_max: 100 },
};

/** The graph of that name (a key of {@link ESTEE_GENERATORS}); a function of its seed and size. */
export function esteeGraph(name: string, generator: string, seed: number, size: number): Workload {
  const draft = new GraphDraft(seed);
  ESTEE_GENERATORS[generator]!.make(draft, size);
  return draft.workload(name);
}
