import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodePipeMessage, PipeError, type PipeMessage, PipeReader } from "../../src/unpacker/pipe.ts";

function readAll(stream: Buffer, chunk_bytes: number): PipeMessage[] {
  const messages: PipeMessage[] = [];
  const reader = new PipeReader((message) => messages.push(message));
  for (let start = 0; start < stream.byteLength; start += chunk_bytes)
    reader.push(stream.subarray(start, start + chunk_bytes));
  return messages;
}

describe("the pipe", () => {
  test("gives every message back, however the stream is cut", () => {
    const message = fc.record({
      op: fc.string(),
      sections: fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 4 }),
    });
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 5 }),
        fc.integer({ min: 1, max: 40 }),
        (given, chunk_bytes) => {
          const stream = Buffer.concat(
            given.flatMap(({ op, sections }) => encodePipeMessage({ op }, sections)),
          );
          const got = readAll(stream, chunk_bytes);
          expect(got.map(({ head }) => head.op)).toEqual(given.map(({ op }) => op));
          expect(got.map(({ sections }) => sections.map((section) => [...section]))).toEqual(
            given.map(({ sections }) => sections.map((section) => [...section])),
          );
        },
      ),
    );
  });

  test("refuses lengths that are none before it allocates for them", () => {
    const endless = Buffer.from([0xff, 0xff, 0xff, 0xff]);
    expect(() => readAll(endless, 4)).toThrow(PipeError);
    const [head] = encodePipeMessage({ op: "specs" }, []);
    expect(decode((head as Uint8Array).subarray(4))).toEqual({ op: "specs", sections: [] });
    for (const length of [2 ** 52, -1, 1.5]) {
      const [start] = encodePipeMessage({ op: "x" }, [{ byteLength: length } as Uint8Array]);
      expect(() => readAll(Buffer.from(start as Uint8Array), 1000)).toThrow(PipeError);
    }
  });

  test("refuses what is not msgpack, or no map", () => {
    expect(() => readAll(Buffer.from([1, 0, 0, 0, 0xc1]), 5)).toThrow(PipeError);
    expect(() => readAll(Buffer.from([1, 0, 0, 0, 0x07]), 5)).toThrow(PipeError);
    expect(() => readAll(Buffer.from([0, 0, 0, 0]), 4)).toThrow(PipeError);
  });
});
