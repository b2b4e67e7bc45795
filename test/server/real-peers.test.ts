import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_PEER_LIMITS } from "../../src/server/peers/options.ts";
import { until, World } from "./support/world.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const CLIENT = fileURLToPath(new URL("support/real_client.py", import.meta.url));

let world: World;
let directory: string;
const processes: ChildProcess[] = [];

beforeEach(async () => {
  world = await World.start(DEFAULT_PEER_LIMITS);
  directory = mkdtempSync(join(tmpdir(), "rsds-test-"));
});

afterEach(async () => {
  const ended = processes
    .splice(0)
    .filter((child) => child.exitCode === null && child.signalCode === null)
    .map((child) => {
      return new Promise((resolve) => {
        child.once("exit", resolve);
        child.kill("SIGTERM");
      });
    });
  await Promise.all(ended);
  await world.stop();
  rmSync(directory, { recursive: true, force: true });
});

function worker(release: string, name: string, ...options: string[]): ChildProcess {
  const dask = join(ROOT, ".venvs", `dask-${release}`, "bin", "dask");
  const argv = ["worker", world.address, "--name", name, "--nthreads", "1", "--local-directory", directory];
  const child = spawn(dask, [...argv, "--no-dashboard", ...options], { stdio: "ignore", cwd: directory });
  processes.push(child);
  return child;
}

describe.each(["2024.12.1", "2026.8.0"])("real peers of %s", (release) => {
  test("register, are given data, plugins and requests, restart, and leave", async () => {
    const workers = [worker(release, "w0"), worker(release, "w1")];
    await until(() => world.cluster.workers.size === 2, "two workers", 40_000);
    const python = join(ROOT, ".venvs", `dask-${release}`, "bin", "python");
    const { stdout, stderr } = await promisify(execFile)(python, [CLIENT, world.address], {
      timeout: 100_000,
    });
    expect(stdout, stderr).toContain("done");
    await until(() => world.cluster.clients.size === 0, "no clients");
    for (const child of workers) child.kill("SIGTERM");
    await until(() => world.cluster.workers.size === 0, "no workers", 20_000);
    expect([...world.server.context.unknown_ops.keys()]).toEqual([]);
    // The two errors that the client asked for.
    expect(world.warnings).toEqual([
      "Exception while handling op get_metadata: none",
      "Exception while handling op publish_put: Dataset ds already exists",
    ]);
  }, 150_000);

  test("a worker that is killed is removed, and its nanny's next one comes", async () => {
    worker(release, "w0");
    // A nanny gives up if its first worker dies before it has started.
    const { nannies } = world.server.context.registration;
    const started = (): boolean => world.cluster.workers.size === 1 && nannies.starting_count === 0;
    await until(started, "a worker under a nanny", 40_000);
    const [first] = world.cluster.workers.values();
    if (first === undefined) throw new Error("no worker");
    process.kill(first.pid, "SIGKILL");
    await until(
      () => {
        const [next] = world.cluster.workers.values();
        return next !== undefined && next !== first && next.status === "running";
      },
      "the next worker",
      40_000,
    );
  }, 100_000);
});
