import { afterEach, describe, expect, test } from "vitest";
import { packGraph } from "../../../simulator/fleet/graph-message.ts";
import { FleetThread } from "../../../simulator/fleet/host.ts";
import { createStampMemory, StampReader } from "../../../simulator/fleet/stamps.ts";
import { TcpTransport } from "../../../src/comm/tcp.ts";
import { PHASE } from "../../../src/trace/phases.ts";
import { mergeGraph } from "./graphs.ts";
import { MiniScheduler } from "./mini-scheduler.ts";

const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(workers: number, memory_slots = 64) {
  const scheduler = new MiniScheduler("2026.8");
  const address = await scheduler.listen(new TcpTransport(), "tcp://127.0.0.1:0");
  closing.push(() => scheduler.close());
  const stamps = createStampMemory(workers, memory_slots);
  const log: string[] = [];
  const thread = new FleetThread(
    { address, workers, release: "2026.8", flush: "turn", stamps, client: true, trace: true },
    (text) => log.push(text),
  );
  closing.push(() => thread.kill());
  return { scheduler, thread, stamps: new StampReader(stamps), log };
}

describe("a fleet in a thread of its own", () => {
  test("runs graphs, stamps their tasks, and leaves when it is closed", async () => {
    const { scheduler, thread, stamps, log } = await start(4);
    const { addresses } = await thread.start();
    expect(addresses).toHaveLength(4);
    await thread.load(packGraph(mergeGraph(40), null));
    await thread.prepare("-0");
    const before_ns = Number(process.hrtime.bigint());
    const report = await thread.submit();
    const after_ns = Number(process.hrtime.bigint());
    expect(report.figures.tasks_finished).toBe(41);
    expect(report.figures.cpu_ns).toBeGreaterThan(0);
    const received_ns = stamps.receivedNs(2, 9);
    const moments = [
      before_ns,
      report.submitted_ns,
      received_ns,
      stamps.reportedNs(2, 9),
      report.reported_ns,
      after_ns,
    ];
    expect(moments).toEqual(moments.toSorted((a, b) => a - b));
    const window = await thread.recorded();
    expect(window?.unbalanced).toBe(0);
    const phases = [PHASE.read, PHASE.decode, PHASE.worker, PHASE.encode, PHASE.write];
    expect(Math.min(...phases.map((phase) => window!.phase_ns[phase]!))).toBeGreaterThan(0);
    expect(window!.end_ns).toBeLessThanOrEqual(report.reported_ns);
    expect(await thread.recorded()).toBeNull();
    expect(await thread.release(10_000)).toEqual({ keys_left: 0 });
    expect((await thread.figures()).tasks_received).toBe(41);
    await thread.close();
    expect(await thread.ended).toBeNull();
    await expect.poll(() => scheduler.workers).toEqual([]);
    await expect(thread.submit()).rejects.toThrow("the fleet is closed");
    expect(log).toEqual([]);
  });

  test("gives errors to whoever asked, and lives on", async () => {
    const { thread } = await start(1);
    await thread.start();
    await expect(thread.prepare("-0")).rejects.toThrow("no graph is loaded");
    await expect(thread.submit()).rejects.toThrow("nothing is prepared");
    expect((await thread.figures()).tasks_received).toBe(0);
  });

  test("rejects what waits when the thread is killed", async () => {
    const { thread } = await start(1);
    await thread.start();
    await thread.load(
      packGraph({ ...mergeGraph(1), dependency_offsets: [0, 1, 2], dependency_ids: [1, 0] }, null),
    );
    await thread.prepare("-0");
    const submitted = expect(thread.submit()).rejects.toThrow("the fleet is closed");
    await thread.kill();
    await submitted;
    await expect(thread.figures()).rejects.toThrow("the fleet is closed");
  });

  test("rejects the start if nobody listens", async () => {
    const { scheduler, thread } = await start(1);
    await scheduler.close();
    await expect(thread.start()).rejects.toThrow("ECONNREFUSED");
  });
});
