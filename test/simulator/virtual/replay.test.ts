import { describe, expect, test } from "vitest";
import type { VirtualOptions } from "../../../simulator/virtual/options.ts";
import type { RecordedRun, Workload } from "../../../simulator/workloads/index.ts";
import { graphOf, run, type Task } from "./runs.ts";

/** Without `seconds`: data that was there before. */
interface RecordedTask extends Task {
  readonly graph?: number;
  readonly overhead_s?: number;
  readonly fetch_lag_s?: number;
  readonly report_s?: number;
  readonly worker?: number;
}

/** A recording of these tasks; graphs as [submit_s, think_s or null, client]. */
function recording(
  tasks: readonly RecordedTask[],
  graphs: readonly (readonly [number, number | null, number?])[] = [[0, null]],
  wanted?: readonly number[],
): Workload {
  const column = (of: (task: RecordedTask) => number | undefined): Float64Array =>
    Float64Array.from(tasks, (task) => of(task) ?? 0);
  const recorded: RecordedRun = {
    setup: {
      ...{ scheduler: "workstealing", workers: [1], message_us: 0 },
      ...{ transfer_latency_us: null, transfer_bandwidth: null },
    },
    makespan_s: 1,
    graphs: graphs.map(([submit_s, think_s, client = 0]) => ({
      ...{ client, submit_us: submit_s * 1e6, intake_us: 0 },
      think_us: think_s === null ? null : think_s * 1e6,
    })),
    graph_of: Uint32Array.from(tasks, ({ graph = 0 }) => graph),
    data: Uint8Array.from(tasks, ({ seconds }) => (seconds === undefined ? 1 : 0)),
    overhead_us: column(({ overhead_s = 0 }) => overhead_s * 1e6),
    fetch_lag_us: column(({ fetch_lag_s = 0 }) => fetch_lag_s * 1e6),
    report_us: column(({ report_s = 0 }) => report_s * 1e6),
    worker: Int32Array.from(tasks, ({ worker = -1 }) => worker),
  };
  const graph = graphOf(tasks);
  return { ...graph, wanted: wanted ?? graph.wanted, recorded };
}

async function makespan(workload: Workload, options: Partial<VirtualOptions> = {}): Promise<number> {
  return (await run(workload, options)).repeat.makespan_s;
}

