import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, test } from "vitest";
import { attachFleet } from "../../../simulator/fleet/attach.ts";
import { Fleet, type FleetOptions } from "../../../simulator/fleet/fleet.ts";
import { NO_TRACING } from "../../../simulator/fleet/fleet-context.ts";
import { TcpTransport } from "../../../src/comm/tcp.ts";

const processes: ChildProcess[] = [];
const fleets: Fleet[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const fleet of fleets.splice(0)) fleet.close("test over");
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  log.length = 0;
  await Promise.all(
    processes.splice(0).map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    }),
  );
});

function python(version: string): string {
  return new URL(`../../../.venvs/dask-${version}/bin/python`, import.meta.url).pathname;
}

/** Starts Dask's own scheduler on a free port; its address. */
async function startScheduler(version: string): Promise<string> {
  const args = [
    "-m",
    "distributed.cli.dask_scheduler",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--no-dashboard",
  ];
  const child = spawn(python(version), args, { stdio: ["ignore", "ignore", "pipe"] });
  processes.push(child);
  const seen: string[] = [];
  for await (const line of createInterface({ input: child.stderr! })) {
    seen.push(line);
    const address = /Scheduler at:\s+(tcp:\/\/\S+)/.exec(line)?.[1];
    if (address !== undefined) {
      child.stderr!.resume();
      return address;
    }
  }
  throw new Error(`dask scheduler did not start: ${seen.join("\n")}`);
}

/** Runs a client's script to its end; what it printed as JSON. */
async function runClient(version: string, address: string, script: string): Promise<unknown> {
  const source = `import json, warnings\nwarnings.simplefilter("error")\nfrom distributed import Client, wait\nclient = Client("${address}", timeout=60)\n${script}\nclient.close()`;
  const child = spawn(python(version), ["-c", source], { stdio: ["ignore", "pipe", "pipe"] });
  processes.push(child);
  let out = "";
  let errors = "";
  child.stdout!.on("data", (chunk) => (out += String(chunk)));
  child.stderr!.on("data", (chunk) => (errors += String(chunk)));
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`client failed: ${errors}`);
  return JSON.parse(out);
}

async function startFleet(address: string, options: Partial<FleetOptions>): Promise<Fleet> {
  const fleet = new Fleet({
    transport: new TcpTransport(),
    address,
    workers: 24,
    release: "2026.8",
    flush: "turn",
    stamps: false,
    tracing: NO_TRACING,
    log: (text) => log.push(text),
    ...options,
  });
  fleets.push(fleet);
  await fleet.start();
  return fleet;
}

const log: string[] = [];

const MERGE = `
futures = client.map(lambda x: x + 1, range(1000))
total = client.submit(lambda values: sum(values), futures)
print(json.dumps(dict(total=total.result(timeout=60), first=client.gather(futures[:3]), workers=len(client.scheduler_info(n_workers=-1)["workers"]) if WORKERS else 0)))
del futures, total
`;

describe.each([
  { version: "2026.8.0", release: "2026.8", workers: 168 },
  { version: "2024.12.1", release: "2024.12", workers: 24 },
] as const)("a fleet of $workers at Dask's own scheduler $version", ({ version, release, workers }) => {
  test("runs a real client's merge to the end", async () => {
    const address = await startScheduler(version);
    const fleet = await startFleet(address, { workers, release });
    const count = version === "2026.8.0" ? "True" : "False";
    const result = await runClient(version, address, MERGE.replace("WORKERS", count));
    expect(result).toEqual({ total: 42, first: [42, 42, 42], workers: count === "True" ? workers : 0 });
    expect(fleet.meter.tasks_finished).toBeGreaterThanOrEqual(1001);
    expect(fleet.open).toBe(workers);
    expect([...fleet.meter.unknown_ops]).toEqual([]);
    expect(log).toEqual([]);
    await expect.poll(() => fleet.context.held.total, { timeout: 10_000 }).toBe(0);
  });
});

describe("rsds fleet at Dask's own scheduler", () => {
  async function attach(
    seconds: number | null,
    signal: AbortSignal,
    use: (address: string) => Promise<unknown>,
  ) {
    const address = await startScheduler("2026.8.0");
    const out = await mkdtemp(join(tmpdir(), "rsds-fleet-"));
    folders.push(out);
    let used: Promise<unknown> = Promise.resolve();
    const attached = attachFleet(
      {
        address: address.replace("tcp://", ""),
        workers: 24,
        release: "2026.8",
        flush: "each",
        seconds,
        out,
        log: (text) => log.push(text),
        onStarted: () => {
          used = use(address);
        },
      },
      signal,
    );
    return { ...(await attached), out, used: await used };
  }

  test("writes what it saw when it is interrupted, scatter and keys included", async () => {
    const abort = new AbortController();
    const script = `
data = client.scatter(list(range(5)))
futures = client.map(lambda x, y: x + y, range(100), [data[0]] * 100)
wait(futures, timeout=60)
answers = dict(keys=sum(len(keys) for keys in client.has_what().values()), values=client.gather(futures[:2] + data[:1]))
try:
    client.run(lambda: 1)
except Exception as error:
    answers["run"] = str(error)
answers["stacks"] = len(client.call_stack(futures))
print(json.dumps(answers))
`;
    const { document, ended, out, used } = await attach(null, abort.signal, async (address) => {
      const answers = await runClient("2026.8.0", address, script);
      abort.abort();
      return answers;
    });
    expect(used).toMatchObject({ values: [42, 42, 42], stacks: 0 });
    expect((used as { keys: number }).keys).toBeGreaterThanOrEqual(105);
    expect((used as { run: string }).run).toContain("a zero worker cannot do run: it has no Python");
    expect(ended).toBe("interrupted");
    expect(document).toMatchObject({
      schema: "rsds.fleet/1",
      tasks: 100,
      run: { workers: 24, flush: "each" },
    });
    expect(document.batch_out.max).toBe(1);
    expect(JSON.parse(await readFile(join(out, "summary.json"), "utf8"))).toEqual(document);
  });

  test("lets a client know that a P2P shuffle needs real workers", async () => {
    const abort = new AbortController();
    const script = `
warnings.simplefilter("default")
import dask, pandas, dask.dataframe as dd
frame = dd.from_pandas(pandas.DataFrame(dict(a=range(100), b=range(100))), npartitions=4)
with dask.config.set({"dataframe.shuffle.method": "p2p"}):
    shuffled = frame.shuffle("b")
try:
    client.compute(shuffled).result(timeout=60)
    print(json.dumps("no error"))
except Exception as error:
    print(json.dumps(str(error)))
`;
    const { document, used } = await attach(null, abort.signal, async (address) => {
      const answer = await runClient("2026.8.0", address, script);
      abort.abort();
      return answer;
    });
    expect(used).toContain("a P2P shuffle needs workers that hold data");
    expect(document.tasks).toBeGreaterThan(0);
  });

  test("ends by itself after the seconds that it was given, and when the scheduler goes away", async () => {
    expect((await attach(0.3, new AbortController().signal, async () => null)).ended).toBe("seconds");
    const { ended, document } = await attach(null, new AbortController().signal, async () => {
      processes.at(-1)!.kill("SIGTERM");
    });
    expect(ended).not.toBe("");
    expect(document.tasks).toBe(0);
  });
});
