import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { FleetDocument } from "../../src/results/fleet.ts";
import { type RsdsProcess, rsds } from "./rsds-process.ts";
import { HERE, rsdsProcesses } from "./rsds-processes.ts";
import { submit } from "./submit.ts";

const { directory, start, startWith, scheduler } = rsdsProcesses();

/** A fleet that is attached, to which a merge of 300 was given. */
async function busyFleet(address: string, ...args: string[]): Promise<RsdsProcess> {
  const fleet = start("fleet", address, "--workers", "5", ...args);
  await fleet.said(/5 zero workers are attached/);
  await submit(address, "merge:300");
  return fleet;
}

describe("rsds fleet", () => {
  test("--json prints the document that --out has too; the scheduler's end is the fleet's, with 0", async () => {
    const { process, address } = await scheduler();
    const out = join(directory, "json");
    const options = ["--release", "2024.12", "--flush", "each", "--json", "--out", out];
    const fleet = await busyFleet(address, ...options);
    process.child.kill("SIGTERM");
    const { status, stdout } = await fleet.ended;
    expect(status).toBe(0);
    const document: FleetDocument = JSON.parse(stdout);
    expect(document).toMatchObject({ schema: "rsds.fleet/1", tasks: 301 });
    expect(document.run).toMatchObject({ address, workers: 5, release: "2024.12", flush: "each" });
    expect(JSON.parse(readFileSync(join(out, "summary.json"), "utf8"))).toEqual(document);
    expect(readdirSync(out).sort()).toEqual([...document.files].sort());
    expect((await process.ended).status).toBe(0);
  });

  test("Ctrl-C: 130, with what was seen until then", async () => {
    const { address } = await scheduler();
    const fleet = await busyFleet(address);
    fleet.child.kill("SIGINT");
    const { status, stdout, stderr } = await fleet.ended;
    expect(status).toBe(130);
    expect(stdout).toMatch(/tasks +301/);
    expect(stderr).toContain("the fleet left: interrupted");
  });

  test("--seconds ends it with 0, --quiet says nothing", async () => {
    const { address } = await scheduler();
    const { status, stdout, stderr } = await start(
      ...["fleet", address, "--workers", "2", "--seconds", "1", "--quiet"],
    ).ended;
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("2 zero workers");
  });

  test("nobody at the address: 1 and one line", async () => {
    const { status, stdout, stderr } = await rsds("fleet", "tcp://127.0.0.1:1", "--workers", "2");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^rsds fleet: [^\n]*ECONNREFUSED 127\.0\.0\.1:1[^\n]*\n$/);
  });

  test("a folder that cannot be written is found before anything is attached", async () => {
    const { status, stdout, stderr } = await rsds(
      ...["fleet", "tcp://127.0.0.1:1", "--workers", "2", "--out", "/proc/nothing"],
    );
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^rsds fleet: cannot write to [^\n]+--out[^\n]+\n$/);
  });
});

describe("rsds scheduler --zero-workers", () => {
  test.each([
    ["SIGTERM", []],
    // Long enough that a busy machine has attached them before.
    ["idleness", ["--idle-timeout", "5s"]],
  ])("ended by %s it takes its fleet with it, and no error is told of", async (cause, more) => {
    const one = start("scheduler", ...HERE, "--zero-workers", "3", ...more);
    await one.said(/Scheduler at:/);
    if (cause === "SIGTERM") one.child.kill("SIGTERM");
    const { status, stderr } = await one.ended;
    expect(status).toBe(0);
    expect(stderr).toContain("3 zero workers are attached");
    expect(stderr).not.toMatch(/ERROR|WARNING/);
  });

  test("more workers than the system lets it open: 1, and one line says so", async () => {
    const one = startWith({ files_max: 300 }, "scheduler", ...HERE, "--zero-workers", "2000");
    const { status, stderr } = await one.ended;
    expect(status).toBe(1);
    const told = stderr.split("\n").filter((line) => / - (ERROR|WARNING) - /.test(line));
    expect(told.filter((line) => line.includes("Cannot attach 2000 zero workers: "))).toHaveLength(1);
    expect(stderr).not.toMatch(/^ +at /m);
    expect(stderr).toContain("End scheduler");
  });
});
