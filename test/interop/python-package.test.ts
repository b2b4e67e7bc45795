import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RELEASES } from "./support/processes.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SOURCES = join(ROOT, "python", "src");
const python = (release: string): string => join(ROOT, ".venvs", `dask-${release}`, "bin", "python");
const TESTS = [
  ...readFileSync(join(ROOT, "python", "tests", "test_cluster.py"), "utf8").matchAll(/def (test_\w+)/g),
].map(([, name]) => name!);

/** Runs a Python program whose output is in the message if it fails. */
async function runPython(
  release: string,
  args: readonly string[],
  path: string,
  timeout: number,
): Promise<string> {
  const env = { ...process.env, PYTHONPATH: path };
  const { stdout, stderr } = await run(python(release), args, { env, timeout, cwd: tmpdir() }).catch(
    (error: { stdout: string; stderr: string; message: string }) => {
      throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`);
    },
  );
  return stdout + stderr;
}

describe.each(RELEASES)("RsdsCluster with dask %s", (release) => {
  let printed = "";
  beforeAll(async () => {
    const args = ["-m", "unittest", "-v", "test_cluster"];
    const path = `${SOURCES}:${join(ROOT, "python", "tests")}`;
    printed = await runPython(release, args, path, 180_000).catch((error: Error) => error.message);
  }, 190_000);

  test("has tests", () => expect(TESTS.length).toBeGreaterThan(10));

  test.each(TESTS)("%s", (name) => {
    // Between a test's name and its verdict stands what was printed meanwhile.
    const verdict = new RegExp(`^${name} [\\s\\S]*?(ok|ERROR|FAIL)$`, "m").exec(printed)?.[1];
    expect(verdict, printed).toBe("ok");
  });
});

describe("the wheel", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "rsds-wheel-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("has the version of the package", () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect(readFileSync(join(ROOT, "python", "pyproject.toml"), "utf8")).toContain(`version = "${version}"`);
  });

  test("holds all that the scheduler needs", async () => {
    const [release] = RELEASES;
    const pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"];
    await runPython(
      release,
      [...pip, "wheel", "--no-deps", "--wheel-dir", folder, join(ROOT, "python")],
      "",
      120_000,
    );
    const [wheel] = readdirSync(folder).filter((name) => name.endsWith("-py3-none-any.whl"));
    const place = join(folder, "installed");
    await runPython(
      release,
      [...pip, "install", "--no-deps", "--target", place, join(folder, wheel!)],
      "",
      60_000,
    );
    expect(existsSync(join(place, "bin", "rsds-scheduler"))).toBe(true);
    const use = [
      "from rsds import RsdsCluster, scheduler_command",
      "from distributed import Client",
      "print(scheduler_command()[1])",
      "with RsdsCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:",
      "    print('sum', client.submit(sum, [1, 2, 3]).result())",
    ].join("\n");
    const printed = await runPython(release, ["-c", use], place, 60_000);
    expect(printed).toContain(join(place, "rsds", "app", "dist"));
    expect(printed).toContain("sum 6");
    const help = await runPython(
      release,
      ["-c", "from rsds.command import rsds; rsds(['scheduler', '--help'])"],
      place,
      30_000,
    );
    expect(help).toContain("rsds scheduler");
  }, 300_000);
});
