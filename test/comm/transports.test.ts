import { afterEach, describe, expect, test } from "vitest";
import type { Connection, Listener, Transport } from "../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../src/comm/handshake.ts";
import { MemoryTransport } from "../../src/comm/memory.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { type FramedMessage, frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { Serialized, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { type Phase, SPAN_PHASES } from "../../src/trace/phases.ts";
import { Probe, type Tracer } from "../../src/trace/tracer.ts";
import { contextOf, tlsTransport, wsTransport } from "./support/certificates.ts";

interface Pair {
  readonly near: Connection;
  readonly far: Connection;
  readonly listener: Listener;
}

interface Options {
  readonly pending_bytes_max?: number;
  readonly probe?: Probe;
}

const KINDS = [
  {
    name: "tcp by data events",
    address: "tcp://127.0.0.1:0",
    make: (options: Options): Transport => new TcpTransport({ ...options, shared_read_buffer: false }),
  },
  {
    name: "tcp",
    address: "tcp://127.0.0.1:0",
    make: (options: Options): Transport => new TcpTransport(options),
  },
  {
    name: "tls",
    address: "tls://127.0.0.1:0",
    make: (options: Options): Transport => tlsTransport(contextOf("peer"), options),
  },
  {
    name: "ws",
    address: "ws://127.0.0.1:0",
    make: (options: Options): Transport => wsTransport(null, options),
  },
  {
    name: "wss",
    address: "wss://127.0.0.1:0",
    make: (options: Options): Transport => wsTransport(contextOf("peer"), options),
  },
  {
    name: "memory",
    address: "inproc://",
    make: (options: Options): Transport => new MemoryTransport(options),
  },
];

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0)) await step();
});

function messageOf(value: WireValue): Uint8Array[] {
  return frameMessage(encodeMessage(value));
}

/** Numbers that arrive, in order; resolves when there are `count`. */
function collect(connection: Connection, count: number): Promise<WireValue[]> {
  const values: WireValue[] = [];
  return new Promise((resolve) => {
    connection.onMessage = (message) => {
      values.push(decodeMessage(message));
      if (values.length === count) resolve(values);
    };
  });
}

function closed(connection: Connection): Promise<string> {
  return new Promise((resolve) => {
    connection.onClose = resolve;
  });
}

/** What a thread is at, as a tracer is told. */
class Thread {
  readonly #phases: (Phase | undefined)[] = [];
  readonly tracer: Tracer = {
    now: () => 0,
    begin: (_cause, phase) => this.#phases.push(phase),
    end: () => this.#leave(),
    enter: (phase) => this.#phases.push(phase),
    exit: () => this.#leave(),
    swap: (phase) => this.#leave() + this.#phases.push(phase),
    hop: () => {},
    hops: () => {},
    largeMessage: () => {},
  };

  get depth(): number {
    return this.#phases.length;
  }

  /** The name of the phase that time belongs to. */
  get inside(): string {
    const phase = this.#phases.at(-1);
    return phase === undefined ? "nothing" : SPAN_PHASES[phase]!.name;
  }

