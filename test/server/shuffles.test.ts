import { decode } from "@msgpack/msgpack";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { WorkerBook } from "../../src/core/worker-book.ts";
import { keyBytes } from "../../src/protocol/keys.ts";
import { WireMap } from "../../src/protocol/values.ts";
import { CoreCluster } from "../../src/server/core-cluster.ts";
import { TurnLoop } from "../../src/server/loop.ts";
import type { WorkerPeer } from "../../src/server/peers/cluster.ts";
import { ServerLog } from "../../src/server/peers/log.ts";
import { Request } from "../../src/server/rpc/request.ts";
import { type ShuffleRun, Shuffles } from "../../src/server/shuffle/shuffles.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { specFrames, UnpackError } from "../../src/unpacker/graph.ts";
import { UnpackerPool } from "../../src/unpacker/unpacker.ts";
import { makeCases, pythonOf, RELEASES, unpack } from "../unpacker/support/cases.ts";
import { Rig, TestConnection } from "./stream/rig.ts";
import { until } from "./support/world.ts";

const RELEASE = RELEASES[0];
let pool: UnpackerPool;
/** The frames of a real barrier task of a shuffle to four partitions. */
let barrier_frames: Uint8Array[];

beforeAll(async () => {
  pool = new UnpackerPool({ python: pythonOf(RELEASE), size_max: 1, preload: [] });
  const { structure, chunks } = await unpack(pool, makeCases(RELEASE).get("shuffle")!);
  const barrier = structure.barriers[0]!;
  const chunk = chunks.find(({ first, count }) => first <= barrier && barrier < first + count)!;
  barrier_frames = specFrames(chunk, barrier - chunk.first);
});

afterAll(() => pool.close());

/** The core with workers, and the shuffles over it; the test says when a turn is. */
class ShuffleRig extends Rig {
  readonly cluster: CoreCluster;
  readonly shuffles: Shuffles;
  readonly events: WireMap[] = [];
  readonly streams = new Map<string, TestConnection>();
  readonly user = this.client().id;

  constructor() {
    super();
    const loop = new TurnLoop({
      scheduler: this.scheduler,
      outbox: this.outbox,
      clock: { now: () => 1 },
      probe: new Probe(),
      onBug: (error) => {
        throw error;
      },
    });
    loop.close();
    const log = new ServerLog("distributed.scheduler", () => undefined);
    this.cluster = new CoreCluster(this.scheduler, this.outbox, loop, log, true);
    const { scheduler, cluster } = this;
    this.shuffles = new Shuffles({ scheduler, cluster, unpacker: () => pool, touch: () => undefined });
    this.shuffles.onEvent = (event) => this.events.push(event);
  }

  join(name: string, nthreads = 8): WorkerPeer {
    const stream = new TestConnection();
    const address = `tcp://${name}:1`;
    const peer: WorkerPeer = {
      kind: "worker",
      id: this.streams.size,
      address,
      name,
      nthreads,
      memory_limit_bytes: 0,
      release: "2026.8",
      server_id: name,
      pid: 1,
      services: null,
      local_directory: "",
      nanny: null,
      extra: new WireMap(),
      versions: null,
      stream,
      status: "running",
      resources: new WireMap(),
      metrics: new WireMap(),
      executing: null,
      last_seen_ms: 0,
      time_delay_s: 0,
    };
    this.streams.set(name, stream);
    this.cluster.workers.set(address, peer);
    this.cluster.addWorker(peer);
    return peer;
  }

  lose(name: string): void {
    const peer = this.cluster.workers.get(`tcp://${name}:1`)!;
    this.shuffles.onWorkerRemoving();
    this.cluster.removeWorker(peer, { expected: false, stimulus_id: "test" });
    this.cluster.workers.delete(peer.address);
    this.shuffles.onWorkerRemoved(peer);
    this.turn();
  }

  book(name: string): WorkerBook {
    return this.cluster.book(this.cluster.workers.get(`tcp://${name}:1`)!);
  }

  /** Two inputs and two outputs of a shuffle; the inputs run when this returns. */
  shuffle(id: string, outputs: readonly string[] = [`${id}-out-0`, `${id}-out-1`]): void {
    const inputs = [`${id}-in-0`, `${id}-in-1`];
    const barrier = `shuffle-barrier-${id}`;
    this.submit(
      this.user,
      [
        ...inputs.map((key) => ({ key })),
        { key: barrier, needs: inputs, frames: barrier_frames },
        ...outputs.map((key) => ({ key, needs: [barrier] })),
      ],
      outputs,
    );
    this.turn();
  }

