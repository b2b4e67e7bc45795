import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { keyBytes } from "../../src/protocol/keys.ts";
import { packValue } from "../../src/protocol/msgpack.ts";
import { Serialized, WireEnum, WireFloat, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { pickledException } from "../../src/server/rpc/python-error.ts";
import { keyId } from "../../src/server/rpc/request.ts";
import { plain, request, until, World } from "./support/world.ts";

let world: World;

beforeEach(async () => {
  world = await World.start();
});

afterEach(() => world.stop());

async function scatter(data: WireMap, fields: Record<string, WireValue> = {}): Promise<WireValue> {
  return world.ask("scatter", { data, workers: null, client: "Client-1", ...fields });
}

describe("the loop of requests", () => {
  test("answers many in sequence on one connection, in order", async () => {
    const channel = await world.connect();
    for (let i = 0; i < 3; i++) channel.write(WireMap.of({ op: "echo", data: i }));
    expect(await request(channel, "echo", { data: 3 })).toBe(0);
    expect(plain(await request(channel, "identity"))).toBe(1);
    channel.close();
  });

  test("answers nothing to reply=false, and 'OK' to close", async () => {
    const channel = await world.connect();
    channel.write(WireMap.of({ op: "echo", data: 1, reply: false }));
    expect(await request(channel, "close")).toBe("OK");
    expect(await channel.read()).toBeNull();
  });

  test("ends after a request with close=true", async () => {
    const channel = await world.connect();
    expect(await request(channel, "echo", { data: 1, close: true })).toBe(1);
    expect(await channel.read()).toBeNull();
  });

  test("answers None to an unknown operation, counts it and names it once", async () => {
    expect(await world.ask("no_such_thing")).toBeNull();
    expect(await world.ask("no_such_thing")).toBeNull();
    expect(world.server.context.unknown_ops).toEqual(new Map([["no_such_thing", 2]]));
    expect(world.warnings).toEqual(["No handler no_such_thing found in Scheduler"]);
  });

  test("answers a handler's failure as Python would see it, and goes on", async () => {
    const channel = await world.connect();
    const reply = (await request(channel, "who_has", { keys: 3 })) as WireMap;
    expect(reply.get("status")).toBe("uncaught-error");
    expect(reply.get("exception_text")).toBe("TypeError('who_has: \\'keys\\' must be a list')");
    expect(Buffer.from(reply.get("exception") as Uint8Array).toString("latin1")).toContain(
      "builtins\nTypeError",
    );
    expect(await request(channel, "echo", { data: "on" })).toBe("on");
    channel.close();
  });

  test("builds exceptions that are pickles", () => {
    expect(pickledException("KeyError", "x")).toEqual(
      Buffer.from("80046362756" + "96c74696e730a4b65794572726f720a5801000000788552" + "2e", "hex"),
    );
  });
});

describe("identity", () => {
  test("tells of all workers, none, or the first ones", async () => {
    const worker = await world.worker({ name: 7, extra: WireMap.of({ gpu: "none" }) });
    const all = (await world.ask("identity")) as WireMap;
    expect(all.keys).toEqual([
      "type",
      "id",
      "address",
      "services",
      "started",
      "n_workers",
      "total_threads",
      "total_memory",
      "workers",
    ]);
    expect(plain(all)).toMatchObject({
      address: world.address,
      n_workers: 1,
      total_threads: 2,
      total_memory: 1_073_741_824,
      workers: {
        [worker.address]: { type: "Worker", name: 7, host: "127.0.0.1", status: "running", gpu: "none" },
      },
    });
    expect(plain(await world.ask("identity", { n_workers: 0 }))).toMatchObject({ n_workers: 1, workers: {} });
    await world.worker();
    expect(((await world.ask("identity", { n_workers: 1 })) as WireMap).get("workers")).toHaveProperty(
      "size",
      1,
    );
    expect(((await world.ask("identity", { n_workers: -1 })) as WireMap).get("workers")).toHaveProperty(
      "size",
      2,
    );
  });
});

describe("scatter", () => {
  test("deals out in turns over the sorted workers, and goes on from there", async () => {
    const workers = [await world.worker(), await world.worker(), await world.worker()];
    const sorted = workers.map((worker) => worker.address).sort();
    expect(await scatter(WireMap.of({ a: 1, b: 2 }))).toEqual(["a", "b"]);
    await scatter(WireMap.of({ c: 3, d: 4 }));
    const who_has = plain(await world.ask("who_has", { keys: ["a", "b", "c", "d"] }));
    expect(who_has).toEqual({ a: [sorted[0]], b: [sorted[1]], c: [sorted[2]], d: [sorted[0]] });
    expect(plain(await world.ask("nbytes", { keys: ["a"], summary: false }))).toEqual({ a: 28 });
  });

  test("copies to all with broadcast, to the named ones with workers", async () => {
    const workers = [await world.worker(), await world.worker(), await world.worker()];
    await scatter(WireMap.of({ a: 1 }), { broadcast: true });
    expect(((await world.ask("who_has", { keys: ["a"] })) as WireMap).values[0]).toHaveLength(3);
    await scatter(WireMap.of({ b: 1 }), { workers: [workers[2]?.address ?? ""] });
    expect(plain(await world.ask("who_has", { keys: ["b"] }))).toEqual({ b: [workers[2]?.address] });
  });

  test("waits for a first worker until the timeout", async () => {
    const reply = (await scatter(WireMap.of({ a: 1 }), { timeout: new WireFloat(0) })) as WireMap;
    expect(reply.get("exception_text")).toBe("TimeoutError('No valid workers found')");
    const waiting = scatter(WireMap.of({ a: 1 }), { timeout: 5 });
    await world.worker();
    expect(await waiting).toEqual(["a"]);
  });

  test("tells the client's stream, whose wants keep the keys", async () => {
    const worker = await world.worker();
    const client = await world.client("Client-1");
    await scatter(WireMap.of({ a: 1 }));
    await until(() => client.ops().includes("key-in-memory"));
    client.send("client-releases-keys", { keys: ["a"], client: "Client-1" });
    await until(() => worker.stream.ops().includes("free-keys"));
    expect(world.cluster.tasks.size).toBe(0);
  });
});

describe("gather", () => {
  test("brings values of any key from their holders, byte for byte", async () => {
    await world.worker();
    const second = await world.worker();
    const header = packValue(
      WireMap.of({ serializer: "pickle", "num-sub-frames": 2, compression: ["lz4", null] }),
    );
    const value = new Serialized(header, [Buffer.from("one"), Buffer.alloc(0)]);
    const data = WireMap.from([
      [["x", 0], value],
      [3, "three"],
      [new WireFloat(1), "float"],
    ]);
    await scatter(data);
    const reply = (await world.ask("gather", { keys: [new WireFloat(1), ["x", 0], 3] })) as WireMap;
    expect(reply.get("status")).toBe("OK");
    const got = reply.get("data") as WireMap;
    const at = got.keys.findIndex((key) => Array.isArray(key));
    expect(got.keys).toContainEqual(["x", 0]);
    expect(got.keys).toContainEqual(new WireFloat(1));
    const back = got.values[at] as Serialized;
    expect(Buffer.from(back.header).equals(Buffer.from(header))).toBe(true);
    expect(back.frames.map((frame) => Buffer.from(frame).toString())).toEqual(["one", ""]);
    await until(() => second.confirmed === 1, "the confirmation");
  });

  test("asks a busy worker again", async () => {
    const worker = await world.worker();
    await scatter(WireMap.of({ a: 1 }));
    worker.busy_times = 2;
    expect(plain(await world.ask("gather", { keys: ["a"] }))).toEqual({ status: "OK", data: { a: 1 } });
    expect(worker.asked.filter((op) => op === "get_data")).toHaveLength(3);
    expect(worker.confirmed).toBe(1);
  });

  test("takes another holder when one has lost the key or cannot be reached", async () => {
    const workers = [await world.worker(), await world.worker(), await world.worker()];
    await scatter(WireMap.of({ a: 1 }), { broadcast: true });
    workers[0]?.data.clear();
    await workers[1]?.stopListening();
    for (let i = 0; i < 3; i++) {
      expect(plain(await world.ask("gather", { keys: ["a"] }))).toMatchObject({ status: "OK" });
    }
  });

  test("names the keys that nobody has", async () => {
    const worker = await world.worker();
    await scatter(WireMap.of({ a: 1, b: 2 }));
    worker.data.delete(keyId(keyBytes("b")));
    expect(plain(await world.ask("gather", { keys: ["a", "b", "c"] }))).toEqual({
      status: "error",
      keys: ["c", "b"],
    });
  });
});

describe("replicate", () => {
  test("makes and drops copies", async () => {
    const workers = [await world.worker(), await world.worker(), await world.worker(), await world.worker()];
    await scatter(WireMap.of({ a: 1 }));
    await world.ask("replicate", { keys: ["a"] });
    expect(((await world.ask("who_has", { keys: ["a"] })) as WireMap).values[0]).toHaveLength(4);
    await world.ask("replicate", { keys: ["a"], n: 1 });
    expect(((await world.ask("who_has", { keys: ["a"] })) as WireMap).values[0]).toHaveLength(1);
    await until(
      () => workers.filter((worker) => worker.stream.ops().includes("remove-replicas")).length === 3,
    );
  });

  test("answers what Dask answers for keys without data", async () => {
    await world.worker();
    const reply = (await world.ask("replicate", { keys: ["nowhere"] })) as WireMap;
    expect(reply.get("exception_text")).toBe("KeyError('nowhere')");
  });
});

describe("broadcast", () => {
  test("asks all, some, those on a host, or nannies", async () => {
    const first = await world.worker({ nanny: true });
    const second = await world.worker();
    const msg = WireMap.of({ op: "anything" });
    expect(plain(await world.ask("broadcast", { msg }))).toEqual({
      [first.address]: { status: "OK", op: "anything" },
      [second.address]: { status: "OK", op: "anything" },
    });
    expect(((await world.ask("broadcast", { msg, workers: [second.address] })) as WireMap).keys).toEqual([
      second.address,
    ]);
    expect(((await world.ask("broadcast", { msg, hosts: ["127.0.0.1"] })) as WireMap).size).toBe(2);
    expect(((await world.ask("broadcast", { msg, hosts: ["10.0.0.1"] })) as WireMap).size).toBe(0);
    expect(((await world.ask("broadcast", { msg, nanny: true })) as WireMap).keys).toEqual([first.address]);
  });

  test("handles errors as asked", async () => {
    const worker = await world.worker();
    const msg = WireMap.of({ op: "fails" });
    expect(plain(await world.ask("broadcast", { msg }))).toMatchObject({
      status: "uncaught-error",
      exception_text: "ValueError('no')",
    });
    expect(plain(await world.ask("broadcast", { msg, on_error: "ignore" }))).toEqual({});
    const pickled = (await world.ask("broadcast", { msg, on_error: "return_pickle" })) as WireMap;
    expect(pickled.get(worker.address)).toBeInstanceOf(Uint8Array);
    const returned = (await world.ask("broadcast", { msg, on_error: "return" })) as WireMap;
    expect(returned.get(worker.address)).toHaveProperty("header");
  });

  test("uses one connection again for the next request", async () => {
    const worker = await world.worker();
    for (let i = 0; i < 3; i++) await world.ask("broadcast", { msg: WireMap.of({ op: "x" }) });
    expect(worker.connections.size).toBe(1);
    expect(world.server.context.pool.open_count).toBe(1);
  });

  test("proxy reaches one worker, and tells when it cannot", async () => {
    const worker = await world.worker();
    const msg = WireMap.of({ op: "actor_execute" });
    expect(plain(await world.ask("proxy", { msg, worker: worker.address }))).toMatchObject({ status: "OK" });
    expect(plain(await world.ask("proxy", { msg, worker: "tcp://127.0.0.1:1" }))).toMatchObject({
      status: "uncaught-error",
    });
  });
});

describe("plugins", () => {
  test("go to all workers, and to those that come", async () => {
    const worker = await world.worker();
    const plugin = Buffer.from("pickle");
    const reply = await world.ask("register_worker_plugin", { plugin, name: "mine", idempotent: false });
    expect(plain(reply)).toEqual({ [worker.address]: { status: "OK", op: "plugin-add" } });
    const next = await world.worker();
    expect(((next.reply as WireMap).get("worker-plugins") as WireMap).keys).toEqual(["shuffle", "mine"]);
    const again = await world.ask("register_worker_plugin", { plugin, name: "mine", idempotent: true });
    expect(plain(again)).toEqual({});
    expect(((await world.ask("unregister_worker_plugin", { name: "mine" })) as WireMap).size).toBe(2);
    expect(plain(await world.ask("unregister_worker_plugin", { name: "mine" }))).toMatchObject({
      exception_text: "ValueError('The worker plugin mine does not exist')",
    });
  });
});

describe("metadata", () => {
  test("is a tree of dicts with keys of any kind", async () => {
    await world.ask("set_metadata", { keys: ["a", ["x", 1], 2], value: "deep" });
    expect(await world.ask("get_metadata", { keys: ["a", ["x", 1], 2] })).toBe("deep");
    await world.ask("set_metadata", { keys: ["a", "b"], value: WireMap.of({ c: [10, 20] }) });
    expect(await world.ask("get_metadata", { keys: ["a", "b", "c", 1] })).toBe(20);
    expect(((await world.ask("get_metadata", { keys: ["a"] })) as WireMap).keys).toEqual([["x", 1], "b"]);
    await world.ask("set_metadata", { keys: ["a", "b", "c", "d"], value: 1 });
    expect(plain(await world.ask("get_metadata", { keys: ["a", "b"] }))).toEqual({ c: { d: 1 } });
  });

  test("answers the default, or a KeyError without one in each release's form", async () => {
    expect(await world.ask("get_metadata", { keys: ["z"], default: 5 })).toBe(5);
    expect(await world.ask("get_metadata", { keys: ["z"], default: null })).toBeNull();
    const none = [new WireEnum("no_default", "dask.typing", "_NoDefault"), "__no_default__"];
    for (const fallback of none) {
      const reply = (await world.ask("get_metadata", { keys: ["z"], default: fallback })) as WireMap;
      expect(reply.get("exception_text")).toBe("KeyError('z')");
    }
  });
});

describe("events and logs", () => {
  test("are kept by topic and told to subscribers", async () => {
    await world.ask("log_event", { topic: ["t", "u"], msg: "hello" });
    const events = (await world.ask("events", { topic: "t" })) as WireValue[][];
    expect(events.map((event) => event[1])).toEqual(["hello"]);
    expect(((await world.ask("events")) as WireMap).keys).toEqual(["t", "u"]);
    expect(await world.ask("events", { topic: "none" })).toEqual([]);
  });

  test("get_logs tells the newest first", async () => {
    await world.ask("nothing_of_the_kind");
    await world.worker();
    const logs = (await world.ask("get_logs", { n: 2 })) as WireValue[][];
    expect(logs.map(([level]) => level)).toEqual(["INFO", "WARNING"]);
    expect(logs[1]?.[1]).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - distributed\.scheduler - WARNING - No handler/,
    );
  });
});

