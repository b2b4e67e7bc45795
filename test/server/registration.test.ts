import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WireFloat, WireMap } from "../../src/protocol/values.ts";
import { checkWorkerTtl } from "../../src/server/rpc/restart.ts";
import { nextValue, plain, registration, until, versionsOf, World } from "./support/world.ts";

let world: World;

beforeEach(async () => {
  world = await World.start();
});

afterEach(() => world.stop());

describe("register-worker", () => {
  test("answers with the plugins, the interval and no warning, and makes the connection a stream", async () => {
    const worker = await world.worker();
    const reply = worker.reply as WireMap;
    expect(reply.keys).toEqual([
      "status",
      "time",
      "heartbeat-interval",
      "worker-plugins",
      "warning",
      "error",
    ]);
    expect(reply.get("status")).toBe("OK");
    expect(reply.get("heartbeat-interval")).toBe(0.5);
    const plugins = reply.get("worker-plugins") as WireMap;
    expect(plugins.keys).toEqual(["shuffle"]);
    expect((plugins.get("shuffle") as Uint8Array).byteLength).toBe(76);
    expect(world.cluster.workers.get(worker.address)?.status).toBe("running");
  });

  test.each([
    ["2022.12.1", "2022.12", []],
    ["2024.12.1", "2024.12", ["shuffle"]],
    ["2025.1.0", "2024.12", ["shuffle"]],
    ["2025.5.0", "2026.8", ["shuffle"]],
    ["2026.8.0", "2026.8", ["shuffle"]],
  ])("speaks to a worker of %s as %s", async (version, release, plugins) => {
    const worker = await world.worker({ versions: versionsOf(version) });
    expect(world.cluster.workers.get(worker.address)?.release).toBe(release);
    expect(((worker.reply as WireMap).get("worker-plugins") as WireMap).keys).toEqual(plugins);
  });

  test("knows 2022 by its fields where no version is given", async () => {
    const worker = await world.worker({
      versions: null,
      types: new WireMap(),
      nbytes: new WireMap(),
      keys: [],
    });
    expect(world.cluster.workers.get(worker.address)?.release).toBe("2022.12");
  });

  test("warns of packages that differ from those of other workers", async () => {
    const versions = (numpy: string | null): WireMap =>
      WireMap.of({ packages: WireMap.of({ python: "3.11.7.final.0", distributed: "2026.8.0", numpy }) });
    await world.worker({ versions: versions("2.1.0") });
    const same = await world.worker({ versions: versions("2.1.0") });
    expect((same.reply as WireMap).get("warning")).toBe("");
    const other = await world.worker({ versions: versions(null), server_id: "Worker-x" });
    expect((other.reply as WireMap).get("warning")).toBe(
      [
        "Mismatched versions found",
        "",
        "+---------+----------+-----------+-------------------+",
        "| Package | Worker-x | Scheduler | Workers           |",
        "+---------+----------+-----------+-------------------+",
        "| numpy   | None     | UNKNOWN   | {'2.1.0', 'None'} |",
        "+---------+----------+-----------+-------------------+",
      ].join("\n"),
    );
  });

  test("refuses a name that is taken, as Dask says it, and answers further requests", async () => {
    await world.worker({ name: "w" });
    const second = await world.connect();
    second.write(registration("tcp://127.0.0.1:2", { name: "w" }));
    const reply = (await nextValue(second)) as WireMap;
    expect([reply.get("status"), reply.get("message")]).toEqual(["error", "name taken, w"]);
    expect(world.cluster.workers.size).toBe(1);
    second.close();
  });

  test("takes 1 and '1' for two names", async () => {
    await world.worker({ name: 1 });
    await world.worker({ name: "1" });
    expect(world.cluster.workers.size).toBe(2);
  });

  test("refuses an address that is taken", async () => {
    const first = await world.worker();
    const second = await world.connect();
    second.write(registration(first.address, { name: "another" }));
    expect(plain(await nextValue(second))).toMatchObject({
      message: `Worker already exists ${first.address}`,
    });
    second.close();
  });

  test("answers fields that cannot be with an error, and gives out no id for them", async () => {
    const channel = await world.connect();
    channel.write(registration("tcp://127.0.0.1:3", { nthreads: -1, reply: true }));
    expect(plain(await nextValue(channel))).toMatchObject({ status: "uncaught-error" });
    channel.close();
    const worker = await world.worker();
    expect(world.cluster.workers.get(worker.address)?.id).toBe(0);
  });

  test("gives the ids of workers that left to those that come", async () => {
    const workers = [await world.worker(), await world.worker(), await world.worker()];
    await workers[1]?.close();
    await until(() => world.cluster.workers.size === 2);
    const next = await world.worker();
    expect(world.cluster.workers.get(next.address)?.id).toBe(1);
  });
});

