import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { FRAME_LIMITS, type FramedMessage, FrameReader, frameMessage } from "../../src/protocol/frames.ts";
import { handshake, parseHandshake } from "../../src/protocol/handshake.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { packValue, unpackValue } from "../../src/protocol/msgpack.ts";
import {
  Pickled,
  Serialized,
  toNumber,
  WireEnum,
  WireFloat,
  WireMap,
  WireSet,
  type WireValue,
} from "../../src/protocol/values.ts";
import { bytes, messageValue } from "./arbitraries.ts";

function withMessage<T>(
  frames: readonly Uint8Array[],
  transient: boolean,
  read: (message: FramedMessage) => T,
): T {
  const chunk = Buffer.concat([Buffer.alloc(5), ...frameMessage(frames)]).subarray(5);
  let result: { value: T } | undefined;
  const reader = new FrameReader(FRAME_LIMITS, (message) => {
    result = { value: read(message) };
  });
  reader.push(chunk, transient);
  if (transient) chunk.fill(0xee);
  if (result === undefined) throw new Error("no message came");
  return result.value;
}

const decoded = (frames: readonly Uint8Array[], transient = false): WireValue =>
  withMessage(frames, transient, (message) => decodeMessage(message));

function codeOf(frames: readonly Uint8Array[]): string {
  try {
    decoded(frames);
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return "no error";
}

const payload = fc
  .record({ kind: fc.boolean(), frames: fc.array(bytes, { maxLength: 3 }), extra: bytes })
  .map(({ kind, frames, extra }) => {
    const header = packValue(WireMap.of({ "pickled-obj": extra, "num-sub-frames": frames.length }));
    return kind ? new Serialized(Buffer.from(header), frames) : new Pickled(Buffer.from(header), frames);
  });

/** Values with payloads at any place: in lists, as keys and as values of maps. */
const message: fc.Arbitrary<WireValue> = fc.letrec<{ value: WireValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    messageValue,
    payload,
    fc.array(tie("value"), { maxLength: 6 }),
    fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 5 }).map((entries) => WireMap.from(entries)),
  ),
})).value;

describe("decodeMessage and encodeMessage", () => {
  test.each([false, true])("give back values with payloads anywhere (transient: %s)", (transient) => {
    fc.assert(
      fc.property(message, (value) => {
        const frames = encodeMessage(value);
        const back = decoded(frames, transient);
        expect(back).toEqual(value);
        expect(encodeMessage(back).map((frame) => Buffer.from(frame).toString("hex"))).toEqual(
          frames.map((frame) => Buffer.from(frame).toString("hex")),
        );
      }),
    );
  });

  test("number payloads in order of traversal, each behind the frames of the one before", () => {
    const header = packValue(WireMap.of({ "num-sub-frames": 2 }));
    const one = new Serialized(header, [Uint8Array.of(1), Uint8Array.of(2)]);
    const frames = encodeMessage([
      one,
      WireMap.of({ a: new Pickled(packValue(WireMap.of({ "num-sub-frames": 0 })), []) }),
    ]);
    expect(frames).toHaveLength(5);
    const placeholders = [
      WireMap.of({ __Serialized__: 1 }),
      WireMap.of({ a: WireMap.of({ __Pickled__: 4 }) }),
    ];
    expect(unpackValue(frames[0]!)).toEqual(placeholders);
  });

  test("keep sets and enums", () => {
    const value = [new WireSet([1, "a"]), new WireEnum("no_default", "distributed.utils", "NoDefault")];
    expect(decoded(encodeMessage(value))).toEqual(value);
  });

  test("leave maps alone that only look like a placeholder", () => {
    for (const value of [
      WireMap.of({ __Serialized__: 0 }),
      WireMap.of({ __Serialized__: true, data: [1, 2] }),
      WireMap.of({ __Serialized__: true }),
      WireMap.of({ __Pickled__: "x" }),
      WireMap.of({ __Set__: true }),
      WireMap.of({ __Set__: true, "as-list": 1 }),
      WireMap.of({ __Enum__: true, name: 1, __module__: "m", __name__: "n" }),
      WireMap.of({ __Other__: 1 }),
    ]) {
      expect(decoded([packValue(value)])).toEqual(value);
    }
  });

  test("refuse references to frames that are not there", () => {
    const header = packValue(WireMap.of({ "num-sub-frames": 1 }));
    const reference = packValue(WireMap.of({ __Serialized__: 1 }));
    expect(codeOf([reference])).toBe("BAD_FRAME_REFERENCE");
    expect(codeOf([reference, header])).toBe("BAD_FRAME_REFERENCE");
    expect(codeOf([reference, header, header])).toBe("no error");
    expect(codeOf([packValue(WireMap.of({ __Pickled__: 2 ** 40 })), header])).toBe("BAD_FRAME_REFERENCE");
  });

  test("refuse one frame named many times, which would cost a view each time", () => {
    const header = packValue(WireMap.of({ "num-sub-frames": 1 }));
    const reference = WireMap.of({ __Serialized__: 1 });
    expect(codeOf([packValue([reference, reference]), header, header])).toBe("BAD_FRAME_REFERENCE");
  });

  test("refuse sub-headers that do not tell their number of frames", () => {
    const reference = packValue(WireMap.of({ __Serialized__: 1 }));
    for (const header of [
      WireMap.of({}),
      WireMap.of({ "num-sub-frames": -1 }),
      WireMap.of({ "num-sub-frames": "1" }),
      7,
    ]) {
      expect(codeOf([reference, packValue(header)])).toBe("BAD_SUB_HEADER");
    }
    expect(codeOf([reference, new Uint8Array(0)])).toBe("BAD_SUB_HEADER");
    expect(codeOf([reference, Uint8Array.of(0x81, 0xa1)])).toBe("TRUNCATED");
  });

  test("make a ProtocolError or a value of any bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 4 }), (frames) => {
        expect(typeof codeOf(frames)).toBe("string");
      }),
      { numRuns: 1000 },
    );
  });
});

describe("the handshake", () => {
  test("is ours as Dask's peers expect it", () => {
    expect(handshake()).toEqual(WireMap.of({ compression: null, python: [3, 11, 0], "pickle-protocol": 5 }));
  });

  test("takes the lower pickle protocol", () => {
    const peer = WireMap.of({ compression: "lz4", python: [3, 8, 1], "pickle-protocol": 4 });
    expect(parseHandshake(peer)).toEqual({ compression: "lz4", python: [3, 8, 1], pickle_protocol: 4 });
    expect(parseHandshake(WireMap.of({ compression: null, "pickle-protocol": 99 }))).toEqual({
      compression: null,
      python: null,
      pickle_protocol: 5,
    });
  });

  test.each<[string, WireValue]>([
    ["no map", [1]],
    ["without pickle-protocol", WireMap.of({ compression: null })],
    ["without compression", WireMap.of({ "pickle-protocol": 5 })],
    ["of a wrong type", WireMap.of({ compression: 5, "pickle-protocol": 5 })],
    ["with a float as protocol", WireMap.of({ compression: null, "pickle-protocol": 1.5 })],
  ])("%s is refused", (_name, value) => {
    expect(() => parseHandshake(value)).toThrow(ProtocolError);
  });
});

test("toNumber takes every kind of number and nothing else", () => {
  expect([1, 1.5, new WireFloat(2), 2n ** 60n, "3", null, undefined].map(toNumber)).toEqual([
    ...[1, 1.5, 2, 2 ** 60],
    ...[undefined, undefined, undefined],
  ]);
});