  #leave(): number {
    expect(this.depth).toBeGreaterThan(0);
    this.#phases.pop();
    return 0;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe.each(KINDS)("$name", ({ address, make }) => {
  async function open(options: Options = {}, shake = true): Promise<Pair> {
    const transport = make(options);
    let accept: (connection: Connection) => void = () => {};
    const accepted = new Promise<Connection>((resolve) => {
      accept = resolve;
    });
    const listener = await transport.listen(address, (connection) => accept(connection));
    const near = await transport.connect(listener.address);
    const far = await accepted;
    cleanup.push(async () => {
      near.destroy("end of test");
      far.destroy("end of test");
      await listener.close();
    });
    if (shake) await Promise.all([handshakeAsConnector(near), handshakeAsListener(far)]);
    return { near, far, listener };
  }

  test("messages arrive in order, both ways", async () => {
    const { near, far } = await open();
    const there = collect(far, 500);
    const back = collect(near, 500);
    for (let i = 0; i < 500; i++) {
      near.write(messageOf(i));
      far.write(messageOf(-i));
      if (i % 50 === 0) await turn();
    }
    expect(await there).toEqual(Array.from({ length: 500 }, (_, i) => i));
    expect(await back).toEqual(Array.from({ length: 500 }, (_, i) => 0 - i));
  });

  test("ends know each other's address", async () => {
    const { near, far, listener } = await open();
    expect(near.peer).toBe(listener.address);
    expect(far.local).toBe(listener.address);
    expect(far.peer).toBe(near.local);
  });

  test("a large message with payload frames arrives whole", async () => {
    const { near, far } = await open();
    const payload = Buffer.alloc(5_000_000);
    for (let i = 0; i < payload.length; i += 997) payload[i] = i;
    const header = encodeMessage(WireMap.of({ "num-sub-frames": 2 }))[0]!;
    const there = collect(far, 1);
    near.write(messageOf([new Serialized(header, [payload, Buffer.from("tail")]), "x"]));
    const [[serialized, text]] = (await there) as [[Serialized, string]];
    expect(text).toBe("x");
    expect(serialized.frames[0]!.length).toBe(payload.length);
    expect(payload.equals(serialized.frames[0]!)).toBe(true);
    expect(Buffer.from(serialized.frames[1]!).toString()).toBe("tail");
  });

  test("a message that goes in pieces arrives whole, and what was written after it behind it, before the end", async () => {
    const { near, far } = await open();
    const ends: string[] = [];
    far.onClose = (reason) => ends.push(reason);
    // The second chunk is cut in its middle, and one message waits behind the rest of another.
    const large = [Buffer.alloc(5_000_000, 1), Buffer.alloc(20_000_000, 2), Buffer.alloc(7, 3)];
    for (const buffer of large) for (let i = 0; i < buffer.length; i += 9973) buffer[i] = i;
    const there = collect(far, 4);
    near.write(large.flatMap((buffer) => messageOf(buffer)));
    near.write(messageOf("behind"));
    expect(near.pending_bytes).toBeGreaterThan(8_000_000);
    const values = await there;
    expect(large.map((buffer, i) => buffer.equals(values[i] as Uint8Array))).toEqual([true, true, true]);
    expect(values[3]).toBe("behind");
    const last = collect(far, 1);
    near.write(messageOf(large[1]!));
    near.close();
    expect(large[1]!.equals((await last)[0] as Uint8Array)).toBe(true);
    await until(() => ends.length === 1);
    expect(ends).toEqual(["closed by the peer"]);
  });

  test("messages wait until there is an owner", async () => {
    const { near, far } = await open();
    near.write(messageOf(1));
    near.write(messageOf(2));
    await turns(5);
    expect(await collect(far, 2)).toEqual([1, 2]);
  });

  test("no message is handed out from within write, resume or the setting of onMessage", async () => {
    const { near, far } = await open();
    near.write(messageOf(1));
    await turns(5);
    let inside = true;
    const seen: boolean[] = [];
    far.onMessage = () => {
      seen.push(inside);
      far.pause();
    };
    near.write(messageOf(2));
    inside = false;
    await until(() => seen.length === 1);
    await turns(5);
    inside = true;
    far.resume();
    inside = false;
    await until(() => seen.length === 2);
    expect(seen).toEqual([false, false]);
  });

  test("pause() in a handler holds even the messages of the same chunk, resume() hands them out in order", async () => {
    const { near, far } = await open();
    const seen: WireValue[] = [];
    far.onMessage = (message) => {
      seen.push(decodeMessage(message));
      if (seen.length % 2 === 1) far.pause();
    };
    near.write(Array.from({ length: 6 }, (_, i) => messageOf(i)).flat());
    await until(() => seen.length === 1);
    await turns(10);
    expect(seen).toEqual([0]);
    far.resume();
    await until(() => seen.length === 3);
    await turns(10);
    expect(seen).toEqual([0, 1, 2]);
    near.write(messageOf(6));
    far.resume();
    await until(() => seen.length === 5);
    far.resume();
    await until(() => seen.length === 7);
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test("close() ends both sides once, after what was pending", async () => {
    const { near, far } = await open();
    const ends: string[] = [];
    near.onClose = (reason) => ends.push(`near: ${reason}`);
    const there = collect(far, 3);
    far.onClose = (reason) => ends.push(`far: ${reason}`);
    for (let i = 0; i < 3; i++) near.write(messageOf([i, Buffer.alloc(200_000)]));
    near.close();
    near.close();
    expect(ends).toEqual([]);
    near.write(messageOf("too late"));
    expect(await there).toHaveLength(3);
    await until(() => ends.length === 2);
    near.destroy("again");
    await turns(10);
    expect(ends.sort()).toEqual(["far: closed by the peer", "near: closed here"]);
  });

  test("destroy() tells its reason here, later, and hands out nothing more", async () => {
    const { near, far } = await open();
    let count = 0;
    far.onMessage = () => {
      count++;
      far.destroy("enough");
    };
    const ends: string[] = [];
    far.onClose = (reason) => ends.push(reason);
    const near_end = closed(near);
    near.write([messageOf(1), messageOf(2), messageOf(3)].flat());
    await near_end;
    await until(() => ends.length === 1);
    far.destroy("twice");
    await turns(5);
    expect(ends).toEqual(["enough"]);
    expect(count).toBe(1);
  });

  test("messages that wait come before the end that followed them", async () => {
    const { near, far } = await open();
    const story: string[] = [];
    near.write(messageOf("last words"));
    near.close();
    await turns(20);
    far.onClose = () => story.push("closed");
    await turns(20);
    expect(story).toEqual([]);
    far.onMessage = (message) => {
      story.push(String(decodeMessage(message)));
    };
    await until(() => story.length === 2);
    expect(story).toEqual(["last words", "closed"]);
  });

  test("messages that wait are dropped by destroy(), and the end is told then, but not from within", async () => {
    const { near, far } = await open();
    near.write(messageOf("unheard"));
    near.close();
    await turns(20);
    let inside = true;
    const end = new Promise<boolean>((resolve) => {
      far.onClose = () => resolve(inside);
    });
    far.destroy("enough");
    inside = false;
    expect(await end).toBe(false);
  });

  test("a message that waits behind another of its chunk comes before the end, too", async () => {
    const { near, far } = await open();
    const story: string[] = [];
    far.onMessage = (message) => {
      story.push(String(decodeMessage(message)));
      far.pause();
    };
    far.onClose = () => story.push("closed");
    near.write([Buffer.concat([...messageOf("first"), ...messageOf("second")])]);
    near.close();
    await until(() => story.length === 1);
    await turns(20);
    expect(story).toEqual(["first"]);
    far.resume();
    await until(() => story.length === 3);
    expect(story).toEqual(["first", "second", "closed"]);
  });

  test("who closes a connection that its peer has left is told of the end, whatever still waits", async () => {
    const { near, far } = await open();
    let count = 0;
    far.onMessage = () => {
      count++;
      far.pause();
    };
    near.write([Buffer.concat([...messageOf("first"), ...messageOf("unheard")])]);
    const near_end = closed(near);
    near.close();
    await near_end;
    await until(() => count === 1);
    await turns(20);
    const end = closed(far);
    far.close();
    await end;
    expect(count).toBe(1);
  });

  test("an end before there is an owner is told to him", async () => {
    const { near, far } = await open();
    far.destroy("gone");
    await turns(20);
    expect(await closed(near)).not.toBe("");
  });

  test("a message that is not Dask's costs that connection, with a reason", async () => {
    const { near, far } = await open();
    const end = closed(far);
    far.onMessage = (message) => decodeMessage(message);
    near.write(frameMessage([Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff])]));
    expect(await end).toMatch(/^TRUNCATED: /);
  });

  test("a length prefix of 2^62 costs that connection, with a reason", async () => {
    const { near, far } = await open();
    const end = closed(far);
    far.onMessage = () => {};
    const bytes = Buffer.alloc(24);
    bytes.writeBigUInt64LE(1n, 8);
    bytes.writeBigUInt64LE(2n ** 62n, 16);
    if (address.startsWith("ws")) {
      // Frames go out one by one there: a length that is none is found before anything is sent.
      expect(() => near.write([bytes])).toThrow(ProtocolError);
      return;
    }
    near.write([bytes]);
    expect(await end).toMatch(/^MESSAGE_TOO_LARGE: /);
  });

  test("pending_bytes grows while the peer does not read, and onDrain tells that it is 0 again", async () => {
    const { near, far } = await open();
    let drained = 0;
    near.onDrain = () => drained++;
    const chunk = messageOf(Buffer.alloc(1_000_000));
    for (let i = 0; i < 30; i++) near.write(chunk);
    await turns(20);
    expect(near.pending_bytes).toBeGreaterThan(1_000_000);
    expect(drained).toBe(0);
    const there = collect(far, 30);
    await there;
    await until(() => drained > 0);
    expect(near.pending_bytes).toBe(0);
  });

  test("a peer that never reads is destroyed when pending_bytes_max is passed", async () => {
    const { near } = await open({ pending_bytes_max: 4_000_000 });
    const end = closed(near);
    const chunk = messageOf(Buffer.alloc(1_000_000));
    for (let i = 0; i < 100; i++) {
      near.write(chunk);
      await turn();
    }
    expect(await end).toMatch(/^does not read: \d+ bytes/);
    expect(near.pending_bytes).toBe(0);
  });

  test("a handshake that does not come in time ends the connection", async () => {
    const { near, far } = await open({}, false);
    near.onMessage = () => {};
    const shaken = handshakeAsListener(far, { handshake_ms: 30 });
    await expect(shaken).rejects.toThrow("no handshake within 30 ms");
    await expect(shaken).rejects.toBeInstanceOf(ProtocolError);
    expect(await closed(near)).toBe("closed by the peer");
  });

  test("a handshake that is none ends the connection", async () => {
    const { near, far } = await open({}, false);
    near.write(messageOf(WireMap.of({ op: "identity" })));
    await expect(handshakeAsListener(far)).rejects.toThrow("BAD_HANDSHAKE");
  });

  test("what follows the handshake in the same chunk waits for the owner", async () => {
    const { near, far } = await open({}, false);
    const handshake = messageOf(WireMap.of({ compression: null, python: [3, 11, 4], "pickle-protocol": 5 }));
    near.write([...handshake, ...messageOf("first"), ...messageOf("second")]);
    await handshakeAsListener(far);
    await turns(5);
    expect(await collect(far, 2)).toEqual(["first", "second"]);
  });

  test("the tracer knows what each callback of the owner's is called in", async () => {
    const thread = new Thread();
    const calls: string[] = [];
    const transport = make({ probe: new Probe(thread.tracer) });
    const accepted = new Promise<Connection>((resolve) => {
      const onConnection = (connection: Connection): void => {
        calls.push(`accepted in ${thread.inside}`);
        resolve(connection);
      };
      transport.listen(address, onConnection).then(async (listener) => {
        cleanup.push(() => listener.close());
        const near = await transport.connect(listener.address);
        cleanup.push(() => near.destroy("end of test"));
        await handshakeAsConnector(near);
        near.write(messageOf("hello"));
        await turns(20);
        await collect(near, 30);
        near.close();
      });
    });
    const far = await accepted;
    await handshakeAsListener(far);
    const drained = new Promise<void>((resolve) => {
      far.onDrain = () => {
        calls.push(`drained in ${thread.inside}`);
        resolve();
      };
    });
    const end = new Promise<void>((resolve) => {
      far.onClose = () => {
        calls.push(`closed in ${thread.inside}`);
        resolve();
      };
    });
    await new Promise<void>((resolve) => {
      far.onMessage = () => {
        calls.push(`message in ${thread.inside}`);
        resolve();
      };
    });
    const chunk = messageOf(Buffer.alloc(1_000_000));
    for (let i = 0; i < 30; i++) far.write(chunk);
    await Promise.all([drained, end]);
    // How often it drains, and whether once before the message, is the kernel's matter.
    expect([...new Set(calls)].sort()).toEqual([
      "accepted in read",
      "closed in nothing",
      "drained in write",
      "message in read",
    ]);
    await until(() => thread.depth === 0);
  });

  test("a connection that nobody listens for is refused", async () => {
    const { listener, near, far } = await open();
    await listener.close();
    await expect(make({}).connect(listener.address)).rejects.toThrow();
    const there = collect(far, 1);
    near.write(messageOf("still here"));
    expect(await there).toEqual(["still here"]);
  });

  test("an address is taken once", async () => {
    const transport = make({});
    const first = await transport.listen(address, () => {});
    cleanup.push(() => first.close());
    await expect(transport.listen(first.address, () => {})).rejects.toThrow(/in use|EADDRINUSE/);
  });

  test("a bad address is refused", async () => {
    await expect(make({}).listen("ucx://127.0.0.1:1", () => {})).rejects.toThrow("address");
    await expect(make({}).connect("smoke signals")).rejects.toThrow("address");
  });

  test("transient messages are copied by what keeps them", async () => {
    const { near, far } = await open();
    const kept: FramedMessage[] = [];
    far.onMessage = (message) => kept.push(message.own());
    for (let i = 0; i < 20; i++) {
      near.write(messageOf(Buffer.alloc(100, i)));
      await turn();
    }
    await until(() => kept.length === 20);
    kept.forEach((message, i) => {
      expect(decodeMessage(message)).toEqual(Buffer.alloc(100, i));
    });
  });
});
