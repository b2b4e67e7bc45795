import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Summary } from "../../src/results/summary.ts";
import { checkFolder, MAIN, RsdsProcess } from "./rsds-process.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const directory = mkdtempSync(join(tmpdir(), "rsds-clinic-test-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A folder for temporary files that shows what was left in it. */
function temporary(name: string): string {
  const folder = join(directory, name);
  mkdirSync(folder);
  return folder;
}

function summaryOf(folder: string): Summary {
  return JSON.parse(readFileSync(join(folder, "summary.json"), "utf8"));
}

describe("--clinic", { timeout: 300_000 }, () => {
  test("runs under clinic; its page is one of the folder's files, and nothing else is left", async () => {
    const out = join(directory, "doctor");
    const TMPDIR = temporary("doctor-tmp");
    const { status, stdout } = await new RsdsProcess(
      ["--zero-workers", "4", "--workload", "merge:300", "--repeat", "2", "--clinic", "doctor", "--out", out],
      { env: { TMPDIR } },
    ).ended;
    expect(status).toBe(0);
    expect(stdout).toContain(`files in ${out}`);
    expect(await checkFolder(out)).toContain("0 breaches");
    const summary = summaryOf(out);
    expect(summary.files).toContain("clinic-doctor.html");
    expect(summary.run).toMatchObject({ repeats: 2, clinic: "doctor" });
    expect(readFileSync(join(out, "clinic-doctor.html"), "utf8").slice(0, 100)).toMatch(
      /^\s*<!doctype html>/i,
    );
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  test("Ctrl-C: what was measured, the page of it, and status 130", async () => {
    const out = join(directory, "flame");
    const TMPDIR = temporary("flame-tmp");
    const running = new RsdsProcess(
      [
        ...["--zero-workers", "4", "--workload", "merge:300", "--repeat", "10000", "--clinic", "flame"],
        ...["--out", out],
      ],
      { env: { TMPDIR } },
    );
    await running.said(/repeat 3/);
    running.child.kill("SIGINT");
    const { status } = await running.ended;
    expect(status).toBe(130);
    expect(summaryOf(out).files).toContain("clinic-flame.html");
    expect(summaryOf(out).repeats.length).toBeLessThan(10_000);
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  test("the second Ctrl-C ends it at once, and nothing is left", async () => {
    const TMPDIR = temporary("twice-tmp");
    const out = join(directory, "twice");
    const running = new RsdsProcess(
      [
        "--zero-workers",
        "4",
        "--workload",
        "merge:300",
        "--repeat",
        "10000",
        "--clinic",
        "doctor",
        "--out",
        out,
      ],
      { env: { TMPDIR } },
    );
    await running.said(/repeat 1/);
    running.child.kill("SIGINT");
    await running.said(/interrupted after/);
    running.child.kill("SIGINT");
    const { status } = await running.ended;
    expect([status, readdirSync(TMPDIR)]).toEqual([130, []]);
  });

  test("a workload that cannot be read is told before clinic starts", async () => {
    const args = ["--zero-workers", "4", "--workload", "merge:none", "--clinic", "doctor"];
    const { status, stderr } = await new RsdsProcess(args, { cwd: directory }).ended;
    expect(status).toBe(2);
    expect(stderr).toMatch(/^rsds: .*merge.*\n$/);
  });

  test("where clinic is not installed: one line that says how to get it, and status 2", async () => {
    // A copy of what is published, with nothing beside it but what it depends on.
    const place = temporary("bare");
    cpSync(join(ROOT, "dist"), join(place, "dist"), { recursive: true });
    cpSync(join(ROOT, "package.json"), join(place, "package.json"));
    mkdirSync(join(place, "node_modules"));
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    for (const name of Object.keys(dependencies)) {
      mkdirSync(dirname(join(place, "node_modules", name)), { recursive: true });
      symlinkSync(join(ROOT, "node_modules", name), join(place, "node_modules", name));
    }
    // Whatever lies in the folders above: here there is one that cannot be used.
    mkdirSync(join(place, "node_modules", "clinic"));
    writeFileSync(join(place, "node_modules", "clinic", "package.json"), '{"name":"clinic","exports":{}}');
    const main = MAIN.replace(ROOT, place);
    const args = ["--zero-workers", "4", "--workload", "merge:10", "--clinic", "doctor"];
    const { status, stderr } = await new RsdsProcess(args, { cwd: place, main }).ended;
    expect(stderr).toMatch(/^rsds: --clinic needs clinic: .*npm install.*\n$/);
    expect(status).toBe(2);
  });
});