  /** Asks on account of the first input, for the worker that has it or another. */
  ask(id: string, name = "a", key = `${id}-in-0`): Promise<ShuffleRun> {
    return this.shuffles.joinOrCreate(id, keyBytes(key), `tcp://${name}:1`);
  }

  where(key: string): string | undefined {
    return [...this.cluster.workers.keys()].find((address) =>
      this.cluster
        .processing(this.cluster.workers.get(address)!)
        .some((one) => Buffer.compare(one, keyBytes(key)) === 0),
    );
  }

  finishAt(key: string): void {
    this.finish(this.cluster.book(this.cluster.workers.get(this.where(key)!)!), key);
    this.turn();
  }

  /** `shuffle-fail`s that the worker was sent, by run. */
  failed(name: string): unknown[] {
    const messages = this.streams.get(name)!.messages();
    return messages.filter((m) => m.get("op") === "shuffle-fail").map((m) => m.get("run_id"));
  }
}

let rig: ShuffleRig;

beforeEach(() => {
  rig = new ShuffleRig();
  for (const name of ["a", "b"]) rig.join(name);
});

const pairsOf = (run: ShuffleRun): [number, string][] => decode(run.worker_for) as [number, string][];

describe("a run of a shuffle", () => {
  test("is made once, whoever asks", async () => {
    rig.shuffle("s");
    const runs = await Promise.all([rig.ask("s"), rig.ask("s", "b"), rig.ask("s", "b", "s-in-1")]);
    expect(new Set(runs).size).toBe(1);
    expect(await rig.ask("s")).toBe(runs[0]);
    expect(runs[0]!.run_id).toBe(1);
    expect([...runs[0]!.participants].sort()).toEqual(["tcp://a:1", "tcp://b:1"]);
    expect([...rig.shuffles.participants()].sort()).toEqual(["tcp://a:1", "tcp://b:1"]);
    expect(rig.shuffles.join("s", "tcp://a:1")).toBe(runs[0]);
  });

  test("waits for its barrier's payload", async () => {
    const [header, ...frames] = barrier_frames;
    const all = [header!, ...frames];
    const buffer = Uint8Array.from(Buffer.concat(all));
    const client = rig.user;
    const builder = rig.scheduler.graph({ client, buffer, generation: 1, user_priority: 0 });
    const task = (key: string): number => builder.internKey(keyBytes(key));
    const [input, barrier, output] = ["s-in-0", "shuffle-barrier-s", "s-out-0"].map(task) as [
      number,
      number,
      number,
    ];
    builder.define(input, null, [], 0, 0, 0);
    builder.define(barrier, null, [input], 0, 1, 1);
    builder.define(output, null, [barrier], 0, 1, 2);
    builder.commit([output]);
    const { segments } = rig.scheduler.books.tasks;
    const segment = segments.add(buffer);
    const frame_bytes = all.map((frame) => frame.length);
    const payload = { kind: 1, segment, offset: 0, frame_bytes };
    rig.scheduler.payloadArrived(input, payload);
    rig.turn();
    const asked = rig.ask("s");
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(rig.shuffles.participants().size).toBe(0);
    expect(rig.shuffles.active_count).toBe(0);
    rig.scheduler.payloadArrived(barrier, payload);
    expect((await asked).run_id).toBe(1);
  });

  test("ends with its barrier, and workers are told", async () => {
    rig.shuffle("s");
    const run = await rig.ask("s");
    for (const key of ["s-in-0", "s-in-1", "shuffle-barrier-s"]) rig.finishAt(key);
    const at = rig.where("s-out-0")!;
    const other = at === "tcp://a:1" ? "tcp://b:1" : "tcp://a:1";
    rig.shuffles.restrict("s", run.run_id, keyBytes("s-out-0"), other);
    rig.scheduler.taskRescheduled(rig.cluster.book(rig.cluster.workers.get(at)!), rig.task("s-out-0"));
    rig.turn();
    expect(rig.where("s-out-0")).toBe(other);
    expect(run.over.aborted).toBe(false);
    for (const key of ["s-out-0", "s-out-1"]) rig.finishAt(key);
    expect(run.over.aborted).toBe(true);
    expect([rig.failed("a"), rig.failed("b")]).toEqual([[1], [1]]);
    expect(rig.shuffles.active_count).toBe(0);
    expect(rig.scheduler.moves.watches.size).toBe(0);
    expect(rig.scheduler.books.restrictions.size).toBe(0);
    expect(rig.events).toEqual([]);
  });

  test("that loses a worker begins anew without it", async () => {
    rig.shuffle("s");
    const run = await rig.ask("s");
    for (const key of ["s-in-0", "s-in-1"]) rig.finishAt(key);
    rig.lose("b");
    expect(run.over.aborted).toBe(true);
    expect(rig.failed("a")).toEqual([1]);
    expect(["s-in-0", "s-in-1", "shuffle-barrier-s"].map((key) => rig.stateOf(key))).toEqual([
      "processing",
      "processing",
      "waiting",
    ]);
    const next = await rig.ask("s");
    expect(next.run_id).toBe(2);
    expect([...next.participants]).toEqual(["tcp://a:1"]);
    expect(() => rig.shuffles.restrict("s", 1, keyBytes("s-out-0"), "tcp://a:1")).toThrow(/stale/);
  });

  test("that has failed stays so when a worker is lost", async () => {
    rig.shuffle("s");
    await rig.ask("s");
    const task = rig.task("s-in-0");
    const fault = {
      blame: task,
      exception: null,
      traceback: null,
      exception_text: "",
      traceback_text: "",
      worker: "",
    };
    rig.scheduler.taskFailed(task, fault);
    expect(rig.events.map((event) => event.get("action"))).toEqual(["p2p-failed"]);
    rig.lose("b");
    expect(rig.stateOf("s-out-0")).toBe("erred");
  });

  test("with inputs of other runs begins anew", async () => {
    rig.shuffle("s");
    const run = await rig.ask("s");
    for (const key of ["s-in-0", "s-in-1"]) rig.finishAt(key);
    rig.shuffles.restart(run, "a test");
    rig.turn();
    expect(run.over.aborted).toBe(true);
    expect(rig.stateOf("s-in-0")).toBe("processing");
    expect((await rig.ask("s")).run_id).toBe(2);
  });

  test("shares outputs with another one on the same workers", async () => {
    const outputs = ["out-0", "out-1"];
    rig.submit(
      rig.user,
      [
        ...["l-in-0", "r-in-0"].map((key) => ({ key })),
        { key: "shuffle-barrier-l", needs: ["l-in-0"], frames: barrier_frames },
        { key: "shuffle-barrier-r", needs: ["r-in-0"], frames: barrier_frames },
        ...outputs.map((key) => ({ key, needs: ["shuffle-barrier-l", "shuffle-barrier-r"] })),
      ],
      outputs,
    );
    rig.turn();
    const [left, right] = await Promise.all([rig.ask("l"), rig.ask("r")]);
    expect(pairsOf(left)).toEqual(pairsOf(right));
    rig.finishAt("l-in-0");
    rig.finishAt("r-in-0");
    rig.shuffles.restrict("l", left.run_id, keyBytes("out-0"), "tcp://a:1");
    const restrictions = rig.scheduler.books.restrictions.get(rig.task("out-0"));
    rig.shuffles.restrict("r", right.run_id, keyBytes("out-0"), "tcp://a:1");
    expect(rig.scheduler.books.restrictions.get(rig.task("out-0"))).toBe(restrictions);
  });
});

