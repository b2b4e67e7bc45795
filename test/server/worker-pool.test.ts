import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Connection, Listener } from "../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../src/comm/handshake.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { WireMap } from "../../src/protocol/values.ts";
import { Channel } from "../../src/server/peers/channel.ts";
import { DEFAULT_POOL_LIMITS, type PoolLimits, WorkerPool } from "../../src/server/rpc/worker-pool.ts";
import { until } from "./support/world.ts";

const transport = new TcpTransport();
const ASK = WireMap.of({ op: "echo" });
const listeners: Listener[] = [];
const pools: WorkerPool[] = [];
/** Connections that the listeners got. */
let accepted: Connection[] = [];
/** Requests that wait for their answer, by the tests' leave. */
let waiting: (() => void)[] = [];
let hold = false;

beforeEach(() => {
  accepted = [];
  waiting = [];
  hold = false;
});

afterEach(async () => {
  for (const pool of pools.splice(0)) pool.close();
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  for (const connection of accepted) connection.destroy("test");
});

/** A peer that answers "here" to everything. */
async function peer(): Promise<string> {
  const listener = await transport.listen("tcp://127.0.0.1:0", (connection) => {
    accepted.push(connection);
    void serve(connection);
  });
  listeners.push(listener);
  return listener.address;
}

async function serve(connection: Connection): Promise<void> {
  const channel = new Channel(await handshakeAsListener(connection));
  for (let message = await channel.read(); message !== null; message = await channel.read()) {
    if (hold) await new Promise<void>((resolve) => waiting.push(resolve));
    channel.write("here");
  }
}

function pool(limits: Partial<PoolLimits> = {}): WorkerPool {
  const made = new WorkerPool(transport, handshakeAsConnector, { ...DEFAULT_POOL_LIMITS, ...limits });
  pools.push(made);
  return made;
}

describe("connections", () => {
  test("are used again, and more are made only for requests at the same time", async () => {
    const address = await peer();
    const tried = pool();
    for (let i = 0; i < 3; i++) expect(await tried.request(address, ASK)).toBe("here");
    expect([tried.open_count, accepted.length]).toEqual([1, 1]);
    await Promise.all([
      tried.request(address, ASK),
      tried.request(address, ASK),
      tried.request(address, ASK),
    ]);
    expect([tried.open_count, accepted.length]).toEqual([3, 3]);
  });

  test("stay below the limit: further requests wait, and idle ones to others make room", async () => {
    const [first, second] = [await peer(), await peer()];
    const tried = pool({ connections_max: 2 });
    hold = true;
    const requests = Array.from({ length: 5 }, () => tried.request(first, ASK));
    await until(() => waiting.length === 2);
    expect(tried.open_count).toBe(2);
    hold = false;
    for (const proceed of waiting.splice(0)) proceed();
    expect(await Promise.all(requests)).toEqual(Array(5).fill("here"));
    expect(tried.open_count).toBe(2);
    expect(await tried.request(second, ASK)).toBe("here");
    expect(tried.open_count).toBeLessThanOrEqual(2);
  });

  test("are dropped when the peer closes them, and made anew", async () => {
    const address = await peer();
    const tried = pool();
    await tried.request(address, ASK);
    accepted[0]?.destroy("test");
    await until(() => tried.open_count === 0);
    expect(await tried.request(address, ASK)).toBe("here");
  });

  test("are closed after being idle", async () => {
    const address = await peer();
    const tried = pool({ idle_ms: 20 });
    await tried.request(address, ASK);
    await until(() => tried.open_count === 0);
  });
});

describe("a request fails", () => {
  test("at once when the peer is forgotten", async () => {
    const address = await peer();
    const tried = pool();
    hold = true;
    const request = tried.request(address, ASK);
    await until(() => waiting.length === 1);
    tried.forget(address);
    await expect(request).rejects.toThrow(/the peer was removed/);
    expect(tried.open_count).toBe(0);
  });

  test("after its timeout", async () => {
    const address = await peer();
    hold = true;
    await expect(pool().request(address, ASK, 500)).rejects.toThrow(/no answer within 500 ms/);
  });

  test("when nobody listens for as long as connecting may take, or the request may", async () => {
    const timed_out = /Timed out trying to connect to tcp:\/\/127\.0\.0\.1:1 after 0\.2 s: .*ECONNREFUSED/;
    await expect(pool({ connect_ms: 200 }).request("tcp://127.0.0.1:1", ASK)).rejects.toThrow(timed_out);
    await expect(pool().request("tcp://127.0.0.1:1", ASK, 200)).rejects.toThrow(timed_out);
  });

  test("at once when nobody listens, and the peer is forgotten meanwhile", async () => {
    const tried = pool();
    const request = tried.request("tcp://127.0.0.1:1", ASK);
    tried.forget("tcp://127.0.0.1:1");
    await expect(request).rejects.toThrow(/the peer was removed/);
    expect(tried.open_count).toBe(0);
  });

  test("not, when the peer begins to listen while it is being connected to", async () => {
    const address = await peer();
    await listeners.pop()?.close();
    const request = pool().request(address, ASK);
    const again = transport.listen(address, (connection) => {
      accepted.push(connection);
      void serve(connection);
    });
    listeners.push(await again);
    expect(await request).toBe("here");
  });

  test("when the listener says nothing", async () => {
    const listener = await transport.listen("tcp://127.0.0.1:0", (connection) => accepted.push(connection));
    listeners.push(listener);
    await expect(pool({ connect_ms: 1_000 }).request(listener.address, ASK)).rejects.toThrow(
      /no handshake in time/,
    );
  });

  test("once the pool is closed", async () => {
    const address = await peer();
    const tried = pool();
    tried.close();
    await expect(tried.request(address, ASK)).rejects.toThrow(/the server is closing/);
  });
});