describe("a worker that leaves", () => {
  test("is removed when its stream ends, and the others of 2024 and later are told", async () => {
    const first = await world.worker();
    const second = await world.worker();
    const old = await world.worker({ versions: versionsOf("2022.12.1") });
    await first.close();
    await until(() => second.stream.received.length > 0);
    expect(plain(second.stream.received[0])).toMatchObject({ op: "remove-worker", worker: first.address });
    expect(old.stream.received).toEqual([]);
    expect(world.streams.gone).toEqual([first.address]);
    expect(world.warnings).toEqual([]);
  });

  test("may unregister, is told to close, and is then already removed", async () => {
    const worker = await world.worker();
    const fields = { address: worker.address, stimulus_id: "bye" };
    expect(await world.ask("unregister", fields)).toBe("OK");
    expect(await world.ask("unregister", fields)).toBe("already-removed");
    await until(() => worker.stream.received.length > 0);
    expect(plain(worker.stream.received[0])).toEqual({ op: "close", reason: "scheduler-remove-worker" });
  });

  test("is not told to close when it says that it does so itself", async () => {
    const worker = await world.worker();
    await world.ask("unregister", { address: worker.address, stimulus_id: "bye", close: false });
    expect(world.cluster.workers.size).toBe(0);
    await worker.close();
    expect(worker.stream.received).toEqual([]);
  });
});

describe("heartbeat_worker", () => {
  test("is answered with the interval, and its metrics are kept", async () => {
    const worker = await world.worker();
    const metrics = WireMap.of({ cpu: 12.5 });
    const reply = await world.ask("heartbeat_worker", { address: worker.address, metrics, now: 1.5 });
    expect((reply as WireMap).keys).toEqual(["status", "time", "heartbeat-interval"]);
    expect(plain(world.cluster.workers.get(worker.address)?.metrics)).toEqual({ cpu: 12.5 });
  });

  test("of an unknown address is answered with missing", async () => {
    const reply = await world.ask("heartbeat_worker", {
      address: "tcp://127.0.0.1:4",
      metrics: new WireMap(),
    });
    expect(plain(reply)).toEqual({ status: "missing" });
  });

  test("may come from a host by name", async () => {
    const worker = await world.worker();
    const address = worker.address.replace("127.0.0.1", "localhost");
    const reply = await world.ask("heartbeat_worker", { address, metrics: new WireMap() });
    expect(plain(reply)).toMatchObject({ status: "OK" });
  });

  test("that stays away for longer than the ttl costs the worker its place", async () => {
    const silent = await world.worker();
    world.now_offset_ms = 301_000;
    const fresh = await world.worker();
    await checkWorkerTtl(300_000, world.server.context);
    expect([...world.cluster.workers.keys()]).toEqual([fresh.address]);
    await until(() => silent.stream.ops().includes("close"));
  });

  test("that stays away makes its nanny start the worker again", async () => {
    const silent = await world.worker({ nanny: true });
    world.now_offset_ms = 301_000;
    await checkWorkerTtl(300_000, world.server.context);
    expect(silent.asked).toEqual(["kill"]);
  });
});

