import { connect as netConnect } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import type { Connection, Listener } from "../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../src/comm/handshake.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import type { TlsContext } from "../../src/comm/tls.ts";
import { frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { WireMap } from "../../src/protocol/values.ts";
import { Channel } from "../../src/server/peers/channel.ts";
import { until } from "../server/support/world.ts";
import { contextOf, pem, tlsTransport } from "./support/certificates.ts";

const listeners: Listener[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  for (const connection of connections.splice(0)) connection.destroy("the test is over");
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
});

/** A listener that echoes, and what it says of failed handshakes. */
async function echo(handshake_ms = 30_000): Promise<{ address: string; errors: string[] }> {
  const errors: string[] = [];
  const settings = { errors, handshake_ms };
  const listener = await tlsTransport(contextOf("peer"), settings).listen(
    "tls://127.0.0.1:0",
    (connection) => {
      connections.push(connection);
      handshakeAsListener(connection).then(
        async (ready) => {
          const channel = new Channel(ready);
          for (let message = await channel.read(); message !== null; message = await channel.read())
            channel.write(decodeMessage(message));
        },
        (error: Error) => errors.push(error.message),
      );
    },
  );
  listeners.push(listener);
  return { address: listener.address, errors };
}

async function ask(address: string, who = contextOf("peer")): Promise<unknown> {
  const connection = await tlsTransport(who).connect(address);
  connections.push(connection);
  const channel = new Channel(await handshakeAsConnector(connection));
  channel.write(WireMap.of({ op: "echo", data: new Uint8Array(3_000_000) }));
  const answer = await channel.read();
  if (answer === null) throw new Error(channel.closed ?? "ended");
  const value = decodeMessage(answer);
  return value instanceof WireMap ? value.get("op") : null;
}

describe("tls://", () => {
  test("carries messages between peers of one authority, whatever their names", async () => {
    const { address, errors } = await echo();
    expect(address).toMatch(/^tls:\/\/127\.0\.0\.1:\d+$/);
    expect(await ask(address)).toBe("echo");
    expect(connections[0]?.peer).toMatch(/^tls:\/\/127\.0\.0\.1:\d+$/);
    expect(errors).toEqual([]);
  });

  test("refuses a stranger's certificate, on either side, and lives on", async () => {
    const { address, errors } = await echo();
    await expect(ask(address, contextOf("stranger"))).rejects.toThrow();
    await until(() => errors.length > 0, "the listener noticed");
    expect(errors).toEqual([expect.stringMatching(/^tls:\/\/127\.0\.0\.1:PORT: .*certificate/)]);

    const trusting: TlsContext = { ...contextOf("peer"), ca: pem("stranger.pem") };
    await expect(ask(address, trusting)).rejects.toThrow(/certificate/);
    expect(await ask(address)).toBe("echo");
  });

  test("refuses who shows none", async () => {
    const { address, errors } = await echo();
    const port = Number(address.split(":")[2]);
    const socket = tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false });
    socket.on("error", () => undefined);
    await new Promise((resolve) => socket.once("close", resolve));
    await until(() => errors.length > 0, "the listener noticed");
    expect(errors).toEqual([expect.stringMatching(/^tls:\/\/127\.0\.0\.1:PORT: .*certificate/)]);
  });

  test("refuses a peer that speaks plain tcp, and one that says nothing", async () => {
    const { address, errors } = await echo();
    const plain = new TcpTransport();
    const connection = await plain.connect(address.replace("tls:", "tcp:"));
    await expect(handshakeAsConnector(connection)).rejects.toThrow();
    await until(() => errors.length > 0, "the listener noticed");
    expect(errors).toEqual([expect.stringMatching(/^tls:\/\/127\.0\.0\.1:PORT: /)]);

    const impatient = await echo(300);
    const silent = netConnect(Number(impatient.address.split(":")[2]), "127.0.0.1");
    silent.on("error", () => undefined);
    await new Promise((resolve) => silent.once("close", resolve));
    expect(impatient.errors).toHaveLength(1);
    expect(await ask(address)).toBe("echo");
  });

  test("at a plain port costs that connection alone", async () => {
    const errors: string[] = [];
    const listener = await new TcpTransport().listen("tcp://127.0.0.1:0", (connection) => {
      handshakeAsListener(connection).catch((error: Error) => errors.push(error.message));
    });
    listeners.push(listener);
    await expect(
      tlsTransport(contextOf("peer")).connect(listener.address.replace("tcp:", "tls:")),
    ).rejects.toThrow();
    await until(() => errors.length > 0, "the listener noticed");
    expect(errors[0]).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+: /);
  });

  test("is bounded before the handshake as tcp is", async () => {
    const { address, errors } = await echo();
    const connection = await tlsTransport(contextOf("peer")).connect(address);
    const ended = new Promise<string>((resolve) => {
      connection.onClose = resolve;
    });
    connection.onMessage = () => undefined;
    connection.write(frameMessage(encodeMessage("x".repeat(100_000))));
    await ended;
    expect(errors).toEqual([expect.stringMatching(/TOO_LARGE|BAD_HANDSHAKE|bytes/)]);
  });

  test("does not connect to addresses of other protocols", async () => {
    await expect(tlsTransport(contextOf("peer")).connect("tcp://127.0.0.1:1")).rejects.toThrow(
      "not a tls address",
    );
  });
});
