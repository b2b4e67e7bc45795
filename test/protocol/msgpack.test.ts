import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvariantError } from "../../src/base/assert.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { Packer, packValue, skipValue, UNPACK_LIMITS, unpackValue } from "../../src/protocol/msgpack.ts";
import { RawValue, WireFloat, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { wireValue } from "./arbitraries.ts";

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return "no error";
}

/** A value as @msgpack/msgpack has it, if it can: no floats that look like integers, only keys of text. */
function toPlain(value: WireValue): unknown {
  if (value instanceof WireFloat) throw new RangeError("a float that the oracle turns into an integer");
  if (Array.isArray(value)) return value.map(toPlain);
  // The oracle packs 64 bits as such only from a bigint.
  if (typeof value === "number" && Number.isInteger(value) && (value >= 2 ** 32 || value < -(2 ** 31)))
    return BigInt(value);
  if (value instanceof WireMap) {
    const entries = value.keys.map((key, i) => {
      if (typeof key !== "string" || key === "__proto__")
        throw new RangeError("a key that the oracle cannot hold");
      return [key, toPlain(value.values[i] as WireValue)];
    });
    return Object.fromEntries(entries);
  }
  return value;
}

const textual: fc.Arbitrary<WireValue> = fc.letrec<{ value: WireValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    wireValue.filter(
      (value) => !(value instanceof WireFloat || value instanceof WireMap || Array.isArray(value)),
    ),
    fc.array(tie("value"), { maxLength: 17 }),
    fc
      .dictionary(
        fc.string().filter((key) => key !== "__proto__" && !/^\d+$/.test(key)),
        tie("value"),
        { noNullPrototype: true, maxKeys: 17 },
      )
      .map(WireMap.of),
  ),
})).value;

describe("packValue and unpackValue", () => {
  test("give back any value, and pack it to the same bytes again", () => {
    fc.assert(
      fc.property(wireValue, (value) => {
        const packed = packValue(value);
        const back = unpackValue(packed);
        expect(back).toEqual(value);
        expect(Buffer.compare(packValue(back), packed)).toBe(0);
      }),
    );
  });

  test("agree with @msgpack/msgpack on what that can hold", () => {
    fc.assert(
      fc.property(textual, (value) => {
        const encoded = encode(toPlain(value), { useBigInt64: true });
        expect(Buffer.compare(packValue(value), encoded)).toBe(0);
        expect(unpackValue(encoded)).toEqual(value);
      }),
      { examples: [[[1, -1, "é", Buffer.from("x"), WireMap.of({ a: null })]]] },
    );
  });

  test("keep integers and floats apart", () => {
    expect(Buffer.from(packValue(1)).toString("hex")).toBe("01");
    expect(Buffer.from(packValue(new WireFloat(1))).toString("hex")).toBe("cb3ff0000000000000");
    expect(unpackValue(packValue(new WireFloat(-0)))).toEqual(new WireFloat(-0));
    expect(unpackValue(Buffer.from("ca3f800000", "hex"))).toEqual(new WireFloat(1));
    expect(unpackValue(packValue(Number.NaN))).toBeNaN();
  });

  test("pack integers at the edges of their forms as Python does", () => {
    const forms: [number | bigint, string][] = [
      [127, "7f"],
      [128, "cc80"],
      [255, "ccff"],
      [256, "cd0100"],
      [65_536, "ce00010000"],
      [2 ** 32, "cf0000000100000000"],
      [2n ** 64n - 1n, "cfffffffffffffffff"],
      [-32, "e0"],
      [-33, "d0df"],
      [-129, "d1ff7f"],
      [-32_769, "d2ffff7fff"],
      [-(2 ** 31) - 1, "d3ffffffff7fffffff"],
      [-(2n ** 63n), "d38000000000000000"],
      [5n, "05"],
    ];
    for (const [value, hex] of forms) expect(Buffer.from(packValue(value)).toString("hex")).toBe(hex);
  });

  test("refuse integers beyond 64 bits as our own mistake", () => {
    expect(() => packValue(2n ** 64n)).toThrow(InvariantError);
    expect(() => packValue(-(2n ** 63n) - 1n)).toThrow(InvariantError);
  });

  test("find keys in small and large maps, the last of equal ones", () => {
    const large = WireMap.from(Array.from({ length: 100 }, (_, i): [string, number] => [`k${i}`, i]));
    expect(large.get("k77")).toBe(77);
    large.set("k77", -1).set("new", 1).set("k5", 0);
    expect([large.get("k77"), large.get("new"), large.get("k5"), large.get("none"), large.size]).toEqual([
      ...[-1, 1, 0, undefined, 101],
    ]);
    const twice = unpackValue(Buffer.from("82a16101a16102", "hex")) as WireMap;
    expect(twice.get("a")).toBe(2);
    expect(Buffer.from(packValue(twice)).toString("hex")).toBe("82a16101a16102");
  });
});

