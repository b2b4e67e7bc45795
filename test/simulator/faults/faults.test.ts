import { describe, expect, test } from "vitest";
import { type FaultReport, renderFaults, runSeeds } from "../../../simulator/faults/fault-run.ts";
import { planWorld } from "../../../simulator/faults/plan.ts";
import { runWorld } from "../../../simulator/faults/run-world.ts";
import { CLIENT_STREAM_OPS, LEFT_OUT, WORKER_STREAM_OPS } from "../../../simulator/faults/strangers.ts";
import { servedOperations } from "../../server/support/served-operations.ts";

const SEEDS = 2_000;

function run(seed: number, count: number): Promise<FaultReport> {
  const options = { seed, count, steps: null, workers: null, clients: null, bail: false, shrink: true };
  const signal = new AbortController().signal;
  return runSeeds(options, "0.0.0", { say: () => undefined, signal, witness: null });
}

describe("worlds in which everything goes wrong", () => {
  let report: FaultReport;

  test("hold, whatever the seed", { timeout: 600_000 }, async () => {
    report = await run(1, SEEDS);
    expect(report.failures).toEqual([]);
    expect(report.seeds).toBe(SEEDS);
  });

  test("take every edge of the state machine", () => {
    const untaken = Object.entries(report.edges).filter(([, count]) => count === 0);
    expect(untaken).toEqual([]);
  });

  test("send every operation before, during and after its natural place", () => {
    const missing: string[] = [];
    const look = (kind: string, ops: readonly string[]): void => {
      for (const op of ops)
        for (const when of ["before", "during", "after"])
          if (report.sent[`${kind} ${op} ${when}`] === undefined) missing.push(`${kind} ${op} ${when}`);
    };
    look("worker stream", WORKER_STREAM_OPS);
    look("client stream", CLIENT_STREAM_OPS);
    look(
      "request",
      servedOperations().filter((op) => !LEFT_OUT.has(op)),
    );
    expect(missing).toEqual([]);
  });

  test("leave out requests that there are, and no others", () => {
    const served = new Set(servedOperations());
    expect([...LEFT_OUT.keys()].filter((op) => !served.has(op))).toEqual([]);
  });

  test("hit workers, clients and streams in each way that there is", () => {
    const kinds = [
      ...["worker killed", "worker hangs", "worker slow", "worker pauses or goes on", "worker retired"],
      ...["stream cut", "worker back at the same address", "worker's messages late", "report repeated"],
      ...["report of another run", "steal answered late", "thief killed", "victim killed", "data lost"],
      ...["client gone", "worker killed by its task", "garbage sent", "task secedes", "task rescheduled"],
      ...["actor placed", "actor lost with its worker"],
    ];
    expect(kinds.filter((kind) => (report.happened[kind] ?? 0) < 10)).toEqual([]);
  });

  test("are told of in a text that names what happened", () => {
    const text = renderFaults(report);
    expect(text).toContain("2,000 seeds from 1 on: none failed");
    expect(text).toContain("released → waiting");
    expect(text).not.toContain("not taken");
  });
});

test("one seed gives one run, byte for byte", async () => {
  for (const seed of [3, 14, 159, 2653]) {
    const lines: string[][] = [[], []];
    const verdicts = [];
    for (const log of lines) verdicts.push(await runWorld(planWorld(seed), null, (line) => log.push(line)));
    expect(lines[1]).toEqual(lines[0]);
    expect(verdicts[1]?.digest).toBe(verdicts[0]?.digest);
  }
  expect((await run(20, 20)).digest).toBe((await run(20, 20)).digest);
  expect((await run(20, 20)).digest).not.toBe((await run(21, 20)).digest);
});