describe("register-client", () => {
  test("begins the stream with exactly one stream-start", async () => {
    const client = await world.client("Client-1");
    expect(plain(client.first)).toEqual([{ op: "stream-start" }]);
    expect(world.cluster.clients.get("Client-1")?.release).toBe("2026.8");
    client.channel.close();
    await until(() => world.cluster.clients.size === 0);
    expect(world.streams.gone).toEqual(["Client-1"]);
    expect(world.warnings).toEqual([]);
  });

  test("replaces a stream of the same client that is still open", async () => {
    const first = await world.client("Client-1");
    const second = await world.client("Client-1");
    await until(() => first.channel.closed !== null);
    expect(world.cluster.clients.size).toBe(1);
    expect(second.channel.closed).toBeNull();
  });

  test("answers heartbeats of 2026's clients with the interval, those of others not at all", async () => {
    const old = await world.client("Client-1", "2024.12.1");
    const client = await world.client("Client-2");
    old.send("heartbeat-client", { client: "Client-1" });
    client.send("heartbeat-client", { client: "Client-2" });
    await until(() => client.received.length > 0);
    expect(client.received[0]?.get("interval")).toEqual(new WireFloat(5));
    expect(old.received).toEqual([]);
  });

  test("ends the client's wants and its stream on close-client", async () => {
    const client = await world.client("Client-1");
    client.send("close-client", { client: "Client-1" });
    client.send("close-stream");
    await until(() => client.channel.closed !== null);
    expect(world.cluster.clients.size).toBe(0);
    expect(client.ops()).toEqual(["stream-closed"]);
    expect(world.warnings).toEqual([]);
  });

  test("ends the stream on close-stream", async () => {
    const client = await world.client("Client-1");
    client.send("close-stream");
    await until(() => client.channel.closed !== null);
    await until(() => world.cluster.clients.size === 0);
  });
});

describe("register_nanny", () => {
  test("keeps a nanny as starting until it says that its worker runs", async () => {
    const channel = await world.connect();
    channel.write(WireMap.of({ op: "register_nanny", address: "tcp://127.0.0.1:5" }));
    expect(plain(await nextValue(channel))).toEqual({ status: "OK", "nanny-plugins": {} });
    expect(world.server.context.registration.nannies.starting_count).toBe(1);
    const plugin = world.ask("register_nanny_plugin", { plugin: Buffer.from("p"), name: "n" });
    channel.write(WireMap.of({ status: "ok" }));
    expect(plain(await plugin)).toEqual({});
    expect(world.server.context.registration.nannies.starting_count).toBe(0);
    expect(world.warnings).toEqual([]);
    channel.close();
  });

  test("keeps it until it is gone, too", async () => {
    const channel = await world.connect();
    channel.write(WireMap.of({ op: "register_nanny", address: "tcp://127.0.0.1:5" }));
    await nextValue(channel);
    channel.close();
    await until(() => world.server.context.registration.nannies.starting_count === 0);
  });

  test("of 2022 is a plain request", async () => {
    expect(plain(await world.ask("register_nanny"))).toEqual({ status: "OK", "nanny-plugins": {} });
  });
});

describe("streams", () => {
  test("log-event of a worker names it, and reaches subscribers", async () => {
    const worker = await world.worker();
    const client = await world.client("Client-1");
    client.send("subscribe-topic", { topic: "t", client: "Client-1" });
    await until(() => world.streams.messages.some(({ message }) => message.get("op") === "subscribe-topic"));
    worker.stream.send("log-event", { topic: "t", msg: WireMap.of({ a: 1 }) });
    await until(() => client.received.length > 0);
    expect(plain(client.received[0])).toEqual({
      op: "event",
      topic: "t",
      event: [expect.any(Number), { a: 1, worker: worker.address }],
    });
  });

  test("request-refresh-who-has tells holders, and what may be forgotten", async () => {
    const holder = await world.worker();
    await world.ask("scatter", { data: WireMap.of({ x: 1 }), workers: [holder.address], client: "Client-1" });
    const asker = await world.worker();
    asker.stream.send("request-refresh-who-has", { keys: ["x", "y"], stimulus_id: "s" });
    await until(() => asker.stream.received.length === 2);
    expect(asker.stream.received.map(plain)).toEqual([
      { op: "refresh-who-has", who_has: { x: [holder.address] }, stimulus_id: "s" },
      { op: "free-keys", keys: ["y"], stimulus_id: "s" },
    ]);
  });
});