describe("while a run is being made", () => {
  test("its graph may be cancelled", async () => {
    rig.shuffle("s");
    const asked = rig.ask("s");
    for (const key of ["s-out-0", "s-out-1"]) rig.release(rig.user, key);
    rig.turn();
    await expect(asked).rejects.toThrow("Expected 's-in-0' to be processing, is forgotten.");
    expect(rig.scheduler.moves.watches.size).toBe(0);
  });

  test("a worker of it may be lost", async () => {
    rig.shuffle("s");
    const asked = rig.ask("s");
    await until(() => rig.scheduler.moves.watches.size === 1);
    rig.lose("b");
    const run = await asked;
    expect(run.run_id).toBeGreaterThan(1);
    expect([...run.participants]).toEqual(["tcp://a:1"]);
  });
});

describe("a shuffle of 2022.12", () => {
  const fields = { id: "e", schema: "s", column: "x", npartitions: 2 };
  const get = (name: string): WireMap =>
    rig.shuffles.early.get(new Request("shuffle_get", WireMap.of({ ...fields, worker: `tcp://${name}:1` })));

  // A thread each, so that both have an input.
  beforeEach(() => {
    rig = new ShuffleRig();
    for (const name of ["a", "b"]) rig.join(name, 1);
  });

  /** Both inputs are in, each on a worker of its own, and the barrier runs. */
  function begun(): void {
    rig.shuffle("e", ["('e-out', 0)", "('e-out', 1)"]);
    expect(new Set([rig.where("e-in-0"), rig.where("e-in-1")]).size).toBe(2);
    for (const name of ["a", "b"]) expect(get(name).get("status")).toBe("OK");
    rig.finishAt("e-in-0");
    rig.finishAt("e-in-1");
    expect(rig.stateOf("shuffle-barrier-e")).toBe("processing");
  }

  test.each(["barrier's worker", "other worker"])(
    "that loses the %s fails, and is not begun anew",
    (which) => {
      begun();
      const at_barrier = rig.where("shuffle-barrier-e")!;
      const lost =
        which === "other worker" ? (at_barrier === "tcp://a:1" ? "b" : "a") : at_barrier.slice(6, 7);
      const left = lost === "a" ? "b" : "a";
      rig.lose(lost);
      // What the inputs on the worker that is left gave away is lost with the shuffle: only these would run again.
      expect(get(left).get("status")).toBe("ERROR");
      expect(String(get(left).get("message"))).toContain(`tcp://${lost}:1 left during active shuffle`);
    },
  );

  test("whose outputs went with a worker that had read them all fails, instead of waiting for that worker", () => {
    begun();
    rig.finishAt("shuffle-barrier-e");
    const worker = rig.where("('e-out', 0)")!;
    rig.finishAt("('e-out', 0)");
    rig.shuffles.early.completed("e", worker);
    rig.lose(worker.slice(6, 7));
    const left = worker === "tcp://a:1" ? "b" : "a";
    expect(get(left).get("status")).toBe("ERROR");
    // It runs once what went with the worker has been computed again.
    for (const key of ["e-in-0", "e-in-1", "shuffle-barrier-e", "('e-out', 1)"])
      if (rig.where(key) !== undefined) rig.finishAt(key);
    expect([rig.stateOf("('e-out', 0)"), rig.where("('e-out', 0)")]).toEqual([
      "processing",
      `tcp://${left}:1`,
    ]);
  });
});