describe("a replay", () => {
  test("takes the workers' own time for each task, which keeps a core, and for each report, which does not", async () => {
    const chain = recording([
      { seconds: 1, overhead_s: 0.1, report_s: 0.5 },
      { seconds: 1, overhead_s: 0.2, report_s: 0.5, needs: [0] },
    ]);
    expect(await makespan(chain)).toBeCloseTo(0.1 + 1 + 0.5 + 0.2 + 1 + 0.5, 9);
    const both = recording([
      { seconds: 1, overhead_s: 0.1, report_s: 0.5 },
      { seconds: 1, overhead_s: 0.2, report_s: 0.5 },
    ]);
    expect(await makespan(both)).toBeCloseTo(0.1 + 1 + 0.2 + 1 + 0.5, 9);
    expect(await makespan(both, { workers: 2 })).toBeCloseTo(0.2 + 1 + 0.5, 9);
    expect(await makespan(both, { message_ns: 0.1e9 })).toBeCloseTo(2.8 + 0.3, 9);
  });

  test("respects when graphs came, or has them come after the results that they had waited for", async () => {
    const two = recording(
      [{ seconds: 4 }, { seconds: 1, graph: 1 }, { seconds: 1, graph: 2 }],
      [
        [0, null],
        [6, 2],
        [6.5, null],
      ],
    );
    expect(await makespan(two)).toBeCloseTo(8, 9);
    expect(await makespan(two, { submit: "results" })).toBeCloseTo(8, 9);
    const quick = { ...two, durations_us: Float64Array.of(1e6, 1e6, 1e6) };
    expect(await makespan(quick)).toBeCloseTo(8, 9);
    // After 1 s and 2 s of thought come two graphs within half a second.
    expect(await makespan(quick, { submit: "results" })).toBeCloseTo(5, 9);
    expect(await makespan(quick, { submit: "results", workers: 2 })).toBeCloseTo(4.5, 9);
  });

  test("keeps what a later graph depends on, and waits for a graph that it depends on", async () => {
    const chained = recording(
      [{ seconds: 1 }, { seconds: 1, needs: [0] }, { seconds: 1, needs: [0], graph: 1 }],
      [
        [0, null],
        [10, null],
      ],
      [1, 2],
    );
    expect(await makespan(chained)).toBeCloseTo(11, 9);
    const others = recording(
      [{ seconds: 1 }, { seconds: 1, graph: 1 }, { seconds: 1, needs: [1], graph: 2 }],
      [
        [0, null, 0],
        [5, 4, 0],
        [7, null, 1],
      ],
      [0, 1, 2],
    );
    // Its own client's graph comes at 7 all the same; the one that it needs came at 5.
    const { repeat, timeline } = await run(others, { submit: "results" });
    expect(timeline.assigned_ns[2]).toBeGreaterThanOrEqual(timeline.stop_ns[1]!);
    expect(repeat.makespan_s).toBeCloseTo(8, 9);
    const late = { ...others, durations_us: Float64Array.of(6e6, 1e6, 1e6) };
    expect(await makespan(late, { submit: "results" })).toBeCloseTo(6 + 4 + 1 + 1, 9);
  });

  test("has data where it was, and moves it from there", async () => {
    const workload = recording(
      [
        { bytes: 1e9, worker: 1 },
        { seconds: 1, needs: [0] },
        { seconds: 1, needs: [0] },
      ],
      [[0, null]],
    );
    const { repeat } = await run(workload, { workers: 2, network: "simple", scheduler: "random" });
    expect(repeat.tasks_finished).toBe(2);
    expect(repeat.bytes_moved).toBeLessThanOrEqual(1e9);
    expect(await makespan(workload)).toBeCloseTo(2, 9);
  });

  test("of five thousand small graphs is no matter of stack or ids", async () => {
    const count = 5_000;
    const tasks = Array.from({ length: count }, (_, graph) => ({ seconds: 0.001, graph }));
    const graphs = tasks.map((_, i) => [i / 1e4, i % 100 === 99 ? 0.001 : null] as const);
    for (const submit of ["recorded", "results"] as const) {
      const { repeat } = await run(recording(tasks, graphs), { submit, workers: 4 });
      expect(repeat.tasks_finished).toBe(count);
    }
  });
});

describe("--fetch gather", () => {
  test("asks for a task's inputs when its worker did, and works on meanwhile", async () => {
    const workload = recording([
      { bytes: 1e9, worker: 0 },
      { bytes: 1e9, worker: 1 },
      { seconds: 1, needs: [0, 1], fetch_lag_s: 0.5 },
      { seconds: 1 },
      { seconds: 1 },
    ]);
    // Half a second until it asks, one for the gigabyte, one to run.
    const { repeat } = await run(workload, { workers: 2, network: "simple" });
    expect(repeat).toMatchObject({ transfers: 1, bytes_moved: 1e9 });
    expect(repeat.makespan_s).toBeCloseTo(2.5, 9);
  });

  test("brings all inputs from one worker in one go, of at most 50 MB", async () => {
    // Two hundred inputs on two workers, and one that needs them all.
    const inputs = Array.from({ length: 200 }, () => ({ seconds: 0.01, bytes: 1e6 }));
    const workload = recording([...inputs, { seconds: 0.01, needs: inputs.map((_, i) => i) }]);
    const network = { network: "simple", workers: 2, latency_ns: 1e6 } as const;
    const gathered = await run(workload, network);
    expect(gathered.repeat.transfers).toBe(2);
    const each = await run(workload, { ...network, fetch: "each" });
    expect(each.repeat.transfers).toBe(100);
    expect(each.repeat.bytes_moved).toBe(gathered.repeat.bytes_moved);
  });

  test("ends with all tasks done, for every policy and network", async () => {
    const tasks = Array.from({ length: 300 }, (_, i) => ({
      seconds: 0.01,
      bytes: 1e5 * (i % 7),
      needs: [...new Set([Math.floor(i / 2), Math.floor(i / 3)])].filter((one) => one < i),
    }));
    for (const network of ["instant", "simple", "maxmin"] as const)
      for (const scheduler of ["workstealing", "dask", "random"]) {
        const { repeat } = await run(recording(tasks), { network, scheduler, workers: 7, latency_ns: 1e5 });
        expect(repeat.tasks_finished).toBe(300);
      }
  });
});
