import { describe, expect, test } from "vitest";
import { stateOf } from "../../../simulator/checkers/outcome-model.ts";
import { FaultWorld } from "../../../simulator/faults/fault-world.ts";
import { type PlannedTask, planWorld } from "../../../simulator/faults/plan.ts";
import type { Release } from "../../../simulator/fleet/release.ts";
import { validate } from "../../../src/core/validate.ts";
import { WireMap, type WireValue } from "../../../src/protocol/values.ts";

const MS = 1e6;
const DONE = {
  fate: "done",
  failures: 0,
  duration_ns: MS,
  nbytes: 8,
  annotations: null,
  actor: false,
} as const;

/** A world of one worker and one client in which nothing happens by itself. */
async function quietWorld(
  tasks: Readonly<Record<string, readonly string[]>>,
  witness: string[] = [],
  release: Release = "2026.8",
): Promise<FaultWorld> {
  const planned = Object.entries(tasks).map(([key, inputs]): PlannedTask => ({ ...DONE, key, inputs }));
  const quiet = { late_in: 0, latency_ns: MS, turn_delay_ns: 0, buffer_bytes: 1 << 20, strangers: false };
  const plan = {
    ...planWorld(1),
    ...quiet,
    tasks: planned,
    steps: [],
    workers: 1,
    clients: 1,
    release,
  };
  const world = new FaultWorld({ ...plan, scheduler: "workstealing", worker_ttl_ms: 300_000 }, (line) =>
    witness.push(line),
  );
  await world.start();
  world.settle();
  await pass(world, 100);
  return world;
}

/** Lets so many milliseconds pass. */
function pass(world: FaultWorld, ms: number): Promise<void> {
  return world.runUntil(world.machine.now_ns + ms * MS);
}

/** What the client was sent of the key, in order. */
function toldOf(key: string, witness: readonly string[]): string[] {
  const words = witness.filter((line) => line.includes("-> client ")).flatMap((line) => line.split(/: |; /));
  return words
    .filter((word) => word.endsWith(` key=${key} `) || word.endsWith(` key=${key}`))
    .map((word) => word.split(" ")[0]!);
}

describe("a scatter", () => {
  test("whose client leaves before it is done leaves nothing behind", async () => {
    const world = await quietWorld({});
    const [host] = world.living();
    host?.hang(true);
    world.clients[0]?.scatter(new Map([["s0", 1]]));
    await pass(world, 50);
    world.clients[0]?.close();
    await pass(world, 50);
    host?.hang(false);
    await pass(world, 500);
    expect(stateOf("s0", world.server.scheduler.books)).toBe("forgotten");
    expect([...(host?.worker.data.keys() ?? [])]).toEqual([]);
  });

  test("whose worker reports the data before it answers keeps it", async () => {
    const witness: string[] = [];
    const world = await quietWorld({}, witness);
    const [host] = world.living();
    // The report is on the stream at once; the reply is late, as it is behind other replies.
    host?.delayReplies(40 * MS);
    world.clients[0]?.scatter(new Map([["s0", world.model.result("s0")]]));
    await pass(world, 500);
    expect(stateOf("s0", world.server.scheduler.books)).toBe("memory");
    expect(host?.worker.data.has("s0")).toBe(true);
    expect(toldOf("s0", witness)).toEqual(["key-in-memory"]);
  });

  test("that fails takes back what some workers got", async () => {
    const world = await quietWorld({});
    const [first] = world.living();
    const second = world.joinAs({ address: "tcp://10.0.0.9:9", name: "second", threads: 1, resources: {} });
    await pass(world, 100);
    second.hang(true);
    world.clients[0]?.scatter(
      new Map([
        ["s0", 1],
        ["s1", 2],
      ]),
    );
    await pass(world, 50);
    second.kill();
    await pass(world, 500);
    expect([...(first?.worker.data.keys() ?? [])]).toEqual([]);
  });
});

describe("copies", () => {
  test("that arrive after their key was given up are dropped again, also where workers do not report them", async () => {
    const world = await quietWorld({ a: [] }, [], "2022.12");
    const [client] = world.clients;
    const second = world.joinAs({ address: "tcp://10.0.0.9:9", name: "second", threads: 1, resources: {} });
    await pass(world, 100);
    client?.submit(world.plan.tasks, ["a"], 0);
    await pass(world, 200);
    const holder = world.living().find((host) => host.worker.data.has("a"));
    const other = holder === second ? world.living()[0] : second;
    other?.delayReplies(100 * MS);
    world.request(
      "replicate",
      WireMap.of({ op: "replicate", keys: ["a"], n: 2, workers: null }),
      () => undefined,
    );
    await pass(world, 30);
    client?.release(["a"]);
    await pass(world, 2_000);
    expect(world.living().map((host) => [...host.worker.data.keys()])).toEqual([[], []]);
  });
});

test("a copy that a worker has reported and dropped again is not booked by its late answer", async () => {
  const world = await quietWorld({ a: [] });
  const second = world.joinAs({ address: "tcp://10.0.0.9:9", name: "second", threads: 1, resources: {} });
  await pass(world, 100);
  world.clients[0]?.submit(world.plan.tasks, ["a"], 0);
  await pass(world, 200);
  for (const host of world.living()) host.delayReplies(5_000 * MS);
  const request = WireMap.of({ op: "replicate", keys: ["a"], n: 2, workers: null });
  world.request("replicate", request, () => undefined);
  // Meanwhile the memory manager finds one copy too many.
  await pass(world, 8_000);
  const { cluster } = world.server;
  for (const host of [...world.living(), second]) {
    const peer = cluster.workers.get(host.facts.address)!;
    expect(cluster.hasWhat(peer).length, host.facts.name).toBe(host.worker.data.size);
  }
});

test("a client that gives a key up and wants it again in one message is not told of the result that is gone", async () => {
  const witness: string[] = [];
  const world = await quietWorld({ a: [] }, witness);
  const client = world.clients[0]!;
  client.submit(world.plan.tasks, ["a"], 0);
  await pass(world, 200);
  witness.length = 0;
  const keys: WireValue[] = ["a"];
  const releases = WireMap.of({ op: "client-releases-keys", keys, client: client.name });
  const messages = client.graphMessage(world.plan.tasks, ["a"], 0);
  client.stream.send([messages, releases, messages]);
  await pass(world, 1_000);
  expect(toldOf("a", witness)).toEqual(["key-in-memory"]);
  expect(stateOf("a", world.server.scheduler.books)).toBe("memory");
  validate(world.server.scheduler);
});

test("a worker that twice cannot be retired goes on, though it answers late", async () => {
  const world = await quietWorld({ a: [] });
  const [host] = world.living();
  world.clients[0]?.submit(world.plan.tasks, ["a"], 0);
  await pass(world, 200);
  host?.stall(world.machine.now_ns + 500 * MS);
  const retire = (): void => {
    const workers = [host!.facts.address];
    world.request("retire", WireMap.of({ op: "retire_workers", workers }), () => undefined);
  };
  retire();
  await pass(world, 100);
  retire();
  await pass(world, 2_000);
  expect(host?.worker.status).toBe("running");
  expect(world.server.cluster.workers.get(host!.facts.address)?.status).toBe("running");
});