describe("published datasets", () => {
  test("have one form for 2022 and 2024", async () => {
    await world.worker();
    await scatter(WireMap.of({ a: 1 }));
    const put = { name: "ds", data: "opaque", keys: ["a"], client: "Client-1" };
    expect(plain(await world.ask("publish_put", put))).toEqual({ status: "OK", name: "ds" });
    expect(plain(await world.ask("publish_put", put))).toMatchObject({
      exception_text: "KeyError('Dataset ds already exists')",
    });
    expect(plain(await world.ask("publish_put", { ...put, override: true }))).toMatchObject({ status: "OK" });
    expect(plain(await world.ask("publish_get", { name: "ds" }))).toEqual({ data: "opaque", keys: ["a"] });
    expect(await world.ask("publish_list")).toEqual(["ds"]);
    await world.ask("publish_delete", { name: "ds" });
    expect(await world.ask("publish_get", { name: "ds" })).toBeNull();
  });

  test("have another for 2026, which waits for the client's stream, and outlive the client", async () => {
    await world.worker();
    const client = await world.client("Client-1");
    await scatter(WireMap.of({ a: 1 }));
    const fields = { client: "Client-1", uid: "u1", override: false };
    const put = world.ask("publish_put", {
      ...fields,
      names: ["ds", ["t", 1]],
      data: ["d1", "d2"],
      keys: [["a"], []],
    });
    await world.ask("echo");
    expect(await world.ask("publish_list")).toEqual([]);
    client.send("publish_flush_batched_send", { uid: "u1" });
    expect(await put).toBeNull();
    expect(plain(await world.ask("publish_get", { names: ["ds", "no"] }))).toEqual([
      { data: "d1", keys: ["a"] },
      null,
    ]);
    client.channel.close();
    await until(() => world.cluster.clients.size === 0);
    expect(world.cluster.tasks.size).toBe(1);
    const wait = world.ask("publish_wait_flush", { uid: "u2" });
    const other = await world.client("Client-2");
    other.send("publish_flush_batched_send", { uid: "u2" });
    expect(await wait).toBeNull();
    other.send("publish_flush_batched_send", { uid: "u3" });
    expect(await world.ask("publish_delete", { names: ["ds"], client: "Client-2", uid: "u3" })).toBeNull();
    expect(world.cluster.tasks.size).toBe(0);
  });
});

