import { afterEach, describe, expect, test } from "vitest";
import { NO_TRACING } from "../../../simulator/fleet/fleet-context.ts";
import { packGraph } from "../../../simulator/fleet/graph-message.ts";
import { RELEASES, type Release } from "../../../simulator/fleet/release.ts";
import { RpcClient } from "../../../simulator/fleet/rpc-client.ts";
import { FleetSession } from "../../../simulator/fleet/session.ts";
import type { Transport } from "../../../src/comm/connection.ts";
import { handshakeAsConnector } from "../../../src/comm/handshake.ts";
import { MemoryTransport } from "../../../src/comm/memory.ts";
import { TcpTransport } from "../../../src/comm/tcp.ts";
import { frameMessage } from "../../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../../src/protocol/message.ts";
import { type Serialized, WireMap, type WireValue } from "../../../src/protocol/values.ts";
import { mergeGraph } from "./graphs.ts";
import { MiniScheduler } from "./mini-scheduler.ts";
import { computeTask, golden, plain } from "./support.ts";

const REGISTER_GOLDEN: Record<Release, string> = {
  "2022.12": "2022.12.1-register-worker-in-admin-c3s1",
  "2024.12": "2024.12.1-register-worker-in-admin-c2s1",
  "2026.8": "2026.8.0-register-worker-in-admin-c2s1",
};
const HEARTBEAT_GOLDEN: Record<Release, string> = {
  "2022.12": "2022.12.1-heartbeat_worker-in-admin-c20s1",
  "2024.12": "2024.12.1-heartbeat_worker-in-admin-c20s1",
  "2026.8": "2026.8.0-heartbeat_worker-in-admin-c7s1",
};

const closing: (() => Promise<void>)[] = [];
const log: string[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  log.length = 0;
});

async function start(
  release: Release,
  workers: number,
  change: (scheduler: MiniScheduler) => void = () => undefined,
  transport: Transport = new TcpTransport(),
) {
  const scheduler = new MiniScheduler(release);
  change(scheduler);
  const address = await scheduler.listen(
    transport,
    transport instanceof TcpTransport ? "tcp://127.0.0.1:0" : "inproc://",
  );
  closing.push(() => scheduler.close());
  const options = {
    address,
    workers,
    release,
    flush: "turn",
    stamps: false,
    client: true,
    trace: false,
  } as const;
  const session = new FleetSession(options, {
    transport,
    tracing: NO_TRACING,
    recorder: null,
    log: (text) => log.push(text),
  });
  closing.push(() => session.close());
  return { scheduler, session, transport, address };
}

/** Field names, also of the maps within: what a message looks like whatever it holds. */
function shape(value: WireValue | undefined): unknown {
  return value instanceof WireMap
    ? Object.fromEntries(value.keys.map((key, i) => [String(key), shape(value.values[i])]))
    : typeof value === "object"
      ? "object"
      : "scalar";
}

