import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RealCluster } from "../interop/support/processes.ts";
import { Inspected } from "./support/inspected.ts";

const support = (name: string): string => fileURLToPath(new URL(`support/${name}`, import.meta.url));
const MIB = 2 ** 20;
const SILENT_MS = 120_000;
/** Tables are given back when nothing happened for a while (SpareTables of src/server/control). */
const QUIET_MS = 2500;

let cluster: RealCluster;
beforeEach(() => {
  cluster = new RealCluster("2026.8.0");
});
afterEach(() => cluster.close());

async function start(zero_workers: number): Promise<Inspected> {
  await cluster.startScheduler(["--zero-workers", `${zero_workers}`], "rsds", ["--inspect=127.0.0.1:0"]);
  return Inspected.attach(cluster.scheduler);
}

async function tasksKnown(): Promise<number> {
  const port = /dashboard at: +http:\/\/127\.0\.0\.1:(\d+)/.exec(cluster.scheduler.output)?.[1];
  const answer = await fetch(`http://127.0.0.1:${port}/json/counts.json`);
  return ((await answer.json()) as { tasks: number }).tasks;
}

test("100 rounds of a graph of 10,000 tasks leave nothing behind", async () => {
  const rounds = 100;
  const inspected = await start(24);
  const client = cluster.startClient(support("rounds.py"), [`${rounds}`, "10000", cluster.folder]);
  const bytes: number[] = [];
  for (const round of [10, rounds]) {
    await client.waitFor(`round ${round}`, () => client.stdout.includes(`round ${round}\n`), 900_000);
    await expect.poll(tasksKnown, { timeout: 10_000 }).toBe(0);
    await sleep(QUIET_MS);
    bytes.push(await inspected.memoryBytes());
    writeFileSync(join(cluster.folder, `${round}`), "");
  }
  const [early = 0, late = 0] = bytes;
  console.log(
    `heap + external after round 10: ${(early / MIB).toFixed(1)} MiB, after ${rounds}: ${(late / MIB).toFixed(1)} MiB`,
  );
  expect(await client.ended).toBe(0);
  expect(late).toBeLessThan(early * 1.1);
  inspected.close();
});

test("a client that stops reading for two minutes costs little, and others are served", async () => {
  const inspected = await start(1000);
  const before = await inspected.memoryBytes();
  const silent = cluster.startClient(support("silent_client.py"), ["200000"]);
  await silent.waitFor("stopping", () => silent.stdout.includes("stopping"), 300_000);
  const end = Date.now() + SILENT_MS;
  const samples: number[] = [];
  let rounds = 0;
  while (Date.now() < end) {
    const other = cluster.startClient(support("rounds.py"), ["5", "2000", cluster.folder]);
    writeFileSync(join(cluster.folder, "5"), "");
    expect(await other.ended, other.output).toBe(0);
    rounds += 5;
    samples.push(await inspected.memoryBytes());
    await sleep(1000);
  }
  process.kill(silent.pid, "SIGCONT");
  expect(await silent.ended, silent.output).toBe(0);
  expect(silent.stdout).toContain("all done");
  await expect.poll(tasksKnown, { timeout: 30_000 }).toBe(0);
  const after = await inspected.memoryBytes();
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)}`;
  console.log(
    `heap + external in MiB: ${mib(before)} before; ${samples.map(mib).join(" ")} in two minutes with ${rounds} rounds of another client; ${mib(after)} after`,
  );
  // The 200,000 tasks that it wants are known once its graph has been opened; beside them nothing is piled up for it.
  const half = samples.length >> 1;
  const settled = Math.max(...samples.slice(half >> 1, half));
  expect(Math.max(...samples.slice(half))).toBeLessThan(settled * 1.1);
  expect(rounds).toBeGreaterThan(10);
  inspected.close();
});
