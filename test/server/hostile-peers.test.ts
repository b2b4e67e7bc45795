import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { frameMessage } from "../../src/protocol/frames.ts";
import { handshake } from "../../src/protocol/handshake.ts";
import { encodeMessage } from "../../src/protocol/message.ts";
import { WireMap, type WireValue } from "../../src/protocol/values.ts";
import { plain, registration, until, World } from "./support/world.ts";

const MIB = 1024 * 1024;
let world: World;
const sockets: Socket[] = [];

beforeEach(async () => {
  world = await World.start({
    handshake_ms: 200,
    first_message_ms: 2_000,
    rpc_stall_ms: 2_000,
    stream_pending_bytes_max: 4 * MIB,
  });
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await world.stop();
});

/** A bare socket, and whether the server has ended it. */
async function knock(): Promise<{ socket: Socket; ended: () => boolean }> {
  const socket = connect(Number(world.address.split(":").at(-1)), "127.0.0.1");
  sockets.push(socket);
  let ended = false;
  socket.on("close", () => {
    ended = true;
  });
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  return { socket, ended: () => ended };
}

function bytes(value: WireValue): Buffer {
  return Buffer.concat(frameMessage(encodeMessage(value)));
}

/** What every hostile peer must leave behind: one line, no connection, and a server that answers others. */
async function expectOnlyThatConnectionIsLost(ended: () => boolean, line: RegExp): Promise<void> {
  await until(ended, "the end of the connection");
  await until(() => world.warnings.length > 0, "a line");
  expect(world.warnings).toHaveLength(1);
  expect(world.warnings[0]).toMatch(line);
  await until(() => world.server.acceptor.open_count === 0);
  expect(plain(await world.ask("echo", { data: "still here" }))).toBe("still here");
}

describe("before the handshake, a peer", () => {
  test("that sends random bytes is dropped", async () => {
    const { socket, ended } = await knock();
    socket.resume();
    socket.write(Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919 + 13) % 251)));
    await expectOnlyThatConnectionIsLost(ended, /^Dropped connection from tcp:\/\/127\.0\.0\.1:\d+: /);
  });

  test("that announces 2^62 bytes is dropped", async () => {
    const { socket, ended } = await knock();
    socket.resume();
    const head = Buffer.alloc(24);
    head.writeBigUInt64LE(2n ** 62n, 0);
    head.writeBigUInt64LE(1n, 8);
    head.writeBigUInt64LE(2n ** 62n, 16);
    socket.write(head);
    await expectOnlyThatConnectionIsLost(ended, /Dropped connection/);
  });

  test("that sends a wrong handshake is dropped", async () => {
    const { socket, ended } = await knock();
    socket.resume();
    socket.write(bytes(WireMap.of({ compression: null })));
    await expectOnlyThatConnectionIsLost(ended, /handshake/);
  });

  test("that never speaks is dropped", async () => {
    const { socket, ended } = await knock();
    socket.resume();
    await expectOnlyThatConnectionIsLost(ended, /no handshake within 200 ms/);
  });

  test.each(["closes", "resets"] as const)(
    "that %s the connection, as a port scan does, costs no line",
    async (how) => {
      const { socket } = await knock();
      await until(() => world.server.acceptor.open_count === 1, "the connection");
      if (how === "closes") socket.end();
      else socket.resetAndDestroy();
      await until(() => world.server.acceptor.open_count === 0, "the end of the connection");
      expect(world.warnings).toEqual([]);
    },
  );
});