describe("bad bytes", () => {
  test("cut anywhere, are refused as truncated", () => {
    fc.assert(
      fc.property(wireValue, fc.nat(), (value, at) => {
        const packed = packValue(value);
        const cut = packed.subarray(0, at % packed.length);
        expect(codeOf(() => unpackValue(cut))).toBe("TRUNCATED");
        expect(codeOf(() => skipValue(cut, 0, cut.length))).toBe("TRUNCATED");
      }),
    );
  });

  test("at random, are a value or a ProtocolError, and skipValue agrees on where it ends", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (random) => {
        let skipped = -1;
        const skip_code = codeOf(() => {
          skipped = skipValue(random, 0, random.length);
        });
        const code = codeOf(() => unpackValue(random, 0, skipped < 0 ? random.length : skipped));
        // Only text is not looked at by skipValue.
        if (skip_code === "no error") expect(["no error", "BAD_UTF8"]).toContain(code);
        else expect([skip_code, "BAD_UTF8"]).toContain(code);
      }),
      { numRuns: 3000 },
    );
  });

  test("of any value, are stepped over exactly", () => {
    fc.assert(
      fc.property(wireValue, fc.uint8Array({ maxLength: 5 }), (value, behind) => {
        const packed = packValue(value);
        const bytes = Buffer.concat([Buffer.from([0xc1]), packed, behind]);
        expect(skipValue(bytes, 1, bytes.length)).toBe(1 + packed.length);
        expect(unpackValue(bytes, 1, 1 + packed.length)).toEqual(value);
      }),
    );
  });

  test.each([
    ["an array of four thousand million", "ddffffffff", "TRUNCATED"],
    ["a map of four thousand million", "dfffffffff00", "TRUNCATED"],
    ["a map of half its entries", "8201020304".slice(0, 6), "TRUNCATED"],
    ["text longer than the bytes", "dbffffffff41", "TRUNCATED"],
    ["a byte string longer than the bytes", "c6ffffffff41", "TRUNCATED"],
    ["the unused type byte", "c1", "BAD_TYPE_BYTE"],
    ["an extension type", "d40100", "BAD_TYPE_BYTE"],
    ["nothing", "", "TRUNCATED"],
  ])("%s is refused", (_name, hex, code) => {
    const bytes = Buffer.from(hex, "hex");
    expect(codeOf(() => unpackValue(bytes))).toBe(code);
    expect(codeOf(() => skipValue(bytes, 0, bytes.length))).toBe(code);
  });

  test("nested ten thousand deep are refused", () => {
    for (const opening of [0x91, 0x81]) {
      const bytes = Buffer.alloc(20_001, opening);
      bytes[20_000] = 0xc0;
      expect(codeOf(() => unpackValue(bytes))).toBe("TOO_DEEP");
      expect(codeOf(() => skipValue(bytes, 0, bytes.length))).toBe("TOO_DEEP");
    }
    const allowed = Buffer.alloc(UNPACK_LIMITS.depth_max + 1, 0x91);
    allowed[UNPACK_LIMITS.depth_max] = 0xc0;
    expect(codeOf(() => unpackValue(allowed))).toBe("no error");
    expect(skipValue(allowed, 0, allowed.length)).toBe(allowed.length);
  });

  test("that would become far more memory than they are, are refused", () => {
    const maps = Buffer.alloc(5 + 200_000, 0x80);
    maps.writeUInt8(0xdd, 0);
    maps.writeUInt32BE(200_000, 1);
    expect(
      codeOf(() => unpackValue(maps, 0, maps.length, { ...UNPACK_LIMITS, memory_units_max: 1 << 19 })),
    ).toBe("TOO_MANY_VALUES");
    expect(codeOf(() => unpackValue(maps))).toBe("no error");
  });

  test("behind a value are refused", () => {
    expect(codeOf(() => unpackValue(Buffer.from([1, 2])))).toBe("TRAILING_BYTES");
  });

  test.each(["a1ff", "a2c328", "a3eda080", "a4f7bfbfbf", "a2c080", "d901ff"])(
    "text %s is refused, as by Python",
    (hex) => {
      expect(codeOf(() => unpackValue(Buffer.from(hex, "hex")))).toBe("BAD_UTF8");
    },
  );
});

describe("Packer", () => {
  test("is used again after take() and reset(), and grows", () => {
    const packer = new Packer(4);
    packer.arrayHeader(2);
    packer.str("x".repeat(10_000));
    packer.value(new RawValue(packValue(WireMap.of({ a: 1 }))));
    expect(packer.position).toBe(1 + 3 + 10_000 + 4);
    expect(unpackValue(packer.take())).toEqual(["x".repeat(10_000), WireMap.of({ a: 1 })]);
    expect(packer.position).toBe(0);
    packer.bool(true);
    packer.reset();
    packer.float(2);
    expect(unpackValue(packer.view())).toEqual(new WireFloat(2));
  });

  test("writes text of every length in the shortest form", () => {
    for (const unit of ["a", "é", "\u{1f600}"]) {
      for (const length of [0, 1, 15, 16, 31, 32, 39, 40, 41, 127, 128, 255, 256, 65_535, 65_536]) {
        const text = unit.repeat(length);
        expect(Buffer.compare(packValue(text), encode(text))).toBe(0);
        expect(unpackValue(packValue(text))).toBe(text);
      }
    }
  });
});
