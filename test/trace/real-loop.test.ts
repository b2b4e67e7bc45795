import { createServer, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { garbageCollector } from "../../simulator/run/memory.ts";
import { MonotonicClock } from "../../src/trace/clock.ts";
import { processCpuUs, threadCpuNs } from "../../src/trace/cpu.ts";
import { LoopMeter } from "../../src/trace/loop-meter.ts";
import { HOP, PHASE, STAMP } from "../../src/trace/phases.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { TaskRows } from "../../src/trace/task-rows.ts";

/** A peer in a thread of its own that sends `bytes` when asked, so that its work is not this loop's. */
const SENDER = `
const { connect } = require("node:net");
const { workerData } = require("node:worker_threads");
const socket = connect(workerData.port, "127.0.0.1");
socket.on("data", () => {
  let left = workerData.bytes;
  const chunk = Buffer.alloc(1 << 18, 7);
  const more = () => {
    while (left > 0) {
      left -= chunk.length;
      if (!socket.write(chunk)) return socket.once("drain", more);
    }
    socket.end();
  };
  more();
});
`;

test("a busy loop with sockets: every nanosecond has one place, and little has none", async () => {
  const recorder = new Recorder();
  const bytes = 64 << 20;
  const { promise: accepted, resolve } = deferred<Socket>();
  const server = createServer(resolve);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  const sender = new Worker(SENDER, { eval: true, workerData: { port, bytes } });
  const socket = await accepted;
  let received = 0;
  let garbage: { i: number }[] = [];
  socket.on("data", (chunk) => {
    recorder.begin("read");
    recorder.enter(PHASE.decode);
    received += chunk.length;
    for (let i = 0; i < 2000; i++) garbage.push({ i });
    if (garbage.length > 100_000) garbage = [];
    recorder.exit();
    recorder.end();
  });
  const ended = new Promise((done) => socket.once("close", done));
  recorder.openWindow();
  recorder.enter(PHASE.write);
  socket.write("go");
  recorder.exit();
  await ended;
  const figures = await recorder.closeWindow();
  recorder.close();
  server.close();
  await sender.terminate();

  expect(received).toBe(bytes);
  const wall = figures.end_ns - figures.start_ns;
  const attributed = figures.phase_ns.reduce((sum, ns) => sum + ns, 0) + figures.idle_ns + figures.gc_ns;
  expect((attributed + figures.unattributed_ns) / wall).toBeCloseTo(1, 9);
  expect(figures.unattributed_ns).toBeCloseTo(figures.unclaimed_ns + figures.gc_unplaced_ns, -2);
  // Little, unless another process had the core between two callbacks: such a wait belongs to nothing.
  expect(figures.unattributed_ns / wall).toBeLessThan(0.25);
  expect(figures.unattributed_ns / wall).toBeGreaterThanOrEqual(-1e-6);
  expect(figures.phase_ns[PHASE.read]! / wall).toBeGreaterThan(0.05);
  expect(figures.gc_histogram.count).toBeGreaterThan(0);
  expect(figures.gc_ns).toBeGreaterThan(0);
  expect(figures.turn_histogram.count).toBeGreaterThan(0);
  expect(figures.unbalanced).toBe(0);
});

test("a collection that ends right before the window closes is still in its figures", async () => {
  const collect = garbageCollector();
  const recorder = new Recorder();
  recorder.openWindow();
  recorder.enter(PHASE.worker);
  const kept: number[][] = [];
  for (let i = 0; i < 200_000; i++) kept.push([i, i]);
  collect();
  recorder.exit();
  const figures = await recorder.closeWindow();
  recorder.close();
  expect(kept.length).toBe(200_000);
  expect(figures.gc_ns).toBeGreaterThan(0);
  expect(figures.phase_histograms[PHASE.worker]!.max).toBeGreaterThan(figures.phase_ns[PHASE.worker]!);
});

test("waiting is idle, as libuv says, and nothing else", async () => {
  const recorder = new Recorder();
  const before = performance.eventLoopUtilization().idle;
  recorder.openWindow();
  await sleep(100);
  const figures = await recorder.closeWindow();
  const libuv_ms = performance.eventLoopUtilization().idle - before;
  recorder.close();
  // How much of the time is left for waiting is up to the test runner, which works on this thread as well.
  expect(libuv_ms).toBeGreaterThan(0);
  expect(Math.abs(figures.idle_ns / 1e6 - libuv_ms)).toBeLessThan(5);
  for (const ns of figures.phase_ns) expect(ns).toBe(0);
  expect(figures.idle_histogram.count).toBeGreaterThan(0);
});

test("without a tracer the loop's turns are known too", async () => {
  const meter = new LoopMeter();
  meter.start();
  await sleep(20);
  const start = performance.now();
  while (performance.now() - start < 30);
  await sleep(20);
  const { turns, turn_max_ms, turn_p999_ms } = meter.stop();
  expect(turns).toBeGreaterThan(1);
  expect(turn_max_ms).toBeGreaterThan(20);
  expect(turn_p999_ms).toBeLessThanOrEqual(turn_max_ms);
});

test("probes are measured at construction and cost below some microseconds", async () => {
  const recorder = new Recorder();
  recorder.openWindow();
  recorder.enter(PHASE.encode);
  recorder.exit();
  recorder.hop(HOP.knownReady, 1);
  const { probe } = await recorder.closeWindow();
  recorder.close();
  expect(probe.cost_ns).toBeGreaterThan(10);
  expect(probe.cost_ns).toBeLessThan(20_000);
  expect(probe.count).toBe(2);
});

test("threads' clocks have one origin", async () => {
  const clock = new MonotonicClock();
  const worker = new Worker(
    `const { performance } = require("node:perf_hooks");
     const { parentPort } = require("node:worker_threads");
     parentPort.on("message", () => parentPort.postMessage(Number(process.hrtime.bigint())));`,
    { eval: true },
  );
  const before = clock.now();
  worker.postMessage(0);
  const theirs = await new Promise<number>((answer) => worker.once("message", answer));
  const after = clock.now();
  await worker.terminate();
  expect(theirs).toBeGreaterThanOrEqual(before - 1000);
  expect(theirs).toBeLessThanOrEqual(after + 1000);
});

test("a thread's CPU grows with its work and stands still while it waits", async () => {
  const before = threadCpuNs();
  if (before === null) return expect(process.platform).not.toBe("linux");
  const process_before = processCpuUs();
  const start = performance.now();
  // The machine may give the thread little of its time: work is what is asked for, not a while.
  let worked = 0;
  while (worked < 3e6) worked = threadCpuNs()! - before;
  expect(worked).toBeLessThan((performance.now() - start) * 1e6 + 20e6);
  expect(processCpuUs() - process_before).toBeGreaterThanOrEqual(worked / 1000 - 2000);
  const rested = threadCpuNs()!;
  await sleep(30);
  expect(threadCpuNs()! - rested).toBeLessThan(20e6);
});

test("task rows grow as rows come and say where a stamp is missing", () => {
  const rows = new TaskRows();
  rows.stamp(0, STAMP.known, 11);
  rows.stamp(5000, STAMP.client, 22);
  rows.worker(5000, 3);
  expect(rows.count).toBe(5001);
  expect(rows.stampOf(0, STAMP.known)).toBe(11);
  expect(rows.stampOf(0, STAMP.client)).toBeNaN();
  expect(rows.stampOf(5000, STAMP.client)).toBe(22);
  expect([rows.workerOf(0), rows.workerOf(5000)]).toEqual([-1, 3]);
  rows.reset();
  expect(rows.count).toBe(0);
  rows.stamp(1, STAMP.known, 1);
  expect(rows.stampOf(0, STAMP.known)).toBeNaN();
});

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((r) => {
    resolve = r;
  });
  return { promise, resolve };
}
