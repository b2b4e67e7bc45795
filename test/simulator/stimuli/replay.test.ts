import { describe, expect, test } from "vitest";
import { planWorld } from "../../../simulator/faults/plan.ts";
import { runWorld } from "../../../simulator/faults/run-world.ts";
import { REPLAYED_NAMES, StimulusReplay } from "../../../simulator/stimuli/replay.ts";
import { Scheduler } from "../../../src/core/scheduler.ts";
import { type Effect, STIMULUS_NAMES, type Stimulus, StimulusLog } from "../../../src/core/stimuli.ts";
import { type StimulusHeader, settingsToPlain } from "../../../src/core/stimulus-header.ts";
import { DEFAULT_DASK_SETTINGS } from "../../../src/schedulers/dask/settings.ts";

type Line = readonly [Stimulus, readonly Effect[]];

function header(scheduler: string, seed: number, allowed_failures: number): StimulusHeader {
  return {
    schema: "rsds.stimuli/1",
    rsds: { version: "0.0.0" },
    started_at: "2026-01-01T00:00:00Z",
    ...{ scheduler, seed, allowed_failures },
    settings: settingsToPlain(DEFAULT_DASK_SETTINGS),
  };
}

/** The log of a simulated world, as it comes out of a file. */
async function worldLog(seed: number): Promise<{ header: StimulusHeader; lines: Line[] }> {
  const lines: Line[] = [];
  const plan = planWorld(seed);
  const log = new StimulusLog((stimulus, effects) => {
    lines.push(JSON.parse(JSON.stringify([stimulus, effects])));
  });
  const { failure } = await runWorld(plan, null, null, log);
  expect(failure).toBeNull();
  return { header: header(plan.scheduler, plan.seed, plan.allowed_failures), lines };
}

/** A log in which many tasks are given out. */
async function busyLog(): Promise<Awaited<ReturnType<typeof worldLog>>> {
  for (let seed = 1; ; seed++) {
    const log = await worldLog(seed);
    const given = log.lines.flatMap(([, effects]) => effects).filter(([name]) => name === "computeTask");
    if (given.length >= 20) return log;
  }
}

function replay({ header, lines }: { header: StimulusHeader; lines: readonly Line[] }): StimulusReplay {
  const replayed = new StimulusReplay(header);
  for (const [stimulus, effects] of lines) replayed.apply(stimulus, effects);
  return replayed;
}

describe("a log of stimuli", () => {
  test("of worlds in which everything goes wrong is replayed to the same effects", {
    timeout: 120_000,
  }, async () => {
    const names = new Set<string>();
    for (let seed = 1; seed <= 150; seed++) {
      const log = await worldLog(seed);
      for (const [[name]] of log.lines) names.add(name);
      const replayed = replay(log);
      expect(replayed.first_difference, `seed ${seed}`).toBeNull();
      expect(replayed.stimuli).toBe(log.lines.length);
      expect(replayed.effects).toBe(log.lines.reduce((sum, [, effects]) => sum + effects.length, 0));
    }
    // What comes with pickled graphs, shuffles and heartbeats of Dask's own workers: the recorded logs have it.
    const elsewhere = [
      "payloadArrived",
      "payloadLost",
      "taskFailed",
      "restrictionsChanged",
      "taskRunning",
      "recompute",
    ];
    expect(STIMULUS_NAMES.filter((name) => !names.has(name) && !elsewhere.includes(name))).toEqual([]);
  });

  test("knows every method of the core that changes its books, and a replay has each", () => {
    // The policy's, and what answers without a change.
    const others = ["constructor", "assign", "queue", "refuse", "policy_name", "placing", "unfinished"];
    const methods = Object.getOwnPropertyNames(Scheduler.prototype).filter((name) => !others.includes(name));
    expect([...STIMULUS_NAMES].sort()).toEqual([...methods, "recycled"].sort());
    expect([...REPLAYED_NAMES].sort()).toEqual([...STIMULUS_NAMES].sort());
  });

  test("tells where a core did something else, and goes on", async () => {
    const { header, lines } = await busyLog();
    const at = lines.findIndex(([, effects]) => effects.some(([name]) => name === "computeTask"));
    const changed = lines.map(
      ([stimulus, effects], i): Line => [stimulus, i === at ? effects.slice(1) : effects],
    );
    const replayed = replay({ header, lines: changed });
    expect(replayed.differences).toBe(1);
    expect(replayed.first_difference).toMatchObject({ stimulus: at + 1, given: lines[at]![0] });
    expect(replayed.first_difference!.replayed.length).toBe(replayed.first_difference!.recorded.length + 1);
    expect(replayed.stimuli).toBe(lines.length);
    expect(replayed.digest()).toBe(replay({ header, lines }).digest());
  });

  test("has the same core do something else under another policy", async () => {
    const log = await busyLog();
    const other = log.header.scheduler === "single" ? "random" : "single";
    const replayed = replay({ ...log, header: { ...log.header, scheduler: other } });
    expect(replayed.differences).toBeGreaterThan(0);
  });

  test("of another version is told from a difference", () => {
    const replayed = new StimulusReplay(header("random", 1, 3));
    expect(() => replayed.apply(["taskPolished", 1], [])).toThrow("the core has no method 'taskPolished'");
  });
});
