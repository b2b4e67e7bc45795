import { type GraphDraft, type Output, times } from "./draft.ts";

/** The shapes of the Pegasus workflow gallery, as ESTEE has them. Sizes are MiB, durations s. */

/** Mosaics of the sky. */
export function montage(draft: GraphDraft, width: number): void {
  const images = times(Math.floor(width / 4), () =>
    draft.tasksOf("mProjectPP", draft.normal(15, 3), [], [draft.normal(4, 1), draft.normal(4, 1)]),
  );
  const overlaps: Output[][] = times(width, () => []);
  for (const [i, outputs] of images.entries())
    for (let j = Math.max(0, 4 * i - 2); j < Math.min(width, 4 * i + 2); j++)
      overlaps[j]!.push(draft.chosen(outputs));
  const differences = overlaps.flatMap((inputs) =>
    draft.tasksOf("mDiffFit", draft.normal(10, 1), inputs, [draft.normal(0.2, 0.1), draft.normal(0.2, 0.1)]),
  );
  const fit = draft.task("mConcatFit", draft.normal(13, 2), differences, 0.01);
  const model = draft.task("mBgModel", draft.normal(11, 1), [fit], 0.01);
  const backgrounds = images.flatMap((outputs) =>
    draft.tasksOf(...(["mBackground", draft.normal(10, 1), [model, draft.chosen(outputs)]] as const), [
      draft.normal(4, 1),
      draft.normal(4, 1),
    ]),
  );
  draft.task("mImgTbl", 8, backgrounds);
}

/** Hazards of earthquakes. */
export function cyberShake(draft: GraphDraft, width: number): void {
  const tensors = times(2, () =>
    draft.tasksOf("ExtractGST", draft.normal(100, 50), [], [draft.normal(220, 80), draft.normal(220, 80)]),
  );
  const synthesis = times(width, (i) =>
    draft.task(
      ...(["SeismogramSynthesis", draft.normal(45, 10), tensors[2 * i < width ? 0 : 1]!] as const),
      draft.normal(0.02, 0.01),
    ),
  );
  draft.task("ZipSeis", draft.normal(0.5, 0.2), synthesis, draft.normal(0.2, 0.1));
  const peaks = synthesis.map((one) => draft.task("PeakValCalcOkaya", draft.normal(1, 0.5), [one], 0.01));
  draft.task("ZipPSA", draft.normal(0.5, 0.2), peaks, 0.1);
}

/** Sequences of a genome. */
export function epigenomics(draft: GraphDraft, width: number): void {
  const parts = draft.tasksOf(
    ...(["fastqSplit", draft.normal(35, 5), []] as const),
    times(width, () => draft.normal(10, 5)),
  );
  const mapped = parts.map((part) => {
    const sizes = times(2, () => draft.normal(5, 2));
    const filtered = draft.tasksOf("filter_Contams", draft.normal(1.5, 1), [part], sizes);
    const sanger = draft.task("sol2sanger", draft.normal(0.3, 0.2), [filtered[0]!], draft.normal(5, 2));
    const binary = draft.task("fastq2bfq", draft.normal(1, 0.2), [sanger], draft.normal(1, 0.5));
    return draft.task("map_chr", draft.normal(15_000, 2500), [binary], draft.normal(1, 0.5));
  });
  const merged = draft.tasksOf("mapMerge", draft.normal(10, 2), mapped, [draft.normal(20, 2), 0.5, 0.1]);
  const index = draft.task("maqindex", 0.02, [merged[0]!], 0.4);
  draft.task("pileup", draft.normal(6000, 200), [index], 3);
}

/** Gravitational waves: three blocks, of this width, a half and three quarters of it. */
export function ligo(draft: GraphDraft, width: number): void {
  for (const share of [1, 1 / 2, 3 / 4]) {
    let before: readonly Output[] = [];
    for (let stage = 0; stage < 2; stage++) {
      const spirals = times(Math.max(1, Math.round(width * share)), () => {
        const bank = draft.task("TmpItBank", draft.normal(19, 0.1), before, draft.normal(0.9, 0.1));
        return draft.task("Inspiral", draft.normal(400, 100), [bank], draft.normal(0.4, 0.1));
      });
      before = [draft.task("Thinca", draft.normal(5, 1), spirals, 0.02)];
    }
  }
}

/** RNA of bacteria: `count` copies of one shape. */
export function sipht(draft: GraphDraft, count: number): void {
  for (let i = 0; i < count; i++) siphtOf(draft);
}

function siphtOf(draft: GraphDraft): void {
  const parsed = times(20, () => draft.task("Parser", draft.normal(1, 0.2), [], draft.normal(0.1, 0.02)));
  const patterns = draft.task("Parser_concat", 0.05, parsed, draft.normal(1.5, 0.1));
  const terminators = draft.tasksOf(...(["Findterm", draft.normal(1800, 100), []] as const), [
    0,
    0,
    draft.normal(20, 1),
    draft.normal(0.2, 0.1),
    0,
    draft.normal(4, 1),
    draft.normal(4, 1),
    draft.normal(6, 1),
  ]);
  const found = [
    ...terminators,
    ...draft.tasksOf("RNAMotif", draft.normal(38, 2), [], [0, 1]),
    ...draft.tasksOf("Transterm", draft.normal(50, 2), [], [0, 0.5]),
    ...draft.tasksOf("Blast", draft.normal(1900, 100), [], [0, 0, 4.5]),
  ];
  const srna = draft
    .tasksOf(
      ...(["SRNA", draft.normal(450, 50), found] as const),
      times(10, () => draft.normal(0.5, 0.2)),
    )
    .at(-1)!;
  const sizes = times(8, () => draft.normal(0.5, 1));
  const [blast] = draft.tasksOf("BlastQRNA", draft.normal(1200, 100), [srna], sizes);
  const paralogues = draft.task("Blast_paralogues", draft.normal(5, 1), [srna], 0.9);
  const parse = draft.task("FFN_Parse", draft.normal(1, 1), [srna], 0.9);
  const synteny = draft.task("Blast_synteny", draft.normal(30, 5), [parse, srna], 1);
  const [candidate] = draft.tasksOf("Blast_candidate", draft.normal(6, 1), [srna], [0, 0, 0]);
  draft.tasksOf(
    ...([
      "SRNA_annotate",
      draft.normal(1, 2),
      [srna, blast!, paralogues, parse, synteny, candidate!, patterns],
    ] as const),
    times(8, () => draft.normal(0.5, 0.2)),
  );
}
