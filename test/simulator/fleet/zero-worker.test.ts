import { describe, expect, test } from "vitest";
import { RELEASES, type Release } from "../../../simulator/fleet/release.ts";
import { StampLog } from "../../../simulator/fleet/stamps.ts";
import { decodeMessage } from "../../../src/protocol/message.ts";
import { WireMap, type WireValue } from "../../../src/protocol/values.ts";
import { computeTask, framed, golden, plain, WorkerBench } from "./support.ts";

const FINISHED_GOLDEN: Record<Release, string> = {
  "2022.12": "2022.12.1-task-finished-in-admin-c2s3",
  "2024.12": "2024.12.1-task-finished-in-admin-c3s3",
  "2026.8": "2026.8.0-task-finished-in-admin-c3s3",
};
const ERRED_GOLDEN: Record<Release, string> = {
  "2022.12": "2022.12.1-task-erred-in-admin-c3s3",
  "2024.12": "2024.12.1-task-erred-in-admin-c2s3",
  "2026.8": "2026.8.0-task-erred-in-admin-c2s3",
};
const COMPUTE_GOLDEN: Record<Release, readonly string[]> = {
  "2022.12": ["2022.12.1-compute-task-out-df_groupby-c3s2", "2022.12.1-compute-task-out-admin-c2s2"],
  "2024.12": ["2024.12.1-compute-task-out-df_groupby-c3s3", "2024.12.1-compute-task-out-admin-c2s2"],
  "2026.8": ["2026.8.0-compute-task-out-df_groupby-c3s3", "2026.8.0-compute-task-out-admin-c2s2"],
};

function goldenFields(name: string): unknown[] {
  return ((decodeMessage(golden(name)) as WireMap[])[0] as WireMap).keys;
}

describe.each(RELEASES)("a zero worker of %s", (release) => {
  test("reports a task as finished with the fields of a real worker, in their order", () => {
    const bench = new WorkerBench(release);
    const [report, ...others] = bench.tell(0, computeTask(release, "add-1"));
    expect(others).toEqual([]);
    expect(report!.keys).toEqual(goldenFields(FINISHED_GOLDEN[release]));
    expect(plain(report)).toEqual({
      key: "add-1",
      ...(release === "2022.12" ? {} : { run_id: 7 }),
      nbytes: 20,
      type: "hex:80059514000000000000008c086275696c74696e73948c03696e749493942e",
      typename: "int",
      metadata: {},
      thread: 140_000_000_000_000,
      startstops: [{ action: "compute", start: { value: 1_700_000_005 }, stop: 1_700_000_005.00001 }],
      op: "task-finished",
      stimulus_id: "task-finished-1700000005.000000",
      status: "OK",
    });
  });

  test("announces every dependency that it did not hold in one add-keys, before the task is finished", () => {
    const bench = new WorkerBench(release);
    bench.tell(0, computeTask(release, "a"));
    const reports = bench.tell(
      0,
      computeTask(release, "sum", ["a", "b", "c"]),
      computeTask(release, "next", ["sum", "c", "d"]),
    );
    expect(reports.map((report) => plain(report.get("op")))).toEqual([
      ...["add-keys", "task-finished", "add-keys", "task-finished"],
    ]);
    expect(plain(reports[0])).toEqual({ keys: ["b", "c"], op: "add-keys", stimulus_id: "stimulus-1" });
    expect(plain(reports[2]!.get("keys"))).toEqual(["d"]);
    expect(["a", "b", "c", "d", "sum", "next"].map((key) => bench.holds(0, key))).toEqual(
      Array(6).fill(true),
    );
  });

  test("finishes the tasks of recorded compute-task messages", () => {
    for (const name of COMPUTE_GOLDEN[release]) {
      const bench = new WorkerBench(release);
      const message = golden(name);
      const tasks = (decodeMessage(message) as WireMap[]).filter((task) => task.get("op") === "compute-task");
      const reports = bench.tellFramed(0, message);
      const ended = reports.filter((report) => String(report.get("op")).startsWith("task-"));
      expect(ended.map((report) => plain(report.get("key")))).toEqual(
        tasks.map((task) => plain(task.get("key"))),
      );
      expect(ended.map((report) => plain(report.get("run_id")))).toEqual(
        tasks.map((task) => plain(task.get("run_id"))),
      );
      const actors = tasks.map((task) => task.get("actor") === true);
      expect(ended.map((report) => report.get("op") === "task-erred")).toEqual(actors);
    }
  });

  test("refuses an actor with an error that says why", () => {
    const bench = new WorkerBench(release);
    const reports = bench.tell(0, computeTask(release, "a"), computeTask(release, "b", [], { actor: true }));
    expect(reports.map((report) => report.get("op"))).toEqual(["task-finished", "task-erred"]);
    expect(reports[1]!.keys).toEqual(goldenFields(ERRED_GOLDEN[release]));
    expect(reports[1]!.get("exception_text")).toContain("a zero worker cannot run this task: an actor");
    expect(bench.holds(0, "b")).toBe(false);
    expect(bench.context.meter.tasks_erred).toBe(1);
  });

  test("refuses a P2P shuffle at its barrier", () => {
    const bench = new WorkerBench(release);
    const barrier = "shuffle-barrier-0123456789abcdef0123456789abcdef";
    const [report] = bench.tell(0, computeTask(release, barrier, [["shuffle-transfer-0", 1]]));
    expect(report!.get("op")).toBe("task-erred");
    expect(report!.get("exception_text")).toContain("a P2P shuffle needs workers that hold data");
    expect(bench.log).toHaveLength(1);
  });

  test("takes keys of any kind and fields in any order", () => {
    const bench = new WorkerBench(release);
    const key = ["x", 1, [2.5, "y"]];
    const task = computeTask(release, key, [["x", 0], "long".repeat(100), Buffer.from("bytes")]);
    const shuffled = new WireMap([...task.keys].reverse(), [...task.values].reverse());
    const reports = bench.tell(0, shuffled, computeTask(release, "z", [key]));
    expect(reports.map((report) => report.get("op"))).toEqual(["add-keys", "task-finished", "task-finished"]);
    expect(plain(reports[0]!.get("keys"))).toEqual([["x", 0], "long".repeat(100), "hex:6279746573"]);
    expect(plain(reports[1]!.get("key"))).toEqual(key);
  });

  test.each([
    [
      "lacks a field",
      (task: WireMap) => new WireMap(task.keys.slice(0, -1), task.values.slice(0, -1)),
      "missing",
    ],
    ["has one too many", (task: WireMap) => task.set("surprise", 1), "unexpected [surprise]"],
    [
      "has another's",
      (task: WireMap) =>
        new WireMap(
          task.keys.map((k) => (k === "actor" ? "actos" : k)),
          task.values,
        ),
      "missing [actor]",
    ],
  ])("closes on a compute-task that %s, as a real worker does", (_, change, text) => {
    const bench = new WorkerBench(release);
    expect(() => bench.tell(0, change(computeTask(release, "a")))).toThrow(text);
  });

  test("repeats the report of a task that it already holds", () => {
    const bench = new WorkerBench(release);
    bench.tell(0, computeTask(release, "a"));
    expect(bench.tell(0, computeTask(release, "a"))).toHaveLength(1);
    expect(bench.context.held.total).toBe(1);
  });
});