describe.each(RELEASES)("a fleet session of %s", (release) => {
  test("registers as a real worker does", async () => {
    const { scheduler, session } = await start(release, 3);
    const { addresses } = await session.start();
    expect(scheduler.workers.toSorted()).toEqual([...addresses].sort());
    const real = decodeMessage(golden(REGISTER_GOLDEN[release])) as WireMap;
    const ours = scheduler.registrations[0]!;
    expect(ours.keys).toEqual(real.keys);
    expect(Object.keys(shape(ours.get("metrics")) as object)).toEqual(
      Object.keys(shape(real.get("metrics")) as object),
    );
    expect(ours.get("name")).toBe(ours.get("address"));
    const packages = (ours.get("versions") as WireMap).get("packages") as WireMap;
    expect(packages.get("distributed")).toBe(`${release}.${release === "2026.8" ? 0 : 1}`);
    expect(packages.get("numpy")).toBe("1");
    await expect.poll(() => scheduler.stream_ops).toEqual(Array(3).fill("worker-status-change"));
  });

  test("heartbeats at the interval that it is given, with a real worker's fields", async () => {
    const { scheduler, session } = await start(release, 2, (s) => (s.heartbeat_interval_s = 0.02));
    await session.start();
    await expect.poll(() => scheduler.heartbeats.length).toBeGreaterThan(5);
    const real = decodeMessage(golden(HEARTBEAT_GOLDEN[release])) as WireMap;
    expect(scheduler.heartbeats[0]!.keys).toEqual(real.keys);
    expect(new Set(scheduler.heartbeats.map((beat) => beat.get("address"))).size).toBe(2);
  });

  test.each([
    ["TCP", new TcpTransport()],
    ["memory", new MemoryTransport()],
  ])("runs a graph over %s to the end, twice, and holds nothing afterwards", async (_, transport) => {
    const { session, scheduler } = await start(release, 5, undefined, transport);
    await session.start();
    await session.load(packGraph(mergeGraph(100), null));
    for (const suffix of ["-0", "-1"]) {
      await session.prepare(suffix);
      const report = await session.submit();
      expect(report.reported_ns).toBeGreaterThan(report.submitted_ns);
      expect(report.figures.tasks_finished).toBe(101);
      expect(report.figures.keys_added).toBe(80);
      expect(await session.release(10_000)).toEqual({ keys_left: 0 });
    }
    expect(scheduler.graphs).toHaveLength(2);
    expect(log).toEqual([]);
  });
});

describe("a fleet session", () => {
  test("fails to start if the scheduler refuses a worker, and says why", async () => {
    const { session } = await start("2026.8", 2, (s) => (s.refuse = "no room"));
    await expect(session.start()).rejects.toThrow("the scheduler refused the worker: no room");
    await session.fleet.closed;
  });

  test("closes a worker that the scheduler sends a wrong compute-task, as a real worker would", async () => {
    const { session, scheduler } = await start("2026.8", 2);
    const { addresses } = await session.start();
    scheduler.tell(addresses[1]!, computeTask("2024.12", "a"));
    await expect.poll(() => scheduler.workers).toEqual([addresses[0]]);
    expect(log).toEqual([expect.stringContaining("unexpected [duration]")]);
  });

  test("rejects a submission when the scheduler goes away", async () => {
    const { session, scheduler } = await start("2026.8", 1);
    await session.start();
    await session.load(
      packGraph({ ...mergeGraph(1), dependency_offsets: [0, 1, 2], dependency_ids: [1, 0] }, null),
    );
    await session.prepare("-0"); // two tasks that wait for each other: never done
    const submitted = session.submit();
    setTimeout(() => void scheduler.close(), 50);
    await expect(submitted).rejects.toThrow("the scheduler ended the client's stream");
    await session.fleet.closed;
  });

  test("rejects a submission when its last worker is gone, since nobody will finish it", async () => {
    const { session, scheduler } = await start("2026.8", 1);
    const { addresses } = await session.start();
    await session.load(
      packGraph({ ...mergeGraph(1), dependency_offsets: [0, 1, 2], dependency_ids: [1, 0] }, null),
    );
    await session.prepare("-0");
    const submitted = session.submit();
    setTimeout(() => scheduler.tell(addresses[0]!, computeTask("2024.12", "wrong")), 50);
    await expect(submitted).rejects.toThrow("all zero workers are gone");
  });
});

