import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { Summary } from "../../src/results/summary.ts";
import { checkFolder, type RsdsProcess, rsds } from "./rsds-process.ts";
import { HERE, rsdsProcesses } from "./rsds-processes.ts";
import { submit } from "./submit.ts";

const { directory, fresh: freshFolder, start, startWith, scheduler } = rsdsProcesses();
const FLEET = ["--zero-workers", "3"];

function summaryOf(folder: string): Summary {
  return JSON.parse(readFileSync(join(folder, "summary.json"), "utf8"));
}

/** A profile that is under way. */
async function profiler(address: string, ...args: string[]): Promise<RsdsProcess> {
  const one = start("profile", address, ...args);
  await one.said(/profiling tcp/);
  return one;
}

function hop(summary: Summary, name: string): number | undefined {
  return summary.hops?.find((row) => row.hop === name)?.count;
}

describe("rsds profile", () => {
  test("switched on and off twice on one scheduler: each window has its own tasks, and keeps the contract", async () => {
    const { process, address } = await scheduler(...FLEET);
    await submit(address, "merge:700");
    for (const tasks of [1_000, 300]) {
      const out = freshFolder();
      const one = await profiler(address, "--seconds", "6", "--out", out, "--json");
      await submit(address, `merge:${tasks / 2}`, 2);
      const { status, stdout } = await one.ended;
      expect(status).toBe(0);
      expect(await checkFolder(out)).toContain("0 breaches");
      const summary: Summary = JSON.parse(stdout);
      expect(summary).toEqual(summaryOf(out));
      expect(readdirSync(out).sort()).toEqual([...summary.files].sort());
      expect(summary.run).toMatchObject({
        ...{
          workload: "live",
          tasks: tasks + 2,
          zero_workers: 3,
          workers: 3,
          repeats: 1,
          address,
          seconds: 6,
        },
        ...{ trace: "phases", release: "2026.8", transport: "tcp", dependencies: tasks },
      });
      for (const name of ["submit→known", "ready→placed", "encoded→written", "start→stop", "read→finished"])
        expect([name, hop(summary, name)]).toEqual([name, tasks + 2]);
      expect(hop(summary, "finished→client")).toBe(2);
      expect(summary.makespan_s.median).toBeGreaterThan(5.5);
      expect(summary.graphs).toHaveLength(2);
      for (const graph of summary.graphs) {
        expect(graph.first_task_s).toBeGreaterThan(0);
        expect(graph.last_task_s).toBeGreaterThan(graph.decode_s);
      }
      expect(summary.scheduler_cpu_us_per_task.median).toBeGreaterThan(0);
      expect(summary.fleet?.cpu_us_per_task).toBeGreaterThan(0);
      const { clocks } = summary.run;
      expect(clocks).toMatchObject({ ahead_us_max: expect.any(Number) });
    }
    process.child.kill("SIGTERM");
    const { status, stderr } = await process.ended;
    expect(status).toBe(0);
    expect(stderr.match(/Tracing is off: .* has its window/g)).toHaveLength(2);
    expect(stderr).not.toMatch(/ERROR|WARNING/);
  });

  test("--trace tasks: a row a task that became known in the window", async () => {
    const { address } = await scheduler(...FLEET);
    await submit(address, "merge:100");
    const out = freshFolder();
    const one = await profiler(address, "--trace", "tasks", "--out", out);
    await submit(address, "tree:6");
    one.child.kill("SIGINT");
    const { status, stdout } = await one.ended;
    expect(status).toBe(130);
    expect(stdout).toContain(`files in ${out}`);
    expect(stdout).toMatch(/last task known/);
    expect(await checkFolder(out)).toContain("0 breaches");
    const rows = gunzipSync(readFileSync(join(out, "tasks.csv.gz")))
      .toString()
      .trim()
      .split("\n");
    expect(rows).toHaveLength(64);
    for (const row of rows.slice(1)) expect(row).toMatch(/,tcp:\/\/127\.0\.0\.1:\d+,0,[\d.]+,/);
  });

  test("one at a time; and one that is killed leaves the scheduler as it was", async () => {
    const { process, address } = await scheduler(...FLEET);
    const first = await profiler(address, "--out", freshFolder());
    const second = await rsds("profile", address, "--seconds", "1", "--out", freshFolder());
    expect([second.status, second.stdout]).toEqual([1, ""]);
    expect(second.stderr).toMatch(
      /^rsds profile: the scheduler is being traced already, by rsds profile at [^\n]+\n$/,
    );
    await first.kill();
    await process.said(/Tracing is off: .* has gone/);
    const out = freshFolder();
    const third = await profiler(address, "--out", out);
    await submit(address, "merge:50");
    third.child.kill("SIGINT");
    expect((await third.ended).status).toBe(130);
    expect(summaryOf(out).run.tasks).toBe(51);
  });

  test("the scheduler ends first: what was seen is written", async () => {
    const { process, address } = await scheduler(...FLEET);
    const out = freshFolder();
    const one = await profiler(address, "--out", out);
    await submit(address, "merge:50");
    process.child.kill("SIGTERM");
    const { status, stderr } = await one.ended;
    expect(stderr).toContain("the scheduler ended");
    expect(status).toBe(0);
    expect(summaryOf(out).run.tasks).toBe(51);
    expect((await process.ended).status).toBe(0);
  });

  test.each([
    [["tcp://127.0.0.1:1"], 1, /^rsds profile: [^\n]*ECONNREFUSED[^\n]*\n$/],
    [
      ["tcp://127.0.0.1:1", "--out", "/proc/nothing"],
      1,
      /^rsds profile: cannot write to [^\n]+--out[^\n]+\n$/,
    ],
    [["tcp://127.0.0.1:1", "--trace", "off"], 2, /^rsds: [^\n]*phases, tasks[^\n]*\n$/],
    [["tcp://127.0.0.1:1", "--seconds", "3000000"], 2, /^rsds: [^\n]*whole number from 1 to 2147483\.\n$/],
    [[], 2, /^rsds: missing required argument 'address'\n$/],
  ])("%j: %i and one line", async (args, expected, line) => {
    const place = args.length === 1 ? ["--out", freshFolder()] : [];
    const { status, stdout, stderr } = await rsds("profile", ...args, ...place);
    expect([status, stdout]).toEqual([expected, ""]);
    expect(stderr).toMatch(line);
  });
});