describe("a zero worker", () => {
  test("answers a steal-request with the truth: it holds the key, or knows nothing of it", () => {
    const bench = new WorkerBench("2026.8");
    bench.tell(0, computeTask("2026.8", "a"));
    const replies = bench.tell(
      0,
      WireMap.of({ op: "steal-request", key: "a", stimulus_id: "steal-0" }),
      WireMap.of({ op: "steal-request", key: ["b", 1], stimulus_id: "steal-1" }),
    );
    expect(replies[0]!.keys).toEqual(goldenFields("2026.8.0-steal-response-in-steal-c2s7"));
    expect(replies.map(plain)).toEqual([
      { key: "a", state: "memory", op: "steal-response", stimulus_id: "steal-0" },
      { key: ["b", 1], state: null, op: "steal-response", stimulus_id: "steal-1" },
    ]);
  });

  test.each(["free-keys", "remove-replicas"])("applies %s and says which keys it let go", (op) => {
    const bench = new WorkerBench("2026.8", { workers: 2 });
    bench.tell(0, computeTask("2026.8", "a"), computeTask("2026.8", "b"));
    bench.tell(1, computeTask("2026.8", "c", ["a"]));
    const replies = bench.tell(0, WireMap.of({ op, keys: ["a", "unknown"], stimulus_id: "s" }));
    expect(replies.map(plain)).toEqual([{ key: "a", op: "release-worker-data", stimulus_id: "s" }]);
    expect([bench.holds(0, "a"), bench.holds(0, "b"), bench.holds(1, "a")]).toEqual([false, true, true]);
    expect([...bench.context.held.counts]).toEqual([1, 2]);
  });

  test("applies a release in any form alike", () => {
    const bench = new WorkerBench("2026.8");
    const keys = ["a", ["b", 1], "c".repeat(40), Buffer.from("d"), "e", "f"];
    bench.tell(0, ...keys.map((key) => computeTask("2026.8", key)));
    const release = (...fields: [string, WireValue][]) =>
      bench.tell(0, WireMap.from(fields)).map((reply) => plain(reply.get("key")));
    expect(release(["op", "free-keys"], ["stimulus_id", "s"], ["keys", ["a", ["b", 1]]])).toEqual([
      "a",
      ["b", 1],
    ]);
    expect(release(["keys", ["c".repeat(40), "a"]], ["op", "free-keys"], ["stimulus_id", "s"])).toEqual([
      "c".repeat(40),
    ]);
    expect(release(["op", "free-keys"], ["keys", [Buffer.from("d")]], ["stimulus_id", "s"])).toEqual([
      "hex:64",
    ]);
    expect(release(["op", "remove-replicas"], ["keys", ["e"]])).toEqual(["e"]);
    expect(bench.context.held.total).toBe(1);
  });

  test("announces what acquire-replicas makes it hold", () => {
    const bench = new WorkerBench("2026.8");
    bench.tell(0, computeTask("2026.8", "a"));
    const who_has = WireMap.of({ a: ["tcp://x"], b: ["tcp://x"], c: ["tcp://x"] });
    const order = WireMap.of({
      op: "acquire-replicas",
      who_has,
      nbytes: WireMap.of({ a: 1, b: 1, c: 1 }),
      stimulus_id: "s",
    });
    expect(bench.tell(0, order).map(plain)).toEqual([{ keys: ["b", "c"], op: "add-keys", stimulus_id: "s" }]);
    expect(bench.tell(0, order)).toEqual([]);
  });

  test("confirms a status that the scheduler sets", () => {
    const bench = new WorkerBench("2026.8");
    const order = { op: "worker-status-change", status: "closing_gracefully", stimulus_id: "retire-1" };
    expect(bench.tell(0, WireMap.of(order)).map(plain)).toEqual([order]);
    expect(bench.workers[0]!.status).toBe("closing_gracefully");
  });

  test("asks to be closed when the scheduler says so, and takes nothing after that", () => {
    const bench = new WorkerBench("2026.8");
    bench.tell(0, WireMap.of({ op: "close", reason: "retired" }), WireMap.of({ op: "close-stream" }));
    expect(bench.close_reasons).toEqual(["retired", "close-stream"]);
    bench.tell(0, computeTask("2026.8", "a"));
    bench.workers[0]!.close();
    expect(bench.context.held.total).toBe(0);
    expect(bench.tell(0, computeTask("2026.8", "b"))).toEqual([]);
  });

  test("counts an operation that it does not know, and logs it once", () => {
    const bench = new WorkerBench("2026.8");
    const order = WireMap.of({ op: "make-coffee" });
    expect(
      bench.tell(0, order, order, WireMap.of({ op: "remove-worker", worker: "x", stimulus_id: "s" })),
    ).toEqual([]);
    expect([...bench.context.meter.unknown_ops]).toEqual([["make-coffee", 2]]);
    expect(bench.log).toHaveLength(1);
  });

  test.each([
    ["a message without an operation", [WireMap.of({ key: 1 })]],
    ["a number", [5]],
    ["free-keys without keys", [WireMap.of({ op: "free-keys" })]],
    ["acquire-replicas without who_has", [WireMap.of({ op: "acquire-replicas" })]],
  ])("takes %s for the peer's fault", (_, messages) => {
    expect(() => new WorkerBench("2026.8").tell(0, ...messages)).toThrow(
      expect.objectContaining({ name: "ProtocolError" }),
    );
  });

  test("writes the reports of a turn as one batch, those of two workers apart", () => {
    const bench = new WorkerBench("2026.8", { workers: 2 });
    for (const [worker, key] of [
      [0, "a"],
      [1, "b"],
      [1, "c"],
    ] as const) {
      bench.workers[worker]!.receive(framed([computeTask("2026.8", key)]));
    }
    bench.endTurn();
    expect(bench.written.map(({ worker, messages }) => [worker, messages.length])).toEqual([
      [0, 1],
      [1, 2],
    ]);
  });

  test("writes each report by itself if told so", () => {
    const bench = new WorkerBench("2026.8", { flush: "each" });
    bench.tell(0, computeTask("2026.8", "a", ["x"]), computeTask("2026.8", "b"));
    expect(bench.written.map(({ messages }) => messages.length)).toEqual([1, 1, 1]);
  });

  test("batches thousands of reports of long keys", () => {
    const bench = new WorkerBench("2026.8");
    const keys = Array.from({ length: 70_000 }, (_, i) => `${"k".repeat(i % 300)}-${i}`);
    const reports = bench.tell(0, ...keys.map((key) => computeTask("2026.8", key)));
    expect(reports.map((report) => report.get("key"))).toEqual(keys);
    expect(bench.written).toHaveLength(1);
    expect(bench.context.meter.tasks_finished).toBe(70_000);
  });

  test("stamps the n-th task of its stream when it came and when its report left", () => {
    const stamps = new StampLog(2);
    const bench = new WorkerBench("2026.8", { workers: 2, stamps });
    bench.workers[1]!.receive(framed([computeTask("2026.8", "a"), computeTask("2026.8", "b")]));
    bench.clock.now_ns = 6e9;
    bench.endTurn();
    bench.tell(1, ...Array.from({ length: 100 }, (_, i) => computeTask("2026.8", `c${i}`)));
    const [idle, busy] = stamps.take();
    expect(idle).toEqual({ first: 0, pairs: new Float64Array() });
    expect(busy!.pairs).toHaveLength(204);
    expect([busy!.first, ...busy!.pairs.slice(0, 5)]).toEqual([0, 5e9, 6e9, 5e9, 6e9, 6e9]);
    // Taken in the middle: what was received before is no longer anyone's.
    bench.workers[1]!.receive(framed([computeTask("2026.8", "d")]));
    stamps.take();
    bench.clock.now_ns = 7e9;
    bench.endTurn();
    bench.tell(1, computeTask("2026.8", "e"));
    expect(stamps.take()[1]).toEqual({ first: 103, pairs: Float64Array.of(7e9, 7e9) });
  });
});
