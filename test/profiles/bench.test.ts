import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, test, vi } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface Interval {
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}
interface Both extends Interval {
  readonly before: number[][];
  readonly after: number[][];
}
interface Case {
  readonly name: string;
}
interface DaskRun {
  readonly tasks: number;
  readonly wall_s: number;
  readonly children_cpu_us: number;
}
interface Baseline {
  readonly schema: string;
  readonly cases: Record<string, { readonly cpu_us: readonly number[] }>;
}
/** Scripts without types: what is used of them is said here. */
interface Scripts {
  CASES: readonly Case[];
  ratioInterval(before: number[][], after: number[][]): Interval;
  verdict(interval: Interval, fail_above: number): string;
  measureBoth(one: Case, roots: readonly string[], options: object): Promise<Both>;
  renderAgainst(results: Record<string, Both & { verdict: string }>, commit: string, above: number): string;
  measureBeside(one: object, options: object): Promise<{ dask: DaskRun[]; rsds: DaskRun[] }>;
  renderBench(results: Record<string, object>, baseline: null): string;
  missedTargets(results: Record<string, object>): { figure: string }[];
  baselinePath(machine: undefined, folder: string): string;
  readBaseline(path: string): Baseline | null;
  saveBaseline(document: Baseline, path: string): string;
  slowerThanBaseline(results: Baseline["cases"], baseline: Baseline, per_cent: number): { case: string }[];
  withCommit(
    commit: string,
    say: (text: string) => void,
    use: (root: string) => Promise<Both>,
  ): Promise<Both>;
}
const {
  baselinePath,
  readBaseline,
  saveBaseline,
  slowerThanBaseline,
  renderBench,
  missedTargets,
  measureBeside,
  CASES,
  ratioInterval,
  verdict,
  measureBoth,
  renderAgainst,
  withCommit,
}: Scripts = {
  ...(await import(new URL("../../profiles/bench/cases.mjs", import.meta.url).href)),
  ...(await import(new URL("../../profiles/bench/statistics.mjs", import.meta.url).href)),
  ...(await import(new URL("../../profiles/bench/against.mjs", import.meta.url).href)),
  ...(await import(new URL("../../profiles/bench/dask.mjs", import.meta.url).href)),
  ...(await import(new URL("../../profiles/bench/report.mjs", import.meta.url).href)),
  ...(await import(new URL("../../profiles/bench/baselines.mjs", import.meta.url).href)),
};

function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ["profiles/bench.mjs", ...args], {
    cwd: root,
    encoding: "utf8",
    timeout: 150_000,
  });
}

// Builds and several real processes each, on machines that may have other things to do.
vi.setConfig({ testTimeout: 180_000 });

test("a case is measured with its targets, its threads and the machine", () => {
  const only = ["--quick", "--repeat", "1", "--dask", "off", "--only", "groupby"];
  const { status, stdout, stderr } = bench(...only, "--json");
  expect(stderr).toContain("1/1  groupby-90-1s-8H 168");
  expect(status).toBe(0);
  const document = JSON.parse(stdout);
  expect(document).toMatchObject({ schema: "rsds.bench/1", repeat: 1, machine: { node: process.version } });
  const measured = document.cases["groupby-90-1s-8H 168"];
  expect(measured.tasks).toBe(4222);
  expect(measured.cpu_us).toHaveLength(1);
  for (const name of ["cold_us", "cold_alone_us", "turn_max_ms", "memory_bytes"])
    expect(measured[name], name).toBeGreaterThan(0);
  expect(measured.threads_us.main).toBeGreaterThan(0);
  expect(measured.threads_us.fleet).toBeGreaterThan(0);
  const above = measured.cpu_us[0] > 5;
  expect(document.missed.some((one: { figure: string }) => one.figure === "cpu_us")).toBe(above);
});

test("a commit is built, runs in turn with this checkout, and leaves nothing behind", async () => {
  const built: string[] = [];
  const groupby = CASES.find(({ name }) => name.startsWith("groupby"))!;
  const options = { rounds: 1, repeat: 1, seed: 1, trace: "off" };
  const both = await withCommit(
    "HEAD",
    () => undefined,
    (folder) => {
      built.push(folder);
      return measureBoth(groupby, [folder, root], options);
    },
  );
  expect([both.before.length, both.after.length]).toEqual([1, 1]);
  expect(both.ratio).toBeCloseTo(both.after[0]![0]! / both.before[0]![0]!, 9);
  const table = renderAgainst({ [groupby.name]: { ...both, verdict: "same" } }, "0123456789abcdef", 5);
  expect(table).toMatch(/groupby-90-1s-8H 168 +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ – [\d.]+ +1 +\w+/);
  const worktrees = spawnSync("git", ["worktree", "list"], { cwd: root, encoding: "utf8" });
  expect(worktrees.stdout).not.toContain(built[0]);
  expect(existsSync(built[0]!)).toBe(false);
});

test("Dask's scheduler and ours do the same small work of a real client", async () => {
  const python = join(root, ".venvs", "dask-2026.8.0", "bin", "python");
  for (const [workload, size, tasks] of [
    ["merge", 200, 201],
    ["tree", 6, 63],
  ] as const) {
    const { dask, rsds } = await measureBeside({ workload, size, workers: 4 }, { python, repeat: 1 });
    for (const runs of [dask, rsds]) {
      expect(runs).toHaveLength(1);
      expect(runs[0]).toMatchObject({ tasks });
      expect(runs[0]!.wall_s).toBeGreaterThan(0);
    }
    expect(dask[0]!.children_cpu_us).toBe(0);
  }
});