describe("rsds scheduler --trace", () => {
  test("a folder of its whole life at the end, and nobody else may profile it meanwhile", async () => {
    const out = freshFolder();
    const { process, address } = await scheduler(...FLEET, "--trace", "tasks", "--out", out);
    await process.said(/Tracing tasks: the result folder will be /);
    await submit(address, "merge:400");
    const other = await rsds("profile", address, "--out", freshFolder());
    expect(other.stderr).toMatch(/^rsds profile: the scheduler is being traced already, by --trace tasks\n$/);
    process.child.kill("SIGINT");
    const { status, stderr } = await process.ended;
    expect(status).toBe(0);
    expect(stderr).toContain(`Result folder: ${out}`);
    expect(stderr).not.toMatch(/ERROR|WARNING/);
    expect(await checkFolder(out)).toContain("0 breaches");
    expect(summaryOf(out).run).toMatchObject({ workload: "live", tasks: 401, trace: "tasks" });
  });

  test("it ends by idleness: the folder is written too", async () => {
    const out = freshFolder();
    // Long enough that a busy machine has submitted something before.
    const options = ["--trace", "phases", "--out", out, "--idle-timeout", "5s"];
    const { process, address } = await scheduler(...FLEET, ...options);
    await submit(address, "merge:60");
    expect((await process.ended).status).toBe(0);
    expect(summaryOf(out).run.tasks).toBe(61);
  });

  test("off by default: nothing is written", async () => {
    const one = startWith({ cwd: directory }, "scheduler", ...HERE);
    await one.said(/Scheduler at:/);
    one.child.kill("SIGTERM");
    await one.ended;
    expect(readdirSync(directory)).not.toContain("rsds-results");
  });

  test("a folder that cannot be made is told of before anything is served", async () => {
    const { status, stderr } = await rsds(
      ...[
        "scheduler",
        "--dashboard-address",
        ":0",
        "--port",
        "0",
        "--trace",
        "phases",
        "--out",
        "/proc/nothing",
      ],
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/ERROR - cannot write to \/proc\/nothing[^\n]+--out/);
    expect(stderr).not.toMatch(/^ +at /m);
    const alone = await rsds("scheduler", "--dashboard-address", ":0", "--port", "0", "--out", freshFolder());
    expect(alone.status).toBe(2);
    expect(alone.stderr).toMatch(/^rsds scheduler: --out [^\n]+--trace[^\n]+\n$/);
  });
});
