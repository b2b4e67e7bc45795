import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Comparison } from "../../src/results/compare.ts";
import type { Summary } from "../../src/results/summary.ts";
import { rsds } from "./rsds-process.ts";

const directory = mkdtempSync(join(tmpdir(), "rsds-compare-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const run = join(directory, "run");

beforeAll(async () => {
  const { status } = await rsds(
    ...["--zero-workers", "4", "--workload", "merge:300", "--repeat", "5", "--out", run, "--quiet"],
  );
  expect(status).toBe(0);
});

/** A copy of the run whose summary is another. */
function variant(name: string, change: (summary: Summary) => object): string {
  const folder = join(directory, name);
  mkdirSync(folder);
  const summary: Summary = JSON.parse(readFileSync(join(run, "summary.json"), "utf8"));
  writeFileSync(join(folder, "summary.json"), JSON.stringify(change(summary)));
  return folder;
}

/** The run with other makespans: those of its repeats, in seconds, and their median. */
function withMakespans(name: string, seconds: readonly number[]): string {
  return variant(name, (summary) => ({
    ...summary,
    makespan_s: { min: Math.min(...seconds), median: seconds.toSorted()[2]!, max: Math.max(...seconds) },
    repeats: summary.repeats.map((repeat, i) => ({ ...repeat, makespan_s: seconds[i]! })),
  }));
}

describe("rsds compare", () => {
  test("of a run with itself: ratios of 1, nothing beyond the noise", async () => {
    const { status, stdout } = await rsds("compare", run, run, "--json", "--fail-above", "0");
    expect(status).toBe(0);
    const comparison: Comparison = JSON.parse(stdout);
    expect(comparison).toMatchObject({ schema: "rsds.comparison/1", warnings: [], slower: [] });
    const figures = comparison.rows.map(({ figure }) => figure);
    for (const figure of ["makespan_s", "phases.encoding.decode", "hops.ready→placed.p99", "fleet.work"])
      expect(figures).toContain(figure);
    expect(comparison.rows.filter(({ ratio }) => ratio !== null && ratio !== 1)).toEqual([]);
    expect(comparison.rows.filter(({ beyond_noise }) => beyond_noise === true)).toEqual([]);
  });

  test("says what is slower by more than the noise, and fails above a given percentage", async () => {
    const a = withMakespans("plain", [0.1, 0.11, 0.1, 0.12, 0.3]);
    const slower = withMakespans("slower", [0.14, 0.13, 0.15, 0.14, 0.4]);
    const { status, stdout } = await rsds("compare", a, slower, "--fail-above", "20");
    expect(status).toBe(1);
    expect(stdout).toMatch(/\n {2}makespan_s +110 ms +140 ms +1.27 +yes\n/);
    expect(stdout).toContain("B is slower than A by more than 20 %: makespan_s");
    expect((await rsds("compare", a, slower, "--fail-above", "30")).status).toBe(0);
    expect((await rsds("compare", slower, a, "--fail-above", "20")).status).toBe(0);
  });

  test("leaves a difference within the noise alone", async () => {
    const a = withMakespans("early", [0.1, 0.11, 0.3, 0.32, 0.12]);
    const noisy = withMakespans("noisy", [0.1, 0.11, 0.3, 0.33, 0.31]);
    const { status, stdout } = await rsds("compare", a, noisy, "--fail-above", "20");
    expect(status).toBe(0);
    expect(stdout).toMatch(/\n {2}makespan_s +120 ms +300 ms +2.50 +no\n/);
  });

  test("warns of what makes two runs incomparable, and of too few repeats", async () => {
    const other = variant("other", (summary) => ({
      ...summary,
      run: { ...summary.run, transport: "memory", trace: "off", repeats: 1 },
      machine: { ...summary.machine, cores: 64 },
      phases: undefined,
      hops: undefined,
      repeats: summary.repeats.slice(0, 1).map(({ phases, hops, ...rest }) => rest),
    }));
    const { status, stdout } = await rsds("compare", run, other);
    expect(status).toBe(0);
    expect(stdout).toContain("not comparable? run.transport: tcp and memory");
    expect(stdout).toContain("not comparable? run.trace: phases and off");
    expect(stdout).toMatch(/not comparable\? machine\.cores: \d+ and 64/);
    expect(stdout).toContain("too few repeats (5 and 1)");
    expect(stdout).toMatch(/\n {2}phases\.encoding +\S+ µs +–\n/);
  });

  test.each([
    ["nowhere", (): string => join(directory, "nowhere"), "cannot be read"],
    ["no-json", (): string => variantText("no-json", "{"), "is not JSON"],
    ["empty", (): string => variantText("empty", "{}"), "its ledger is not as rsds writes it"],
    [
      "broken",
      (): string => variant("broken", (summary) => ({ ...summary, repeats: [{ ledger: {} }] })),
      "of repeats[0] is not as rsds writes it",
    ],
  ])("a folder that cannot be used (%s) is one line and status 2", async (_, folder, reason) => {
    const { status, stdout, stderr } = await rsds("compare", run, folder());
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^rsds compare: .*\n$/);
    expect(stderr).toContain(reason);
  });

  test("a percentage that is none is wrong usage", async () => {
    const { status, stderr } = await rsds("compare", run, run, "--fail-above", "much");
    expect(status).toBe(2);
    expect(stderr).toMatch(/^rsds: .*per cent.*\n$/);
  });
});

function variantText(name: string, text: string): string {
  const folder = join(directory, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "summary.json"), text);
  return folder;
}