describe("after the handshake, a peer", () => {
  async function greeted(): Promise<{ socket: Socket; ended: () => boolean }> {
    const peer = await knock();
    peer.socket.resume();
    peer.socket.write(bytes(handshake()));
    return peer;
  }

  test("that asks for nothing is dropped", async () => {
    const { ended } = await greeted();
    await expectOnlyThatConnectionIsLost(ended, /asked for nothing within 2000 ms/);
  });

  test("that sends random bytes is dropped", async () => {
    const { socket, ended } = await greeted();
    socket.write(Buffer.alloc(64, 0xff));
    await expectOnlyThatConnectionIsLost(ended, /Dropped connection/);
  });

  test.each([
    ["a list", [1, 2]],
    ["a dict without op", WireMap.of({ reply: true })],
    ["an op that is no text", WireMap.of({ op: 1 })],
  ])("that sends %s for a request is dropped", async (_name, value) => {
    const { socket, ended } = await greeted();
    socket.write(bytes(value));
    await expectOnlyThatConnectionIsLost(ended, /a request/);
  });

  test("that sends a msgpack bomb is dropped", async () => {
    const { socket, ended } = await greeted();
    // Arrays of arrays, each announcing 2^32 - 1 items.
    const bomb = Buffer.alloc(5 * 1000);
    for (let i = 0; i < bomb.length; i += 5) bomb.write("ddffffffff", i, "hex");
    socket.write(Buffer.concat(frameMessage([bomb])));
    await expectOnlyThatConnectionIsLost(ended, /Dropped connection/);
  });

  test("that asks without reading its answers costs a bounded amount and is dropped", async () => {
    const { socket, ended } = await greeted();
    socket.pause();
    const ask = bytes(WireMap.of({ op: "echo", data: "x".repeat(256 * 1024), reply: true }));
    let refused = 0;
    for (let i = 0; i < 400; i++) if (!socket.write(ask)) refused++;
    await until(() => world.warnings.length > 0, "a line");
    expect(refused).toBeGreaterThan(0);
    expect(world.warnings[0]).toMatch(/did not read its answers for 2000 ms/);
    socket.resume();
    await expectOnlyThatConnectionIsLost(ended, /did not read/);
  });
});

describe("a registered peer that never reads", () => {
  test("is removed, a worker, once too much waits for it", async () => {
    const { socket, ended } = await knock();
    socket.write(bytes(handshake()));
    socket.write(bytes(registration("tcp://127.0.0.1:1")));
    await until(() => world.cluster.workers.size === 1);
    socket.pause();
    const [peer] = world.cluster.workers.values();
    const load = WireMap.of({ op: "free-keys", keys: ["x".repeat(MIB)], stimulus_id: "s" });
    for (let i = 0; i < 64 && world.cluster.workers.size === 1; i++) {
      if (peer !== undefined) world.cluster.sendToWorker(peer, load);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => world.cluster.workers.size === 0, "the removal");
    socket.resume();
    await expectOnlyThatConnectionIsLost(ended, /Remove worker .* does not read: \d+ bytes/);
    expect(world.streams.gone).toEqual(["tcp://127.0.0.1:1"]);
  });

  test("is removed, a client, once too much waits for it", async () => {
    const { socket, ended } = await knock();
    socket.write(bytes(handshake()));
    socket.write(
      bytes(WireMap.of({ op: "register-client", client: "Client-1", versions: null, reply: false })),
    );
    await until(() => world.cluster.clients.size === 1);
    socket.pause();
    const [peer] = world.cluster.clients.values();
    const load = WireMap.of({ op: "key-in-memory", key: "x".repeat(MIB) });
    for (let i = 0; i < 64 && world.cluster.clients.size === 1; i++) {
      if (peer !== undefined) world.cluster.sendToClient(peer, load);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => world.cluster.clients.size === 0, "the removal");
    socket.resume();
    await expectOnlyThatConnectionIsLost(ended, /Remove client Client-1: .* does not read/);
  });
});

test("a registered worker that sends garbage is removed with one line, and its tasks with it", async () => {
  const worker = await world.worker();
  worker.stream.channel.connection.write([Buffer.alloc(64, 0xff)]);
  await until(() => world.cluster.workers.size === 0);
  expect(world.warnings).toHaveLength(1);
  expect(world.warnings[0]).toMatch(/Remove worker addr: tcp:.* its stream ended, /);
});

test("a connection too many is closed at once, and the others go on", async () => {
  await world.stop();
  world = await World.start({ connections_max: 2 });
  const first = await world.connect();
  const second = await world.connect();
  await expect(world.connect()).rejects.toThrow();
  expect(world.warnings).toHaveLength(1);
  expect(world.warnings[0]).toMatch(/refused: 2 connections are open/);
  first.close();
  await until(() => world.server.acceptor.open_count === 1);
  await world.connect();
  second.close();
});
