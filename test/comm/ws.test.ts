import { request } from "node:http";
import { connect as netConnect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { Connection, Listener } from "../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../src/comm/handshake.ts";
import { frameMessage } from "../../src/protocol/frames.ts";
import { handshake } from "../../src/protocol/handshake.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { isOrdinaryEnd } from "../../src/server/peers/endings.ts";
import { until } from "../server/support/world.ts";
import { contextOf, wsTransport } from "./support/certificates.ts";

const listeners: Listener[] = [];
const connections: Connection[] = [];
const sockets: WebSocket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  for (const connection of connections.splice(0)) connection.destroy("the test is over");
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
});

interface Seen {
  readonly address: string;
  readonly port: number;
  readonly errors: string[];
  /** What was read after the handshake. */
  readonly values: unknown[];
  /** Connections that have shaken hands. */
  readonly ready: Connection[];
  /** How connections ended. */
  readonly ends: string[];
}

async function listen(handshake_ms = 30_000): Promise<Seen> {
  const errors: string[] = [];
  const values: unknown[] = [];
  const ready: Connection[] = [];
  const ends: string[] = [];
  const listener = await wsTransport(null, { errors, handshake_ms }).listen(
    "ws://127.0.0.1:0",
    (connection) => {
      connections.push(connection);
      handshakeAsListener(connection).then(
        (shaken) => {
          shaken.onMessage = (message) => values.push(decodeMessage(message));
          shaken.onClose = (reason) => ends.push(reason);
          ready.push(shaken);
        },
        (error: Error) => ends.push(error.message),
      );
    },
  );
  listeners.push(listener);
  return {
    address: listener.address,
    port: Number(listener.address.split(":")[2]),
    errors,
    values,
    ready,
    ends,
  };
}

async function open(address: string, received: Buffer[] = []): Promise<WebSocket> {
  const socket = new WebSocket(`${address}/`, { perMessageDeflate: false });
  sockets.push(socket);
  socket.on("error", () => undefined);
  socket.on("message", (data: Buffer) => received.push(data));
  await new Promise((resolve) => socket.once("open", resolve));
  return socket;
}

function count(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** A message as distributed.comm.ws sends it. */
function send(socket: WebSocket, value: Parameters<typeof encodeMessage>[0]): void {
  const framed = Buffer.concat(frameMessage(encodeMessage(value)));
  const frames = Number(framed.readBigUInt64LE(8));
  socket.send(count(BigInt(frames)));
  let at = 16 + 8 * frames;
  for (let i = 0; i < frames; i++) {
    const length = Number(framed.readBigUInt64LE(16 + 8 * i));
    socket.send(framed.subarray(at, at + length));
    at += length;
  }
}

describe("ws://", () => {
  test("speaks Dask's form: a count, then each frame by itself", async () => {
    const { address, values } = await listen();
    const received: Buffer[] = [];
    const socket = await open(address, received);
    send(socket, handshake());
    send(socket, "hello");
    await until(() => values.length === 1 && received.length >= 2, "both sides spoke");
    expect(values).toEqual(["hello"]);
    expect(received[0]).toEqual(count(BigInt(received.length - 1)));
  });

  test.each<[string, (socket: WebSocket) => void]>([
    ["text", (socket) => socket.send("hello")],
    ["a count that is none", (socket) => socket.send(Buffer.alloc(7))],
    ["a count that is too large", (socket) => socket.send(count(2n ** 62n))],
    [
      "a first frame that is too large",
      (socket) => socket.send(count(1n), () => socket.send(Buffer.alloc(20_000))),
    ],
    ["a flood before the handshake", (socket) => socket.send(Buffer.alloc(5_000_000))],
  ])("%s costs that connection, with a reason", async (_name, misbehave) => {
    const { address, ends } = await listen();
    const socket = await open(address);
    misbehave(socket);
    await until(() => ends.length === 1, "the end");
    expect(ends[0]).toMatch(/BAD_FRAME|TOO_LARGE|before its handshake/);
    const other = await wsTransport(null).connect(address);
    connections.push(other);
    expect(await handshakeAsConnector(other)).toBe(other);
  });

  test("a peer that leaves is no fault, one that leaves within a message is", async () => {
    const { address, ready, ends } = await listen();
    for (const leave of [
      (socket: WebSocket) => socket.close(),
      (socket: WebSocket) => socket.terminate(),
      (socket: WebSocket) => socket.send(count(2n), () => socket.close()),
    ]) {
      const socket = await open(address);
      const before = ends.length;
      const ready_before = ready.length;
      send(socket, handshake());
      await until(() => ready.length > ready_before, "the handshake");
      leave(socket);
      await until(() => ends.length > before, "the end");
    }
    expect(ends.map(isOrdinaryEnd)).toEqual([true, true, false]);
    expect(ends[2]).toBe("closed by the peer within a message");
  });

  test("who asks for something else than a websocket at / is refused", async () => {
    const { address, port } = await listen();
    const status = await new Promise((resolve) => {
      request({ host: "127.0.0.1", port, path: "/", agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).end();
    });
    expect(status).toBe(426);
    const elsewhere = new WebSocket(`${address}/elsewhere`);
    sockets.push(elsewhere);
    const error = await new Promise<Error>((resolve) => elsewhere.once("error", resolve));
    expect(error.message).toContain("404");
  });

  test("who says nothing, or what is no HTTP, is dropped", async () => {
    const { address, port } = await listen(2_000);
    for (const bytes of ["", "\x00\x01nonsense\r\n\r\n"]) {
      const socket = netConnect(port, "127.0.0.1", () => socket.write(bytes));
      socket.on("error", () => undefined);
      await new Promise((resolve) => socket.once("close", resolve));
    }
    const connection = await wsTransport(null).connect(address);
    connections.push(connection);
    await handshakeAsConnector(connection);
    // A websocket that is quiet for longer than the handshake may take stays.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(connection.pending_bytes).toBe(0);
    const ended = new Promise((resolve) => {
      connection.onClose = resolve;
    });
    expect(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 100, "open"))])).toBe(
      "open",
    );
  });
});

test("wss:// refuses a stranger's certificate, and a plain websocket", async () => {
  const errors: string[] = [];
  const listener = await wsTransport(contextOf("peer"), { errors }).listen(
    "wss://127.0.0.1:0",
    (connection) => {
      connections.push(connection);
    },
  );
  listeners.push(listener);
  await expect(wsTransport(contextOf("stranger")).connect(listener.address)).rejects.toThrow();
  await expect(wsTransport(null).connect(listener.address.replace("wss:", "ws:"))).rejects.toThrow();
  await until(() => errors.length >= 2, "both were noticed");
  expect(errors[0]).toMatch(/^wss:\/\/127\.0\.0\.1:PORT: its certificate is not trusted/);
  const friend = await wsTransport(contextOf("peer")).connect(listener.address);
  connections.push(friend);
  expect(friend.peer).toBe(listener.address);
});