test("targets are beside the figures, and what misses one is marked; some are relative to another case", () => {
  const measured = (cpu_us: number): object => ({
    tasks: 100_001,
    cpu_us: [cpu_us],
    cpu_off_us: [cpu_us],
    cold_us: 9,
    cold_thread_us: 5,
    cold_alone_us: 7,
    cold_untrained_us: 50,
    threads_us: { main: 1, helpers: 0.5, fleet: null },
    turn_max_ms: 10,
    unattributed_share: 0.03,
    probe_share: 0.01,
    memory_bytes: 200,
    rss_max_bytes: 1e8,
  });
  const results = {
    "merge:100000 24": measured(2),
    "merge:100000 1512": measured(2.6),
    "merge:100000 168": measured(2.4),
    "merge:100000 168 --order": measured(4.3),
  };
  const lines = renderBench(results, null).split("\n");
  expect(lines[1]).toMatch(
    /^merge:100000 24 +2\.50 +2\.00 +2\.00 – 2\.00 .*10\.0 ms +3\.0 % ! +1\.0 % +200 +100$/,
  );
  expect(lines[2]).toMatch(/^merge:100000 1512 +2\.50 +2\.60 ! /);
  expect(lines[4]).toMatch(/^merge:100000 168 --order +4\.40 +4\.30 +4/);
  const missed = missedTargets(results);
  expect(missed).toContainEqual({ case: "merge:100000 1512", figure: "cpu_us", value: 2.6, max: 2.5 });
  expect(missed.filter((one) => one.figure === "unattributed_share")).toHaveLength(4);
  expect(missed).toHaveLength(5);
});

test("a baseline keeps cases that were not measured again, and tells which became slower", () => {
  const folder = mkdtempSync(join(tmpdir(), "rsds-baseline-"));
  try {
    const path = baselinePath(undefined, folder);
    expect(path.slice(folder.length)).toMatch(/^\/[a-z0-9-]+-cores-[a-z0-9-]+-node-v\d+\.json$/);
    expect(readBaseline(path)).toBeNull();
    const schema = "rsds.bench/1";
    saveBaseline({ schema, cases: { a: { cpu_us: [2, 2.1, 2] }, b: { cpu_us: [4, 5, 4] } } }, path);
    saveBaseline({ schema, cases: { a: { cpu_us: [3, 3.1, 3] } } }, path);
    const baseline = readBaseline(path);
    expect(baseline).toMatchObject({ cases: { a: { cpu_us: [3, 3.1, 3] }, b: { cpu_us: [4, 5, 4] } } });
    const now = { a: { cpu_us: [3.6, 3.5, 3.5] }, b: { cpu_us: [4, 4.1, 4] }, c: { cpu_us: [1] } };
    expect(slowerThanBaseline(now, baseline!, 5).map((one) => one.case)).toEqual(["a"]);
    expect(slowerThanBaseline(now, baseline!, 50)).toEqual([]);
    // Repeats that differ by more than the difference say nothing.
    expect(slowerThanBaseline({ a: { cpu_us: [2, 3.5, 6] } }, baseline!, 5)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("wrong usage ends with one line and status 2", () => {
  for (const args of [
    ["--against", "no-such-commit"],
    ["--only", "no such case"],
    ["--rounds", "5"],
    ["--wrong"],
  ]) {
    const { status, stderr } = bench(...args);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(status).toBe(2);
  }
});

test("a change of a few per cent shows through the noise, and no change does not", () => {
  const noisy = (factor: number, seed: number): number[][] =>
    Array.from({ length: 12 }, (_, pair) =>
      // Each process has its own luck of ±3 %, and one of them is far off.
      [factor * (pair === 5 ? 2 : 1) * (1 + 0.03 * Math.sin(seed + 7.1 * pair))],
    );
  const slower = ratioInterval(noisy(1, 1), noisy(1.06, 2));
  expect(slower.ratio).toBeGreaterThan(1.03);
  expect(verdict(slower, 3)).toBe("SLOWER");
  expect(verdict(slower, 50)).toBe("slower");
  expect(verdict(ratioInterval(noisy(1.06, 1), noisy(1, 2)), 3)).toBe("faster");
  expect(verdict(ratioInterval(noisy(1, 1), noisy(1, 2)), 3)).toBe("same");
});

test("a ratio lies in its interval, and turns over with its sides", () => {
  const cost = fc.array(fc.double({ min: 0.1, max: 100, noNaN: true }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(fc.array(fc.tuple(cost, cost), { minLength: 1, maxLength: 20 }), (pairs) => {
      const before = pairs.map(([a]) => a);
      const after = pairs.map(([, b]) => b);
      const there = ratioInterval(before, after);
      const back = ratioInterval(after, before);
      expect(there.low).toBeLessThanOrEqual(there.ratio * (1 + 1e-12));
      expect(there.high).toBeGreaterThanOrEqual(there.ratio * (1 - 1e-12));
      expect(there.ratio * back.ratio).toBeCloseTo(1, 9);
      expect(there.low * back.high).toBeCloseTo(1, 9);
    }),
  );
});
