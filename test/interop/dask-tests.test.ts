import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RealCluster } from "./support/processes.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SUPPORT = fileURLToPath(new URL("./support/", import.meta.url));
const RELEASE = "2026.8.0";
const MS_MAX = 240_000;

/** Tests that cannot be run so, and why. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  test_local_get_with_distributed_active: "looks at the scheduler's Python object",
  test_await: "looks at the scheduler's Python object",
  test_release_persisted_futures_without_gc: "looks at the scheduler's Python object",
  test_annotations_blockwise_unpack:
    "counts calls in its module, which is another one in a scheduler of its own, Dask's too",
  test_default_scheduler_on_worker:
    "counts what its scheduler plugins see, which here are those of three tests",
  test_traverse_false: "asks for the very object, which comes back from another process",
  test_callable_obj: "asks for the very object, which comes back from another process",
};

function sitePackages(environment: string): string {
  const lib = join(ROOT, ".venvs", environment, "lib");
  const python = readdirSync(lib).find((name) => name.startsWith("python")) ?? "python3";
  return join(lib, python, "site-packages");
}

/** Dask's tests are in its wheel; pytest is in an environment of its own, which all of the cluster's processes see. */
const env = {
  PYTHONPATH: [sitePackages("pytest"), SUPPORT].join(":"),
  RSDS_LEFT_OUT: JSON.stringify(Object.keys(LEFT_OUT)),
};
const cluster = new RealCluster(RELEASE, env);
const python = join(ROOT, ".venvs", `dask-${RELEASE}`, "bin", "python");
const dask = join(sitePackages(`dask-${RELEASE}`), "dask");

beforeAll(async () => {
  await cluster.startScheduler();
  cluster.startWorker({ name: "a" });
  cluster.startWorker({ name: "b" });
});
afterAll(() => cluster.close());

/** Runs pytest with these arguments; answers with the names of the tests that passed. */
async function passed(name: string, args: readonly string[]): Promise<string[]> {
  const file = join(cluster.folder, `${name}.passed`);
  const rsds = join(ROOT, "dist", "src", "cli", "main.js");
  const command = [
    process.execPath,
    rsds,
    "scheduler",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--no-dashboard",
  ];
  const options = [
    "-p",
    "dask_tests",
    "-p",
    "no:cacheprovider",
    "-c",
    "/dev/null",
    "--rootdir",
    dask,
    "-q",
    "-rf",
  ];
  const program = cluster.start(`pytest ${name}`, python, ["-m", "pytest", ...options, ...args], {
    RSDS_ADDRESS: cluster.address,
    RSDS_COMMAND: JSON.stringify([...command, "--python", python]),
    RSDS_PASSED: file,
  });
  const timer = setTimeout(() => program.process.kill("SIGKILL"), MS_MAX);
  const code = await program.ended;
  clearTimeout(timer);
  expect(code, program.output).toBe(0);
  return existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
}

describe("of Dask's own tests", () => {
  test("dask.tests.test_distributed passes", { timeout: MS_MAX + 20_000 }, async () => {
    const names = await passed("distributed", [join(dask, "tests", "test_distributed.py")]);
    expect(names.length).toBeGreaterThan(50);
  });

  test("a part of the collections' passes", { timeout: MS_MAX + 20_000 }, async () => {
    const files = [
      "tests/test_delayed.py",
      "bag/tests/test_random.py",
      "array/tests/test_gufunc.py",
      "dataframe/tests/test_indexing.py",
    ];
    const names = await passed(
      "collections",
      files.map((file) => join(dask, file)),
    );
    expect(names.length).toBeGreaterThan(150);
  });
});
