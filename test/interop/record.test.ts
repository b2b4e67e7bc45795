import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import type { RecordedHeader } from "../../simulator/workloads/write-recorded.ts";
import { MAIN } from "../cli/rsds-process.ts";
import { type Program, RealCluster } from "./support/processes.ts";

const clusters: RealCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

function rsds(cluster: RealCluster, ...args: string[]): Program {
  return cluster.start(`rsds ${args[0]}`, process.execPath, [MAIN, ...args]);
}

interface Replayed {
  readonly makespan_s: { readonly median: number };
  readonly recorded_makespan_s: number;
  readonly bytes_moved: { readonly median: number };
}

async function replay(cluster: RealCluster, file: string, ...args: string[]): Promise<Replayed> {
  const out = join(cluster.folder, "replayed");
  const program = rsds(cluster, "simulate", "--workload", file, "--json", "--quiet", "--out", out, ...args);
  expect(await program.ended, program.output).toBe(0);
  return JSON.parse(program.stdout) as Replayed;
}

test.each(["2026.8.0", "2022.12.1"])(
  "a real run of %s is recorded, and replayed as long as it took",
  async (release) => {
    const cluster = new RealCluster(release);
    clusters.push(cluster);
    await cluster.startScheduler([], "rsds");
    for (const name of ["one", "two"]) cluster.startWorker({ name, args: ["--nthreads", "1"] });
    const go = join(cluster.folder, "go");
    const client = cluster.startClient("recorded.py", [go]);
    await client.waitFor("ready", () => client.output.includes("ready"), 60_000);
    const file = join(cluster.folder, "run.jsonl.gz");
    const recorder = rsds(cluster, "record", cluster.address, "--payloads", "--out", file, "--json");
    await recorder.waitFor("recording", () => recorder.output.includes("recording tcp"), 60_000);
    writeFileSync(go, "");
    expect(await client.ended, client.output).toBe(0);
    expect(await recorder.end("SIGINT"), recorder.output).toBe(130);
    expect(cluster.scheduler.output).toMatch(/The recording of \S+ \S+ at \S+ is over: it was asked to/);
    const header = JSON.parse(recorder.stdout) as RecordedHeader;
    // 100 and their sum, 50 and their maximum, the one that fails; the scattered data and the task of before.
    expect(header).toMatchObject({ tasks: 155, data: 2, failed: 1, unfinished: 0, clients: 1 });
    expect(header.setup).toMatchObject({ scheduler: "workstealing", workers: [1, 1] });
    expect(header.setup.transfers.count).toBeGreaterThan(0);
    expect(header.makespan_s).toBeGreaterThan(1.3);
    expectRows(header, file);
    const same = await replay(cluster, file);
    expect(same.recorded_makespan_s).toBe(header.makespan_s);
    // How near it comes is profiles/bench-replay.mjs's to say: a loaded machine leaves workers standing for long.
    expect(same.makespan_s.median / header.makespan_s).toBeGreaterThan(0.5);
    expect(same.makespan_s.median / header.makespan_s).toBeLessThan(2);
  },
);

interface Row {
  readonly prefix: string;
  readonly dependencies: readonly number[];
  readonly duration_us: number | null;
  readonly nbytes: number;
  readonly think_us: number | null;
  readonly wanted: number;
  readonly key: string;
  readonly payload: readonly string[];
}

/** All that a file says of its tasks is possible. */
function expectRows(header: RecordedHeader, file: string): void {
  const lines = gunzipSync(readFileSync(file)).toString().trim().split("\n");
  expect(JSON.parse(lines[0]!)).toEqual(header);
  const rows = lines.slice(1).map((line) => {
    const values = JSON.parse(line) as unknown[];
    return Object.fromEntries(header.columns.map((name, i) => [name, values[i]])) as unknown as Row;
  });
  expect(rows).toHaveLength(header.tasks);
  const slow = rows.filter(({ prefix }) => prefix === "slow");
  expect(slow).toHaveLength(100);
  for (const row of slow) {
    expect(row.duration_us).toBeGreaterThan(19_000);
    expect(row.dependencies).toHaveLength(1);
    expect(row.wanted).toBe(1);
    expect(row.key).toMatch(/^slow-/);
    // What its worker ran: the pickled function by its name.
    const [, ...frames] = row.payload;
    expect(Buffer.concat(frames.map((frame) => Buffer.from(frame, "base64"))).includes("slow")).toBe(true);
  }
  const last = rows.find(({ prefix }) => prefix === "max")!;
  expect(last.think_us ?? rows.find(({ prefix }) => prefix === "add")?.think_us).toBeGreaterThan(250_000);
  const data = rows.filter((row) => row.duration_us === null);
  expect(
    data
      .map(({ nbytes }) => nbytes)
      .sort((a, b) => a - b)
      .at(-1),
  ).toBeGreaterThanOrEqual(100_000);
}
