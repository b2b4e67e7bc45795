import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { RecordedHeader } from "../../simulator/workloads/write-recorded.ts";
import { type RsdsProcess, rsds } from "./rsds-process.ts";
import { rsdsProcesses } from "./rsds-processes.ts";
import { submit } from "./submit.ts";

const { directory, fresh, start, scheduler } = rsdsProcesses();
const FLEET = ["--zero-workers", "3"];

function freshFile(): string {
  return fresh(".jsonl.gz");
}

function headerOf(file: string): RecordedHeader {
  return JSON.parse(gunzipSync(readFileSync(file)).toString().split("\n", 1)[0]!);
}

/** A recording that is under way. */
async function recorder(address: string, ...args: string[]): Promise<RsdsProcess> {
  const one = start("record", address, ...args);
  await one.said(/recording tcp/);
  return one;
}

describe("rsds record", () => {
  test("switched on and off twice on one scheduler: each file has its own tasks, and is a workload", async () => {
    const { process, address } = await scheduler(...FLEET);
    await submit(address, "merge:700");
    for (const tasks of [1_000, 300]) {
      const file = freshFile();
      const one = await recorder(address, "--out", file, "--json");
      await submit(address, `merge:${tasks / 2}`, 2);
      one.child.kill("SIGINT");
      const { status, stdout } = await one.ended;
      expect(status).toBe(130);
      const header: RecordedHeader = JSON.parse(stdout);
      expect(header).toEqual(headerOf(file));
      expect(header).toMatchObject({
        ...{ tasks: tasks + 2, deps: tasks, lp: 1, with_duration: tasks + 2, graphs: 2, clients: 1 },
        ...{ dask: "2026.8", data: 0, failed: 0, unfinished: 0, recomputed: 0 },
      });
      expect(header.setup).toMatchObject({ scheduler: "workstealing", workers: [1, 1, 1] });
      const replayed = await rsds("simulate", "--workload", file, "--out", join(directory, "replayed"));
      expect(replayed.stdout).toMatch(/3 workers of 1 cores · workstealing[\s\S]*\n {2}recorded /);
      const zero = await rsds(
        ...["--zero-workers", "3", "--workload", file, "--transport", "direct", "--repeat", "1", "--json"],
        ...["--out", join(directory, "zero"), "--quiet"],
      );
      expect(JSON.parse(zero.stdout).run.tasks).toBe(tasks + 2);
    }
    process.child.kill("SIGTERM");
    const { status, stderr } = await process.ended;
    expect(status).toBe(0);
    expect(stderr.match(/The recording of .* is over: it was asked to/g)).toHaveLength(2);
    expect(stderr).not.toMatch(/ERROR|WARNING/);
  });

  test("one at a time; one that is killed leaves the scheduler as it was; Ctrl-C writes what there is", async () => {
    const { process, address } = await scheduler(...FLEET);
    const first = await recorder(address, "--out", freshFile());
    const second = await rsds("record", address, "--seconds", "1", "--out", freshFile());
    expect([second.status, second.stdout]).toEqual([1, ""]);
    expect(second.stderr).toMatch(
      /^rsds record: the scheduler is being recorded already, by rsds record at [^\n]+\n$/,
    );
    await first.kill();
    await process.said(/The recording of .* is over: its connection ended/);
    const file = freshFile();
    const third = await recorder(address, "--out", file);
    await submit(address, "tree:6");
    third.child.kill("SIGINT");
    const { status, stdout } = await third.ended;
    expect(status).toBe(130);
    expect(stdout).toContain(`written to   ${file}`);
    expect(headerOf(file).tasks).toBe(63);
  });

  test("the scheduler ends first: what was seen is written", async () => {
    for (const [signal, why] of [
      ["SIGTERM", "the scheduler ended"],
      ["SIGKILL", "the scheduler has gone"],
    ] as const) {
      const { process, address } = await scheduler(...FLEET);
      const file = freshFile();
      const one = await recorder(address, "--out", file);
      await submit(address, "merge:50");
      // What it saw last is sent within a moment, or at an orderly end; nothing tells from outside that it was.
      if (signal === "SIGKILL") await sleep(3_000);
      process.child.kill(signal);
      const { status, stderr } = await one.ended;
      expect(stderr).toContain(why);
      expect(status).toBe(0);
      expect(headerOf(file).tasks).toBe(51);
    }
  });

  test("says so where nothing came to an end", async () => {
    const { address } = await scheduler(...FLEET);
    const { status, stderr } = await rsds("record", address, "--seconds", "1", "--out", freshFile());
    expect(status).toBe(1);
    expect(stderr).toContain("rsds record: no task came to an end: record while something is computed");
  });

  test.each([
    [["tcp://127.0.0.1:1"], 1, /^rsds record: [^\n]*ECONNREFUSED[^\n]*\n$/],
    [
      ["tcp://127.0.0.1:1", "--out", "/proc/x.jsonl.gz"],
      1,
      /^rsds record: cannot write to [^\n]+--out FILE\n$/,
    ],
    [["tcp://127.0.0.1:1", "--out", "x.json"], 2, /^rsds: [^\n]*must end in \.jsonl\.gz\.\n$/],
    [[], 2, /^rsds: missing required argument 'address'\n$/],
  ])("%j: %i and one line", async (args, expected, line) => {
    const place = args.length === 1 ? ["--out", freshFile()] : [];
    const { status, stdout, stderr } = await rsds("record", ...args, ...place);
    expect([status, stdout]).toEqual([expected, ""]);
    expect(stderr).toMatch(line);
  });
});
