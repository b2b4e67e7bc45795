import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Comparison } from "../../src/results/comparison.ts";
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

  describe("of simulated runs", () => {
    const simulated = (name: string, ...args: string[]): Promise<unknown> =>
      rsds("simulate", "--workload", "random:300:1", "--quiet", "--out", join(directory, name), ...args);
    const of = (name: string): string => join(directory, name);

    beforeAll(async () => {
      const few = ["--workers", "4", "--repeat", "5"];
      await simulated("slow-network", ...few, "--network", "maxmin", "--bandwidth", "1");
      await simulated("fast-network", ...few, "--network", "instant");
      await simulated("other-work", ...few, "--workload", "tree:5");
    });

    test("has makespan, utilisation and bytes with what the seeds are apart, and what differs", async () => {
      const { status, stdout } = await rsds("compare", of("fast-network"), of("slow-network"), "--json");
      expect(status).toBe(0);
      const comparison: Comparison = JSON.parse(stdout);
      expect(comparison).toMatchObject({ schema: "rsds.comparison/1", warnings: [], slower: [] });
      expect(comparison.differs).toContain("run.network: instant and maxmin");
      const row = (figure: string) => comparison.rows.find((one) => one.figure === figure);
      for (const figure of ["makespan_s", "utilisation", "bytes_moved"]) {
        const { a, b, a_range, b_range } = row(figure)!;
        expect(a_range![0]).toBeLessThanOrEqual(a!);
        expect(a_range![1]).toBeGreaterThanOrEqual(a!);
        expect(b_range![0]).toBeLessThan(b_range![1]);
        expect(b).toBeLessThanOrEqual(b_range![1]);
      }
      expect(row("makespan_s")).toMatchObject({ section: "simulation", beyond_noise: true });
      expect(row("tasks_finished")).toMatchObject({ a: 300, b: 300, ratio: 1 });
      expect(row("bounds.critical_path_s")).toMatchObject({ ratio: 1, beyond_noise: null });
    });

    test("fails above a percentage, by the makespan; with itself nothing differs", async () => {
      const slower = await rsds("compare", of("fast-network"), of("slow-network"), "--fail-above", "10");
      expect(slower.status).toBe(1);
      expect(slower.stdout).toMatch(
        /\n {2}makespan_s +\S+ ms( \([^)]*\))? +\S+ m?s \(\S+ m?s – \S+ m?s\) +\S+ +yes\n/,
      );
      expect(slower.stdout).toContain("B is slower than A by more than 10 %: makespan_s");
      expect(
        (await rsds("compare", of("slow-network"), of("fast-network"), "--fail-above", "10")).status,
      ).toBe(0);
      const same = await rsds("compare", of("slow-network"), of("slow-network"), "--fail-above", "0");
      expect([same.status, same.stdout]).toEqual([0, expect.stringContaining("not slower")]);
    });

    test("warns of other work, and refuses a real run beside a simulated one", async () => {
      const other = await rsds("compare", of("fast-network"), of("other-work/tree-5"));
      expect(other.stdout).toContain("not comparable? run.workload: random:300:1 and tree:5");
      const mixed = await rsds("compare", run, of("fast-network"));
      expect([mixed.status, mixed.stdout]).toEqual([2, ""]);
      expect(mixed.stderr).toMatch(
        /^rsds compare: .*fast-network is of a simulation.*compare two of a kind\n$/,
      );
      const broken = variantText("broken-simulation", '{"schema": "rsds.simulation/1"}');
      expect((await rsds("compare", broken, broken)).stderr).toContain("its rsds is not as rsds writes it");
    });
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