describe("the requests that a zero worker answers", () => {
  async function worker() {
    const started = await start("2026.8", 1);
    const address = (await started.session.start()).addresses[0]!;
    const client = new RpcClient(started.transport, address);
    closing.push(async () => client.close());
    started.scheduler.tell(address, computeTask("2026.8", "a"), computeTask("2026.8", ["b", 1]));
    await expect.poll(() => started.session.fleet.context.held.total).toBe(2);
    const ask = (op: string, fields: Record<string, WireValue> = {}) =>
      client.call(WireMap.of({ op, ...fields, reply: true }));
    return { ...started, address, ask };
  }

  test("get_data gives the pickle of 42 for what it holds, then waits for OK", async () => {
    const { address, transport } = await worker();
    const connection = await handshakeAsConnector(await transport.connect(address));
    closing.push(async () => connection.close());
    const replies: WireMap[] = [];
    connection.onMessage = (message) => replies.push(decodeMessage(message.own()) as WireMap);
    const send = (value: WireValue) => connection.write(frameMessage(encodeMessage(value)));
    const request = WireMap.of({ op: "get_data", keys: ["a", "other", ["b", 1]], who: null, reply: true });
    for (let round = 1; round <= 2; round++) {
      send(request);
      await expect.poll(() => replies.length).toBe(round);
      send("OK");
    }
    const data = replies[1]!.get("data") as WireMap;
    expect(data.keys.map(plain)).toEqual(["a", ["b", 1]]);
    const real = (decodeMessage(golden("2026.8.0-get_data-in-admin-c4s6")) as WireMap).get("data") as WireMap;
    expect(Buffer.from((data.values[0] as Serialized).header)).toEqual(
      Buffer.from((real.values[0] as Serialized).header),
    );
    expect(Buffer.from((data.values[0] as Serialized).frames[0]!).toString("hex")).toBe("80054b2a2e");
    send(request);
    let reason = "";
    connection.onClose = (text) => (reason = text);
    send(WireMap.of({ op: "ping" }));
    await expect.poll(() => reason).not.toBe("");
  });

  test("what a client or dashboard asks", async () => {
    const { ask, address } = await worker();
    expect(plain(await ask("keys"))).toEqual(["a", ["b", 1]]);
    expect(plain(await ask("ping"))).toBe(`hex:${Buffer.from("pong").toString("hex")}`);
    expect(plain(await ask("echo", { data: [1, "x"] }))).toEqual([1, "x"]);
    expect(plain(await ask("identity"))).toMatchObject({
      type: "Worker",
      nthreads: 1,
      zero_worker: "2026.8",
    });
    expect(plain(await ask("call_stack"))).toEqual({});
    expect(plain(await ask("profile"))).toMatchObject({ count: 0, identifier: "root" });
    expect(plain(await ask("get_logs", { n: 1 }))).toEqual([
      ["INFO", expect.stringContaining("registered to")],
    ]);
    expect(plain(await ask("versions"))).toEqual({
      host: {},
      packages: { dask: "2026.8.77", numpy: "1", distributed: "2026.8.0" },
    });
    expect(plain(await ask("dump_state"))).toMatchObject({ status: "running" });
    expect(address).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+$/);
  });

  test("scattered and gathered keys are held, free_keys lets them go", async () => {
    const { ask, session } = await worker();
    expect(plain(await ask("update_data", { data: WireMap.of({ s: 1 }) }))).toEqual({
      nbytes: { s: 20 },
      status: "OK",
    });
    expect(plain(await ask("gather", { who_has: WireMap.of({ g: ["tcp://x"] }) }))).toEqual({ status: "OK" });
    expect(session.fleet.context.held.total).toBe(4);
    await ask("free_keys", { keys: ["s", "g"], stimulus_id: "x" });
    expect(session.fleet.context.held.total).toBe(2);
  });

  test("what needs real work is refused with an error; what no worker knows is answered nil", async () => {
    const { ask } = await worker();
    for (const op of ["run", "actor_execute", "shuffle_receive", "plugin-add", "upload_file"]) {
      const reply = (await ask(op)) as WireMap;
      expect(reply.get("status")).toBe("error");
      expect(reply.get("exception_text")).toContain(`a zero worker cannot do ${op}`);
    }
    expect(await ask("constructor")).toBeNull();
    expect(plain(await ask("update_data"))).toMatchObject({ status: "uncaught-error" });
  });

  test("terminate ends the worker", async () => {
    const { ask, scheduler, session } = await worker();
    expect(await ask("terminate", { reason: "test" })).toBe("OK");
    expect(await session.fleet.closed).toBe("test");
    await expect.poll(() => scheduler.workers).toEqual([]);
  });
});
