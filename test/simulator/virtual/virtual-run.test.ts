import { describe, expect, test } from "vitest";
import type { VirtualOptions } from "../../../simulator/virtual/options.ts";
import { boundsOf } from "../../../simulator/virtual/virtual-run.ts";
import { parseWorkload, type Workload } from "../../../simulator/workloads/index.ts";
import { POLICY_NAMES } from "../../../src/schedulers/index.ts";
import { graphOf, OPTIONS, run } from "./runs.ts";

const EIGHT: Partial<VirtualOptions> = { workers: 8, fetch: "each" };

/** A workload out of [inputs, seconds, bytes] for each task. */
function workload(tasks: readonly (readonly [readonly number[], number, number])[]): Workload {
  return graphOf(tasks.map(([needs, seconds, bytes]) => ({ needs, seconds, bytes })));
}

async function makespan(graph: Workload, options: Partial<VirtualOptions>): Promise<number> {
  const { repeat } = await run(graph, { ...EIGHT, ...options });
  return repeat.makespan_s;
}

describe("virtual time", () => {
  test("is what durations and transfers add up to", async () => {
    const chain = workload([
      [[], 1, 1e9],
      [[0], 2, 1e9],
      [[1], 3, 0],
    ]);
    expect(await makespan(chain, { workers: 1 })).toBeCloseTo(6, 9);
    // Two inputs on two workers: one has to be fetched, in a second and a half.
    const join = workload([
      [[], 1, 1e9],
      [[], 1, 1e9],
      [[0, 1], 1, 0],
    ]);
    const network = { network: "simple", latency_ns: 0.5e9, workers: 2 } as const;
    expect(await makespan(join, network)).toBeCloseTo(3.5, 9);
    expect(await makespan(join, { ...network, network: "maxmin" })).toBeCloseTo(3.5, 9);
    expect(await makespan(join, { ...network, network: "instant" })).toBeCloseTo(2, 9);
  });

  test("counts messages and the scheduler's own delays", async () => {
    const one = workload([[[], 1, 0]]);
    expect(await makespan(one, { message_ns: 0.1e9 })).toBeCloseTo(1.3, 9);
    expect(await makespan(one, { decision_delay_ns: 0.5e9 })).toBeCloseTo(2, 9);
    // It was asked at 0; the report of 1 s waits for the next time that it may be asked.
    expect(await makespan(one, { scheduling_delay_ns: 4e9 })).toBeCloseTo(4, 9);
  });

  test("tells policies that weigh transfers what the network's bandwidth is", async () => {
    // Two tasks behind one of 1 GB: a second worker is worth it where that moves faster than a task runs.
    const fork = workload([
      [[], 1, 1e9],
      [[0], 1, 0],
      [[0], 1, 0],
    ]);
    for (const scheduler of ["etf", "dask"]) {
      const alone = { workers: 2, scheduler, network: "simple", bandwidth: 1e8 } as const;
      expect(await makespan(fork, alone), scheduler).toBeCloseTo(3, 9);
      expect(await makespan(fork, { ...alone, bandwidth: 1e10 }), scheduler).toBeCloseTo(2.1, 9);
      expect(await makespan(fork, { ...alone, network: "instant" }), scheduler).toBeCloseTo(2, 9);
    }
  });

  test("runs as many tasks at once as there are cores", async () => {
    const tasks = Array.from({ length: 12 }, () => [[], 1, 0] as const);
    expect(await makespan(workload(tasks), { workers: 2, cores: 3 })).toBeCloseTo(2, 9);
  });

  test("is the same for the same seed, and never below the bounds, for every policy", async () => {
    const graph = await parseWorkload("random:400:3");
    for (const scheduler of POLICY_NAMES)
      for (const network of ["instant", "simple", "maxmin"] as const) {
        const options = { ...EIGHT, scheduler, network, bandwidth: 1e8, latency_ns: 1e5, message_ns: 1e5 };
        const [first, second] = [await run(graph, options, 5), await run(graph, options, 5)];
        const { cpu_s: _, ...figures } = first.repeat;
        expect(second.repeat).toMatchObject(figures);
        expect(second.timeline).toEqual(first.timeline);
        const { critical_path_s, work_per_core_s } = boundsOf(graph, { ...OPTIONS, ...options });
        expect(first.repeat.makespan_s, `${scheduler} ${network}`).toBeGreaterThanOrEqual(
          Math.max(critical_path_s, work_per_core_s) - 1e-9,
        );
        expect(first.repeat.tasks_finished).toBe(graph.tasks);
      }
  });

  test("of independent tasks of one length is within 5 % of the best, for policies that balance", async () => {
    const tasks = Array.from({ length: 400 }, () => [[], 0.1, 0] as const);
    for (const scheduler of POLICY_NAMES) {
      if (scheduler === "random" || scheduler === "single") continue;
      expect(await makespan(workload(tasks), { scheduler }), scheduler).toBeLessThanOrEqual(5 * 1.05);
    }
  });
});
