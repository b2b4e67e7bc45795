import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { type Ended, RsdsProcess } from "./rsds-process.ts";

const folder = mkdtempSync(join(tmpdir(), "rsds-simulate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function runRsds(args: readonly string[]): Promise<Ended> {
  return new RsdsProcess(args, { cwd: folder }).ended;
}

describe("rsds simulate --workload", () => {
  test("prints a table and writes a folder whose figures agree", async () => {
    const out = join(folder, "run");
    const args = ["--workload", "merge-slow:100:0.1", "--workers", "10", "--repeat", "3", "--out", out];
    const done = await runRsds(["simulate", ...args]);
    expect(done.status).toBe(0);
    expect(done.stdout).toContain("101 tasks · 10 workers of 1 cores");
    const summary = JSON.parse(readFileSync(join(out, "summary.json"), "utf8"));
    expect(summary).toMatchObject({
      schema: "rsds.simulation/1",
      run: { workload: "merge-slow:100:0.1", workers: 10, network: "simple" },
      files: ["summary.json", "tasks.csv.gz", "trace.json.gz"],
    });
    expect(summary.repeats.map((repeat: { seed: number }) => repeat.seed)).toEqual([1, 2, 3]);
    expect(summary.makespan_s.min).toBeGreaterThanOrEqual(1);
    expect(summary.utilisation.max).toBeLessThanOrEqual(1);
    const rows = gunzipSync(readFileSync(join(out, "tasks.csv.gz")))
      .toString()
      .trim()
      .split("\n");
    expect(rows[0]).toBe("key,worker,assigned_s,start_s,stop_s");
    expect(rows.length).toBe(102);
    const trace = JSON.parse(gunzipSync(readFileSync(join(out, "trace.json.gz"))).toString());
    expect(trace.traceEvents.filter((event: { ph: string }) => event.ph === "X").length).toBe(101);
  });

  test("says in one line what is wrong, with status 2", async () => {
    const wrong: (readonly [string[], RegExp])[] = [
      [[], /^rsds simulate: say what to simulate: --workload SPEC or --faults\n$/],
      [["--workload", "nothing:1", "--quiet"], /^rsds simulate: unknown workload "nothing:1": .*\n$/],
      [["--workload", "merge:5", "--faults"], /^rsds simulate: give --workload or --faults, not both\n$/],
      [["--workload", "merge:5", "--bandwidth", "0"], /^rsds: .*It must be more than 0\.\n$/],
      [["--faults", "--steps", "1,x"], /^rsds: .*It must be numbers with commas between them\.\n$/],
    ];
    for (const [args, text] of wrong) {
      const done = await runRsds(["simulate", ...args]);
      expect([args, done.status]).toEqual([args, 2]);
      expect(done.stderr).toMatch(text);
    }
  });
});

describe("rsds simulate --faults", () => {
  test("gives one report for one seed, whenever it is asked", async () => {
    const ask = async (): Promise<{ digest: string }> => {
      const done = await runRsds([
        "simulate",
        "--faults",
        "--seed",
        "5",
        "--count",
        "5",
        "--json",
        "--quiet",
      ]);
      expect(done.status).toBe(0);
      return JSON.parse(done.stdout);
    };
    const [first, second] = [await ask(), await ask()];
    expect(first).toMatchObject({ schema: "rsds.faults/1", seeds: 5, failures: [] });
    expect(second.digest).toBe(first.digest);
  });

  test("shows what happens, and takes only the steps that it is told", async () => {
    const done = await runRsds(["simulate", "--faults", "--seed", "5", "--steps", "none", "--log"]);
    expect(done.status).toBe(0);
    expect(done.stderr).toContain("register-worker");
    expect(done.stderr).not.toContain(" step ");
  });
});
