import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/protocol/errors.ts";
import {
  FRAME_LIMITS,
  type FramedMessage,
  type FrameLimits,
  FrameReader,
  frameMessage,
  trimMessageBuffers,
} from "../../src/protocol/frames.ts";

type Frames = readonly Uint8Array[];

function stream(messages: readonly Frames[]): Buffer {
  return Buffer.concat(messages.flatMap((frames) => frameMessage(frames)));
}

/** The frames of a message, copied: its bytes may be transient. */
function framesOf(message: FramedMessage): string[] {
  return Array.from({ length: message.frame_count }, (_, i) => message.frame(i).toString("hex"));
}

function hex(messages: readonly Frames[]): string[][] {
  return messages.map((frames) => frames.map((frame) => Buffer.from(frame).toString("hex")));
}

const frame = fc.oneof(
  { arbitrary: fc.uint8Array({ maxLength: 40 }), weight: 8 },
  { arbitrary: fc.nat({ max: 200_000 }).map((size) => Buffer.alloc(size, size)), weight: 1 },
);
const messages = fc.array(fc.array(frame, { minLength: 1, maxLength: 5 }), { maxLength: 8 });

function codeOf(limits: FrameLimits, bytes: Uint8Array): string {
  const reader = new FrameReader(limits, () => {});
  try {
    reader.push(bytes, false);
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return "no error";
}

function prelude(...words: bigint[]): Buffer {
  const bytes = Buffer.alloc(8 * words.length);
  words.forEach((word, i) => {
    bytes.writeBigUInt64LE(word, 8 * i);
  });
  return bytes;
}

describe("FrameReader", () => {
  test("gives the same messages however the stream is cut", () => {
    fc.assert(
      fc.property(
        messages,
        fc.array(fc.nat({ max: 5000 }), { maxLength: 50 }),
        fc.boolean(),
        fc.boolean(),
        fc.infiniteStream(fc.boolean()),
        (sent, cuts, transient, use_room, keeps) => {
          const bytes = stream(sent);
          const received: string[][] = [];
          const kept: FramedMessage[] = [];
          const kept_of: Frames[] = [];
          const reader = new FrameReader(FRAME_LIMITS, (message) => {
            // The memory of those that nobody keeps is used again for those that follow.
            if (keeps.next().value) {
              kept.push(message.own());
              kept_of.push(sent[received.length]!);
            }
            received.push(framesOf(message));
          });
          let at = 0;
          for (let i = 0; at < bytes.length; i++) {
            const size = i < cuts.length ? cuts[i]! : bytes.length;
            const room = use_room ? reader.room() : null;
            if (room !== null) {
              const count = bytes.copy(room, 0, at, at + Math.max(1, size));
              reader.filled(count);
              at += count;
              continue;
            }
            const chunk = Buffer.from(bytes.subarray(at, at + size));
            reader.push(chunk, transient);
            // What is transient must not be looked at later.
            if (transient) chunk.fill(0xee);
            at += size;
          }
          expect(received).toEqual(hex(sent));
          expect(kept.map(framesOf)).toEqual(hex(kept_of));
          expect(reader.pending_bytes).toBe(0);
        },
      ),
    );
  });

  test("gives the same messages byte by byte", () => {
    const sent = [[Buffer.from("one")], [Buffer.alloc(0), Buffer.from("two")], [Buffer.alloc(3000, 7)]];
    const received: string[][] = [];
    const reader = new FrameReader(FRAME_LIMITS, (message) => received.push(framesOf(message)));
    for (const byte of stream(sent)) reader.push(Uint8Array.of(byte), true);
    expect(received).toEqual(hex(sent));
  });

  test("puts a large message together where its bytes are read to", () => {
    const large = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251));
    const bytes = stream([[large], [Buffer.from("next")]]);
    const seen: FramedMessage[] = [];
    const reader = new FrameReader(FRAME_LIMITS, (message) => seen.push(message.own()));
    expect(reader.room()).toBeNull();
    let at = 100_000;
    reader.push(bytes.subarray(0, at), true);
    let rooms = 0;
    for (let room = reader.room(); room !== null; room = reader.room()) {
      const count = bytes.copy(room, 0, at, at + 200_000);
      reader.filled(count);
      at += count;
      rooms++;
    }
    // The last bytes and what follows come as chunks again.
    expect([rooms, bytes.length - at < 200_000, seen.length]).toEqual([14, true, 0]);
    reader.push(bytes.subarray(at), true);
    expect(seen[0]!.frame(0).equals(large)).toBe(true);
    expect(seen[1]!.frame(0).toString()).toBe("next");
  });

  test("hands out views of the chunk for whole messages", () => {
    const chunk = stream([[Buffer.from("a")], [Buffer.from("b")]]);
    const seen: FramedMessage[] = [];
    const owned: FramedMessage[] = [];
    new FrameReader(FRAME_LIMITS, (message) => {
      seen.push(message);
      owned.push(message.own());
    }).push(chunk, true);
    expect(seen.map((message) => message.bytes.buffer === chunk.buffer)).toEqual([true, true]);
    expect(owned.map((message) => message.bytes.buffer === chunk.buffer)).toEqual([false, false]);
  });

  test("gives a large message in pieces away, so that it need not be copied", () => {
    const chunk = stream([[Buffer.alloc(1_000_000, 1)], [Buffer.from("next")]]);
    const seen: FramedMessage[] = [];
    const owned: FramedMessage[] = [];
    const reader = new FrameReader(FRAME_LIMITS, (message) => {
      seen.push(message);
      owned.push(message.own());
    });
    for (let at = 0; at < chunk.length; at += 60_000) reader.push(chunk.subarray(at, at + 60_000), true);
    expect(owned.map((message, i) => message === seen[i])).toEqual([true, false]);
    expect(owned[0]!.frame(0).equals(Buffer.alloc(1_000_000, 1))).toBe(true);
  });

  test("uses the memory of a large message in pieces again once it is given back, and only then", () => {
    const chunk = stream([[Buffer.alloc(5_000_000, 1)]]);
    const kept: FramedMessage[] = [];
    const reader = new FrameReader(FRAME_LIMITS, (message) => kept.push(message.own()));
    const next = (): FramedMessage => {
      for (let at = 0; at < chunk.length; at += 60_000) reader.push(chunk.subarray(at, at + 60_000), true);
      return kept.at(-1)!;
    };
    const first = next();
    const second = next();
    expect(second.bytes === first.bytes).toBe(false);
    first.giveBack();
    first.giveBack();
    const third = next();
    expect(third.bytes === first.bytes).toBe(true);
    expect(next().bytes === first.bytes).toBe(false);
    trimMessageBuffers();
    third.giveBack();
    trimMessageBuffers();
    expect(next().bytes === first.bytes).toBe(false);
  });

  test("never gives away the memory of messages that came whole, which is others' too", () => {
    const chunk = stream([[Buffer.alloc(300_000, 1)], [Buffer.alloc(300_000, 2)]]);
    const kept: FramedMessage[] = [];
    new FrameReader(FRAME_LIMITS, (message) => kept.push(message.own())).push(chunk, false);
    kept[0]!.giveBack();
    const pieces: FramedMessage[] = [];
    const reader = new FrameReader(FRAME_LIMITS, (message) => pieces.push(message.own()));
    const bytes = Buffer.from(chunk);
    for (let at = 0; at < bytes.length; at += 60_000) reader.push(bytes.subarray(at, at + 60_000), true);
    for (const { bytes: theirs } of pieces) expect(theirs.buffer === chunk.buffer).toBe(false);
    expect(kept[1]!.frame(0).equals(Buffer.alloc(300_000, 2))).toBe(true);
  });

  test("stops at pause(), whatever is in the chunk, and goes on at the next push", () => {
    fc.assert(
      fc.property(
        messages,
        fc.array(fc.nat({ max: 200 }), { maxLength: 30 }),
        fc.nat({ max: 3 }),
        (sent, cuts, every) => {
          const bytes = stream(sent);
          const received: string[][] = [];
          const reader = new FrameReader(FRAME_LIMITS, (message) => {
            received.push(framesOf(message));
            if (received.length % (every + 1) === 0) reader.pause();
          });
          let at = 0;
          for (const size of [...cuts, bytes.length]) {
            const before = received.length;
            reader.push(Buffer.from(bytes.subarray(at, at + size)), true);
            expect(received.length - before).toBeLessThanOrEqual(every + 1);
            at += size;
          }
          for (let i = 0; i <= sent.length; i++) {
            reader.resume();
            reader.push(new Uint8Array(0), true);
          }
          expect(received).toEqual(hex(sent));
        },
      ),
    );
  });

  test("hands out nothing after close(), even of the same chunk", () => {
    let count = 0;
    const reader = new FrameReader(FRAME_LIMITS, () => {
      count++;
      reader.close();
    });
    reader.push(stream([[Buffer.from("a")], [Buffer.from("b")]]), false);
    reader.push(stream([[Buffer.from("c")]]), false);
    expect([count, reader.pending_bytes]).toEqual([1, 0]);
  });

  test("does not look at the outer length", () => {
    const bytes = stream([[Buffer.from("a")], [Buffer.from("b")]]);
    bytes.writeBigUInt64LE(2n ** 63n, 0);
    let count = 0;
    new FrameReader(FRAME_LIMITS, () => count++).push(bytes, false);
    expect(count).toBe(2);
  });

  test("checks limits before it allocates", () => {
    const limits = { frame_count_max: 3, message_bytes_max: 1000 };
    expect(codeOf(limits, prelude(0n, 4n))).toBe("TOO_MANY_FRAMES");
    expect(codeOf(limits, prelude(0n, 2n ** 62n))).toBe("TOO_MANY_FRAMES");
    expect(codeOf(limits, prelude(0n, 0n))).toBe("NO_FRAMES");
    expect(codeOf(limits, prelude(0n, 1n, 2n ** 62n))).toBe("MESSAGE_TOO_LARGE");
    expect(codeOf(limits, prelude(0n, 2n, 500n, 500n))).toBe("MESSAGE_TOO_LARGE");
    expect(codeOf(limits, prelude(0n, 3n, 2n ** 63n, 2n ** 63n, 2n ** 63n))).toBe("MESSAGE_TOO_LARGE");
    expect(codeOf(limits, Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))).toBe("TOO_MANY_FRAMES");
    expect(codeOf(limits, prelude(0n, 1n, 900n))).toBe("no error");
  });

  test("allocates by what has arrived, not by what is promised", () => {
    const before_bytes = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 100 }, () => {
      const reader = new FrameReader(FRAME_LIMITS, () => {});
      reader.push(prelude(0n, 1n, 2n ** 30n), true);
      reader.push(Buffer.alloc(1000), true);
      return reader;
    });
    expect(process.memoryUsage().arrayBuffers - before_bytes).toBeLessThan(100 * 20_000);
    expect(readers[0]!.pending_bytes).toBe(1024);
  });

  test("reads a message of very many frames in linear time, however small the pieces", () => {
    const frames = Array.from({ length: 100_000 }, () => Uint8Array.of(1));
    const bytes = stream([frames]);
    let count = 0;
    const reader = new FrameReader(FRAME_LIMITS, (message) => {
      count += message.frame_count;
    });
    reader.push(bytes.subarray(0, 800_016), true);
    const before = process.cpuUsage();
    for (let at = 800_016; at < bytes.length; at += 10) reader.push(bytes.subarray(at, at + 10), true);
    expect(count).toBe(100_000);
    const { user, system } = process.cpuUsage(before);
    expect(user + system).toBeLessThan(2_000_000);
  });
});

describe("frameMessage", () => {
  test("joins small frames and passes large ones on as they are", () => {
    const large = Buffer.alloc(70_000);
    const chunks = frameMessage([Buffer.from("a"), large, Buffer.from("b"), Buffer.from("c"), large]);
    expect(chunks.map((chunk) => chunk.length)).toEqual([8 * 7 + 1, 70_000, 2, 70_000]);
    expect(chunks[1]).toBe(large);
    expect(Buffer.from(chunks[0]!).readBigUInt64LE(0)).toBe(BigInt(8 * 6 + 3 + 140_000));
  });
});
