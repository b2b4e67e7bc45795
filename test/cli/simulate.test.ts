import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { type Ended, RsdsProcess } from "./rsds-process.ts";
import { submit } from "./submit.ts";

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
      [[], /^rsds simulate: say what to simulate: --workload SPEC, --faults or --stimuli FILE\n$/],
      [["--workload", "nothing:1", "--quiet"], /^rsds simulate: unknown workload "nothing:1": .*\n$/],
      [
        ["--workload", "merge:5", "--faults"],
        /^rsds simulate: give one of --workload, --faults and --stimuli\n$/,
      ],
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

describe("rsds scheduler --stimulus-log, rsds simulate --stimuli", () => {
  test("a run is written and told to a core again, which does the same; another policy's does not", async () => {
    const file = join(folder, "run.stimuli.gz");
    const here = ["--host", "127.0.0.1", "--dashboard-address", ":0", "--port", "0", "--zero-workers", "3"];
    const scheduler = new RsdsProcess(["scheduler", ...here, "--stimulus-log", file]);
    try {
      const [, address] = await scheduler.said(/Scheduler at: +(\S+)/);
      await submit(address!, "random:500:1", 2);
      // What a running scheduler has written can be read.
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      const half = await runRsds(["simulate", "--stimuli", file, "--json", "--quiet"]);
      expect([half.status, half.stderr]).toEqual([0, ""]);
      expect(JSON.parse(half.stdout)).toMatchObject({ differences: 0, breach: null });
      scheduler.child.kill("SIGTERM");
      expect((await scheduler.ended).status).toBe(0);
    } finally {
      await scheduler.kill();
    }
    const done = await runRsds(["simulate", "--stimuli", file, "--json", "--quiet"]);
    expect(done.status).toBe(0);
    const report = JSON.parse(done.stdout);
    expect(report).toMatchObject({ schema: "rsds.stimuli-replay/1", differences: 0, first_difference: null });
    expect(report.effects).toBeGreaterThan(2_000);

    const [header, ...lines] = gunzipSync(readFileSync(file)).toString().split("\n");
    const other = join(folder, "other.gz");
    writeFileSync(other, gzipSync([header!.replace('"workstealing"', '"single"'), ...lines].join("\n")));
    const failed = await runRsds(["simulate", "--stimuli", other]);
    expect(failed.status).toBe(1);
    expect(failed.stdout).toMatch(/effects +[\d,]+, other ones on [\d,]+ stimuli/);
    expect(failed.stdout).toMatch(/the first difference, stimulus [\d,]+: \["schedule",/);
  });

  test("says in one line what is wrong with a log, with status 2", async () => {
    const write = (name: string, text: string): string => {
      writeFileSync(join(folder, name), gzipSync(text));
      return name;
    };
    const header = { schema: "rsds.stimuli/1", scheduler: "random", seed: 1, allowed_failures: 3 };
    const settings = { default_durations_s: [] };
    const whole = JSON.stringify({ ...header, settings, rsds: { version: "1" }, started_at: "" });
    const wrong: (readonly [string, RegExp])[] = [
      ["nowhere.gz", /^rsds simulate: no file nowhere\.gz: .*\n$/],
      [write("empty.gz", ""), /empty\.gz is empty/],
      [write("other.gz", '{"schema": 7}'), /other\.gz, line 1: its schema is 7, not "rsds\.stimuli\/1"/],
      [write("policy.gz", whole.replace("random", "external:x")), /its policy 'external:x' is not to be had/],
      [write("text.gz", `${whole}\nfoo`), /text\.gz, line 2: not JSON/],
      [write("line.gz", `${whole}\n7`), /line\.gz, line 2: it must be \[stimulus\]/],
      [write("name.gz", `${whole}\n[["taskPolished"]]`), /the core has no method 'taskPolished'/],
    ];
    writeFileSync(join(folder, "plain.gz"), whole);
    wrong.push(["plain.gz", /cannot read plain\.gz: incorrect header check/]);
    for (const [file, text] of wrong) {
      const done = await runRsds(["simulate", "--stimuli", file, "--quiet"]);
      expect([file, done.status]).toEqual([file, 2]);
      expect(done.stderr).toMatch(text);
    }
    const refused = await runRsds(["scheduler", "--scheduler", "external:x", "--stimulus-log", "x.gz"]);
    expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining("cannot be replayed")]);
    const nowhere = await runRsds(["scheduler", "--port", "0", "--stimulus-log", "nowhere/x.gz"]);
    expect([nowhere.status, nowhere.stderr]).toEqual([
      1,
      expect.stringContaining("cannot write to nowhere/x.gz"),
    ]);
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
