import { connect as netConnect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { formatTcpAddress, parseTcpAddress } from "../../src/comm/address.ts";
import type { Connection, Listener } from "../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../src/comm/handshake.ts";
import { type TcpOptions, TcpTransport } from "../../src/comm/tcp.ts";
import { frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import type { WireValue } from "../../src/protocol/values.ts";
import { PHASE, type Phase } from "../../src/trace/phases.ts";
import { Probe, type Tracer } from "../../src/trace/tracer.ts";

const listeners: Listener[] = [];
afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close();
});

/** A listener, and the next connection that it accepts. */
async function listening(
  options: TcpOptions = {},
): Promise<{ port: number; address: string; next: Promise<Connection> }> {
  let accept: (connection: Connection) => void = () => {};
  const next = new Promise<Connection>((resolve) => {
    accept = resolve;
  });
  const listener = await new TcpTransport(options).listen("tcp://127.0.0.1:0", (connection) =>
    accept(connection),
  );
  listeners.push(listener);
  return { port: parseTcpAddress(listener.address).port, address: listener.address, next };
}

describe("a stranger's socket", () => {
  test.each([
    ["text", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["a frame of 2^62 bytes", Buffer.from("0000000000000000010000000000000000000000000000400000", "hex")],
    ["a handshake of 20 kB", Buffer.concat(frameMessage([Buffer.alloc(20_000, 0xc0)]))],
    ["an extension type", Buffer.concat(frameMessage([Buffer.from([0xd4, 1, 1])]))],
  ])("that starts with %s is closed", async (_name, bytes) => {
    const { port, next } = await listening();
    const socket = netConnect(port, "127.0.0.1");
    const ended = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => {});
    socket.resume();
    socket.write(bytes);
    await expect(handshakeAsListener(await next)).rejects.toMatchObject({ code: "BAD_HANDSHAKE" });
    await ended;
  });

  test("that is reset tells so, once", async () => {
    const { port, next } = await listening();
    const socket = netConnect(port, "127.0.0.1");
    const connection = await next;
    const ends: string[] = [];
    connection.onMessage = () => {};
    connection.onClose = (reason) => ends.push(reason);
    socket.resetAndDestroy();
    while (ends.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    connection.destroy("later");
    connection.write([Buffer.from("nobody there")]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(ends).toEqual(["ECONNRESET"]);
  });

  test("that ends within a message is told apart", async () => {
    const { port, next } = await listening();
    const socket = netConnect(port, "127.0.0.1");
    socket.end(Buffer.from("00000000000000000100000000000000", "hex"));
    const connection = await next;
    connection.onMessage = () => {};
    const reason = await new Promise((resolve) => {
      connection.onClose = resolve;
    });
    expect(reason).toBe("closed by the peer within a message");
    socket.destroy();
  });
});

describe("the tracer", () => {
  test("is told of every callback that accepts or reads, and of every write", async () => {
    const calls: string[] = [];
    const nameOf = (phase: Phase | undefined) =>
      Object.keys(PHASE).find((name) => PHASE[name as keyof typeof PHASE] === phase);
    const tracer: Tracer = {
      now: () => 0,
      begin: (cause, phase) => calls.push(`begin ${cause} in ${nameOf(phase)}`),
      end: () => calls.push("end"),
      enter: (phase) => calls.push(`enter ${nameOf(phase)}`),
      exit: () => calls.push("exit"),
      swap: (phase) => calls.push(`swap ${nameOf(phase)}`),
      hop: () => {},
      hops: () => {},
      largeMessage: () => {},
    };
    const { address, next } = await listening({ probe: new Probe(tracer) });
    const near = await new TcpTransport().connect(address);
    const far = await next;
    expect(calls.splice(0)).toEqual(["begin read in read", "end"]);
    await Promise.all([handshakeAsConnector(near), handshakeAsListener(far)]);
    expect(calls).toEqual(["enter write", "exit", "begin read in read", "end"]);
    calls.length = 0;
    const received = new Promise<WireValue>((resolve) => {
      far.onMessage = (message) => {
        calls.push("message");
        resolve(decodeMessage(message));
      };
    });
    near.write(frameMessage(encodeMessage("hello")));
    expect(await received).toBe("hello");
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toEqual(["begin read in read", "message", "end"]);
    near.destroy("done");
    far.destroy("done");
  });
});

describe("addresses", () => {
  test.each([
    ["tcp://127.0.0.1:8786", "127.0.0.1", 8786],
    ["127.0.0.1:8786", "127.0.0.1", 8786],
    ["tcp://:0", "0.0.0.0", 0],
    ["tcp://scheduler", "scheduler", 0],
    ["tcp://[::1]:8786", "::1", 8786],
  ])("%s is read", (address, host, port) => {
    expect(parseTcpAddress(address)).toEqual({ host, port });
  });

  test.each(["tls://h:1", "tcp://h:99999", "tcp://h:1/x", "tcp://h:", "tcp://a:b:1", "two words"])(
    "%s is refused",
    (address) => {
      expect(() => parseTcpAddress(address)).toThrow("not a tcp address");
    },
  );

  test("are written with brackets where the host has colons", () => {
    expect(formatTcpAddress("::1", 1)).toBe("tcp://[::1]:1");
    expect(formatTcpAddress("h", 2)).toBe("tcp://h:2");
  });
});
