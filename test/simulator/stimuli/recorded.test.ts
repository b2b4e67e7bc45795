import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readStimuli, type StimulusLine } from "../../../simulator/stimuli/read.ts";
import { replayStimuli } from "../../../simulator/stimuli/report.ts";
import { STIMULUS_NAMES } from "../../../src/core/stimuli.ts";

/** Logs of real dask clients and workers: `node scripts/record-stimuli.mjs` makes them anew. */
const FOLDER = join(import.meta.dirname, "recorded");
const FILES = readdirSync(FOLDER);
const PROGRESS = { say: () => undefined, signal: new AbortController().signal };

describe("real runs, told to the core once more", () => {
  test.each(FILES)("%s: it does what it did, and all invariants hold", async (file) => {
    const report = await replayStimuli(join(FOLDER, file), PROGRESS);
    // A core that is meant to do something else needs new logs; one that is not has a bug.
    expect(report.first_difference).toBeNull();
    expect(report).toMatchObject({
      breach: null,
      differences: 0,
      recorded: { scheduler: file.split(".")[0] },
    });
    expect(report.stimuli).toBeGreaterThan(2_000);
    expect(report.effects).toBeGreaterThan(1_000);
    expect((await replayStimuli(join(FOLDER, file), PROGRESS)).digest).toBe(report.digest);
  });

  test("have nearly everything that a core can be told, and say", async () => {
    const told = new Set<string>();
    const said = new Set<string>();
    for (const file of FILES)
      for await (const line of readStimuli(join(FOLDER, file))) {
        if (!Array.isArray(line)) continue;
        const [stimulus, effects] = line as StimulusLine;
        told.add(stimulus[0]);
        for (const [name] of effects) said.add(name);
      }
    // A restarted shuffle; a graph that Python fails to open half-way; steals are the policy's, but for tests' own.
    const rare = ["recompute", "payloadLost", "taskFailed", "resourcesChanged", "clientDesiresKey", "steal"];
    expect(STIMULUS_NAMES.filter((name) => !told.has(name) && !rare.includes(name))).toEqual([]);
    for (const name of ["computeTask", "freeKeys", "stealRequest", "keyInMemory", "taskErred"])
      expect(said).toContain(name);
    for (const name of ["lostData", "cancelledKeys", "taskRetried"]) expect(said).toContain(name);
  });
});