describe("who asks wrongly", () => {
  test.each([
    ["a shuffle whose barrier is not known", "other", "s-in-0", "a", /shuffle-barrier-other' does not exist/],
    ["for a task that does not run", "s", "shuffle-barrier-s", "a", /to be processing, is waiting/],
    ["for a task that is not known", "s", "nothing", "a", /to be processing, is forgotten/],
    ["from a worker that is not known", "s", "s-in-0", "z", /unaware of this worker/],
  ])("is told: %s", async (_, id, key, name, text) => {
    rig.shuffle("s");
    await expect(rig.ask(id, name, key)).rejects.toThrow(text);
  });

  test("is told of what Python says: a barrier that is none", async () => {
    rig.submit(rig.user, [{ key: "in" }, { key: "shuffle-barrier-x", needs: ["in"] }], ["shuffle-barrier-x"]);
    rig.turn();
    await expect(rig.ask("x", "a", "in")).rejects.toThrow(UnpackError);
    expect(rig.scheduler.moves.watches.size).toBe(0);
  });

  test("is told that there is no such run, or no such task", async () => {
    expect(() => rig.shuffles.join("s", "tcp://a:1")).toThrow("No active shuffle with id='s' found");
    expect(() => rig.shuffles.active("s")).toThrow("s");
    rig.shuffle("s");
    const { run_id } = await rig.ask("s");
    expect(() => rig.shuffles.restrict("s", run_id, keyBytes("nothing"), "tcp://a:1")).toThrow("'nothing'");
    expect(() => rig.shuffles.restrict("s", run_id + 1, keyBytes("s-out-0"), "tcp://a:1")).toThrow(/invalid/);
  });
});
