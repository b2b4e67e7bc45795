import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const script = fileURLToPath(new URL("../../profiles/two-processes.mjs", import.meta.url));

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [script, ...args], { encoding: "utf8", timeout: 50_000 });
}

test("the same work runs in a zero run and as two commands, and is compared", () => {
  const args = ["--workload", "merge:5000", "--workers", "4", "--repeat", "2", "--rounds", "1"];
  // So little work takes few ticks of CPU: no two measurements of it agree.
  const { status, stdout, stderr } = run(...args, "--within", "100000");
  expect(stderr).toContain("round 1");
  expect(stdout).toMatch(/zero run +median [\d.]+ +[\d.]+ – [\d.]+/);
  expect(stdout).toMatch(/two commands +median [\d.]+ +[\d.]+ – [\d.]+/);
  expect(status).toBe(0);
});

test("wrong usage ends with one line and status 2", () => {
  for (const args of [["--workload", "nothing"], ["--repeat", "no"], ["--wrong"]]) {
    const { status, stderr } = run(...args);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(status).toBe(2);
  }
});
