import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const bin = (name: string): string => join(root, ".venvs", "notebooks", "bin", name);
const notebook = join(root, "notebooks", "attribution.py");
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rsds-notebook-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function python(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(bin("python"), [notebook, ...args], { encoding: "utf8" });
}

test("it draws the committed result", () => {
  const { status, stdout, stderr } = python(join(root, "notebooks", "data"), folder);
  expect(stderr).not.toContain("Traceback");
  expect(status).toBe(0);
  expect(stdout).toContain("merge:10000, 24 zero workers, tcp, workstealing: 10001 tasks, 3 repeats");
  expect(readdirSync(folder).sort()).toEqual(["attribution.png", "hops.png", "phases.png"]);
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(join(folder, name));
    expect(bytes.subarray(0, 4)).toEqual(PNG);
    expect(bytes.length).toBeGreaterThan(10_000);
  }
});

test("it is a notebook: jupytext reads it and writes the same file again", () => {
  const { status, stdout } = spawnSync(bin("jupytext"), ["--to", "ipynb", "--output", "-", notebook], {
    encoding: "utf8",
  });
  expect(status).toBe(0);
  const { cells }: { cells: { cell_type: string }[] } = JSON.parse(stdout.slice(stdout.indexOf("{")));
  expect(new Set(cells.map((cell) => cell.cell_type))).toEqual(new Set(["markdown", "code"]));
  expect(cells.length).toBeGreaterThan(6);
  expect(spawnSync(bin("jupytext"), ["--to", "ipynb", "--test", notebook]).status).toBe(0);
});

test("what is no traced result folder is told in one line", () => {
  const path = join(folder, "untraced");
  const missing = python(path);
  expect(missing.stderr).toMatch(/^attribution\.py: .* is no result folder: it has no summary\.json\n$/);
  expect(missing.status).toBe(1);
  writeFileSync(join(folder, "summary.json"), JSON.stringify({ schema: "rsds.summary/1" }));
  const untraced = python(folder);
  expect(untraced.stderr).toMatch(/^attribution\.py: .* has no phases: it was run with --trace off\n$/);
  expect(untraced.status).toBe(1);
});
