import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { isCanonicalKey, keyBytes, keyText, keyValue } from "../../src/protocol/keys.ts";
import { packValue, unpackValue } from "../../src/protocol/msgpack.ts";
import { WireFloat, WireMap, WireSet, type WireValue } from "../../src/protocol/values.ts";
import { taskKey, wireValue } from "./arbitraries.ts";

/** Python source that makes the same key, by way of its own bytes only: nothing that keyText itself uses. */
function pythonSource(value: WireValue): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return `bytes.fromhex("${Buffer.from(value).toString("hex")}").decode()`;
  if (value instanceof Uint8Array) return `bytes.fromhex("${Buffer.from(value).toString("hex")}")`;
  if (Array.isArray(value)) return `(${value.map((item) => `${pythonSource(item)},`).join("")})`;
  if (typeof value === "bigint") return String(value);
  const number = value instanceof WireFloat ? value.value : (value as number);
  if (!(value instanceof WireFloat) && Number.isInteger(number)) return String(number);
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(number);
  return `struct.unpack(">d", bytes.fromhex("${bytes.toString("hex")}"))[0]`;
}

/** What the installed Python's str() gives for each key. */
function pythonTexts(keys: readonly WireValue[]): string[] {
  const program = `import struct, sys, json\nkeys = [${keys.map(pythonSource).join(",\n")}]\njson.dump([str(k) for k in keys], sys.stdout)`;
  return JSON.parse(execFileSync("python3", ["-"], { input: program, encoding: "utf8" }));
}

const HAND_PICKED: WireValue[] = [
  ...[
    "x",
    "",
    "a'b",
    'a"b',
    `a'"b`,
    "new\nline",
    "é",
    "\u{1f600}",
    "\u00a0",
    "\u200b",
    "\u2028",
    "\x7f",
    "\\",
  ],
  ...[
    ["x"],
    ["x", 0],
    [["x", 0], 1],
    [],
    ["a'b", 'a"b', `a'"b`, "\t\r\n\\", "\u00ad", "\u3000", "\ue000", "\u{10ffff}"],
  ],
  ...[
    1,
    -1,
    2 ** 53 - 1,
    2n ** 63n,
    -(2n ** 63n),
    0.1,
    1e-5,
    1.5e-5,
    1e-7,
    123456789.125,
    1.7976931348623157e308,
    5e-324,
  ],
  ...[1, -1, 0, -0, 1e15, 1e16, 1.5e16, 1e21, 1e22, 1e300, 123456789012345680].map(
    (value) => new WireFloat(value),
  ),
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, true, [null, false, new WireFloat(1)]],
  ...[
    Buffer.from("raw"),
    Buffer.from(`it's`),
    Buffer.from(`"'`),
    Buffer.from([0, 9, 10, 13, 31, 92, 127, 128, 255]),
  ],
];

describe("keyText", () => {
  test("is what Python's str() gives", () => {
    const keys = [...HAND_PICKED, ...fc.sample(taskKey, { numRuns: 500, seed: 7 })];
    const texts = pythonTexts(keys);
    keys.forEach((key, i) => {
      expect(keyText(keyBytes(key))).toBe(texts[i]);
    });
  });
});

describe("keyBytes", () => {
  test("are canonical, and give the key back", () => {
    fc.assert(
      fc.property(taskKey, (key) => {
        const bytes = keyBytes(key);
        expect(isCanonicalKey(bytes, 0, bytes.length)).toBe(true);
        expect(keyValue(bytes)).toEqual(key);
      }),
    );
  });

  test.each<[string, WireValue]>([
    ["a map", WireMap.of({ a: 1 })],
    ["a set", new WireSet([1])],
    ["None", null],
    ["a map in a tuple", ["x", WireMap.of({})]],
  ])("refuse %s", (_name, value) => {
    expect(() => keyBytes(value)).toThrow(ProtocolError);
    expect(isCanonicalKey(packValue(value), 0, packValue(value).length)).toBe(false);
  });

  test("refuse tuples nested beyond reason", () => {
    let key: WireValue = "x";
    for (let i = 0; i < 100; i++) key = [key];
    expect(() => keyBytes(key)).toThrow(ProtocolError);
    const packed = packValue(key);
    expect(isCanonicalKey(packed, 0, packed.length)).toBe(false);
  });
});

describe("isCanonicalKey", () => {
  test.each([
    ["d90161", "text in a longer form"],
    ["da000161", "text in a still longer form"],
    ["db0000000161", "text in the longest form"],
    ["c5000161", "bytes in a longer form"],
    ["cc05", "an integer in a longer form"],
    ["cd00ff", "an integer of 16 bits that fits in 8"],
    ["cf00000000ffffffff", "an integer of 64 bits that fits in 32"],
    ["d005", "a small positive integer as a signed one"],
    ["d100ff", "a positive integer of 16 bits as a signed one"],
    ["d0e0", "a small negative integer in a longer form"],
    ["d1ff80", "a negative integer of 16 bits that fits in 8"],
    ["d3ffffffff80000000", "a negative integer of 64 bits that fits in 32"],
    ["ca3f800000", "a float of 32 bits"],
    ["dc000161", "an array in a longer form"],
    ["91d90161", "a tuple of text in a longer form"],
    ["a1ff", "text that is not UTF-8"],
    ["a261", "text cut short"],
    ["a16161", "more than a key"],
    ["", "nothing"],
    ["c1", "the unused type byte"],
    ["d40100", "an extension type"],
    ["c0", "None"],
  ])("refuses %s, %s", (hex) => {
    const bytes = Buffer.from(hex, "hex");
    expect(isCanonicalKey(bytes, 0, bytes.length)).toBe(false);
  });

  test("agrees with decoding and packing again, on random bytes and on values", () => {
    const byRoundTrip = (bytes: Uint8Array): boolean => {
      try {
        return Buffer.compare(keyBytes(unpackValue(bytes)), bytes) === 0;
      } catch (error) {
        if (error instanceof ProtocolError) return false;
        throw error;
      }
    };
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 12 }), wireValue.map(packValue)), (bytes) => {
        // The payload bits of a NaN do not outlive JavaScript's numbers.
        fc.pre(
          !Number.isNaN(bytes[0] === 0xcb && bytes.length === 9 ? Buffer.from(bytes).readDoubleBE(1) : 0),
        );
        expect(isCanonicalKey(bytes, 0, bytes.length)).toBe(byRoundTrip(bytes));
      }),
      { numRuns: 3000 },
    );
  });

  test("looks at a part of a buffer", () => {
    const bytes = Buffer.concat([Buffer.from([0xc1]), keyBytes(["x", 1]), Buffer.from([0xc1])]);
    expect(isCanonicalKey(bytes, 1, bytes.length - 1)).toBe(true);
    expect(isCanonicalKey(bytes, 1, bytes.length)).toBe(false);
    expect(isCanonicalKey(bytes, 1, 100)).toBe(false);
  });
});