describe("restart", () => {
  test("kills by nanny, removes who has none, tells clients, and waits for as many", async () => {
    const client = await world.client("Client-1");
    const nannied = await world.worker({ nanny: true });
    const bare = await world.worker();
    await scatter(WireMap.of({ a: 1 }));
    nannied.onKill = () => {
      nannied.stream.channel.destroy("killed");
      void world.worker().then(() => world.worker());
    };
    expect(await world.ask("restart", { timeout: 5, wait_for_workers: true, stimulus_id: "r" })).toBeNull();
    expect(client.ops()).toContain("restart");
    expect(nannied.asked).toContain("kill");
    expect(world.cluster.tasks.size).toBe(0);
    await until(() => bare.stream.ops().includes("close"));
    expect(world.cluster.workers.size).toBe(2);
  });

  test("raises a TimeoutError when too few come back", async () => {
    await world.worker();
    const reply = (await world.ask("restart", { timeout: new WireFloat(0.1), stimulus_id: "r" })) as WireMap;
    expect(String(reply.get("exception_text"))).toMatch(/^TimeoutError\('Waited for 1 worker/);
  });

  test("of some workers tells what became of each", async () => {
    const first = await world.worker();
    await world.worker();
    const fields = { workers: [first.address], wait_for_workers: false, stimulus_id: "r" };
    expect(plain(await world.ask("restart_workers", fields))).toEqual({ [first.address]: "removed" });
    expect(world.cluster.workers.size).toBe(1);
  });
});

describe("the rest", () => {
  test("subscribe_worker_status follows comings and goings", async () => {
    const channel = await world.connect();
    const { watchers } = world.server.context.registration.workers;
    const watcher_count = watchers.size;
    expect(plain(await request(channel, "subscribe_worker_status"))).toMatchObject({ type: "Scheduler" });
    const worker = await world.worker();
    const { decodeMessage } = await import("../../src/protocol/message.ts");
    const added = await channel.read();
    if (added === null) throw new Error("the feed ended");
    expect(plain(decodeMessage(added))).toMatchObject([
      ["add", { workers: { [worker.address]: { nthreads: 2 } } }],
    ]);
    await worker.close();
    const removed = await channel.read();
    if (removed === null) throw new Error("the feed ended");
    expect(plain(decodeMessage(removed))).toEqual([["remove", worker.address]]);
    channel.close();
    await until(() => watchers.size === watcher_count);
  });

  test("terminate is answered before the end begins", async () => {
    expect(await world.ask("terminate", { reason: "test" })).toBeNull();
    await until(() => world.shutdowns.length === 1);
    expect(world.shutdowns).toEqual(["test"]);
  });

  test("ncores, ncores_running, has_what, processing and get_task_status answer by worker and key", async () => {
    const worker = await world.worker();
    const paused = await world.worker();
    paused.stream.send("worker-status-change", { status: "paused", stimulus_id: "s" });
    await until(() => world.cluster.workers.get(paused.address)?.status === "paused");
    await scatter(WireMap.of({ a: 1 }));
    expect(((await world.ask("ncores")) as WireMap).size).toBe(2);
    expect(plain(await world.ask("ncores", { workers: ["tcp://127.0.0.1:1"] }))).toEqual({});
    expect(plain(await world.ask("ncores_running"))).toEqual({ [worker.address]: 2 });
    expect(plain(await world.ask("has_what", { workers: [worker.address, "tcp://127.0.0.1:1"] }))).toEqual({
      [worker.address]: ["a"],
      "tcp://127.0.0.1:1": [],
    });
    expect(plain(await world.ask("processing"))).toMatchObject({ [worker.address]: [] });
    expect(plain(await world.ask("get_task_status", { keys: ["a", "b"] }))).toEqual({ a: "memory", b: null });
  });

  test("add_keys keeps replicas of what is known and drops the rest", async () => {
    await world.worker();
    const second = await world.worker();
    await scatter(WireMap.of({ a: 1 }));
    expect(await world.ask("add_keys", { worker: second.address, keys: ["a", "b"] })).toBe("OK");
    await until(() => second.stream.received.length > 0);
    expect(plain(second.stream.received[0])).toMatchObject({ op: "remove-replicas", keys: ["b"] });
    expect(await world.ask("add_keys", { worker: "tcp://127.0.0.1:1", keys: [] })).toBe("not found");
  });

  test("update_data takes what a client put into workers itself", async () => {
    const worker = await world.worker();
    const fields = {
      who_has: WireMap.of({ a: [worker.address] }),
      nbytes: WireMap.of({ a: 8 }),
      client: "Client-1",
    };
    expect(await world.ask("update_data", fields)).toBeNull();
    expect(plain(await world.ask("nbytes", { keys: null, summary: true }))).toEqual({ a: 8 });
  });
});
