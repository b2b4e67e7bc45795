import { afterEach, describe, expect, test } from "vitest";
import { packGraph } from "../../../simulator/fleet/graph-message.ts";
import { FleetProcess } from "../../../simulator/fleet/host.ts";
import { TcpTransport } from "../../../src/comm/tcp.ts";
import { PHASE } from "../../../src/trace/phases.ts";
import { mergeGraph } from "./graphs.ts";
import { MiniScheduler } from "./mini-scheduler.ts";

const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(workers: number) {
  const scheduler = new MiniScheduler("2026.8");
  const address = await scheduler.listen(new TcpTransport(), "tcp://127.0.0.1:0");
  closing.push(() => scheduler.close());
  const log: string[] = [];
  const fleet = new FleetProcess(
    { address, workers, release: "2026.8", flush: "turn", stamps: true, client: true, trace: true },
    (text) => log.push(text),
  );
  closing.push(() => fleet.kill());
  return { scheduler, fleet, log };
}

describe("a fleet in a process of its own", () => {
  test("runs graphs, stamps their tasks, and leaves when it is closed", async () => {
    const { scheduler, fleet, log } = await start(4);
    const { addresses } = await fleet.start();
    expect(addresses).toHaveLength(4);
    await fleet.load(packGraph(mergeGraph(40), null));
    await fleet.prepare("-0");
    const before_ns = Number(process.hrtime.bigint());
    const report = await fleet.submit();
    const after_ns = Number(process.hrtime.bigint());
    expect(report.figures.tasks_finished).toBe(41);
    expect(report.figures.cpu_ns).toBeGreaterThan(0);
    const stamps = await fleet.stamps();
    expect(stamps.map(({ first, pairs }) => [first, pairs.length])).toEqual([
      [0, 22],
      [0, 20],
      [0, 20],
      [0, 20],
    ]);
    const [received_ns = 0, reported_ns = 0] = stamps[2]!.pairs.slice(18);
    const moments = [before_ns, report.submitted_ns, received_ns, reported_ns, report.reported_ns, after_ns];
    expect(moments).toEqual(moments.toSorted((a, b) => a - b));
    const window = await fleet.recorded();
    expect(window?.unbalanced).toBe(0);
    const phases = [PHASE.read, PHASE.decode, PHASE.worker, PHASE.encode, PHASE.write];
    expect(Math.min(...phases.map((phase) => window!.phase_ns[phase]!))).toBeGreaterThan(0);
    expect(window!.end_ns).toBeLessThanOrEqual(report.reported_ns);
    expect(await fleet.recorded()).toBeNull();
    expect(await fleet.release(10_000)).toEqual({ keys_left: 0 });
    expect((await fleet.figures()).tasks_received).toBe(41);
    await fleet.close();
    expect(await fleet.ended).toBeNull();
    await expect.poll(() => scheduler.workers).toEqual([]);
    await expect(fleet.submit()).rejects.toThrow("the fleet is closed");
    expect(log).toEqual([]);
  });

  test("gives errors to whoever asked, and lives on", async () => {
    const { fleet } = await start(1);
    await fleet.start();
    await expect(fleet.prepare("-0")).rejects.toThrow("no graph is loaded");
    await expect(fleet.submit()).rejects.toThrow("nothing is prepared");
    expect((await fleet.figures()).tasks_received).toBe(0);
  });

  test("rejects what waits when the process is killed", async () => {
    const { fleet } = await start(1);
    await fleet.start();
    await fleet.load(
      packGraph({ ...mergeGraph(1), dependency_offsets: [0, 1, 2], dependency_ids: [1, 0] }, null),
    );
    await fleet.prepare("-0");
    const submitted = expect(fleet.submit()).rejects.toThrow("the fleet is closed");
    await fleet.kill();
    await submitted;
    await expect(fleet.figures()).rejects.toThrow("the fleet is closed");
  });

  test("rejects the start if nobody listens", async () => {
    const { scheduler, fleet } = await start(1);
    await scheduler.close();
    await expect(fleet.start()).rejects.toThrow("ECONNREFUSED");
  });
});
