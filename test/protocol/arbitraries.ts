import fc from "fast-check";
import { WireFloat, WireMap, WireSet, type WireValue } from "../../src/protocol/values.ts";

/** Integers of every width that msgpack knows, their edges more often than chance would have them. */
const integer: fc.Arbitrary<number | bigint> = fc.oneof(
  fc.integer({ min: -40, max: 300 }),
  fc
    .record({
      power: fc.integer({ min: 0, max: 52 }),
      delta: fc.integer({ min: -2, max: 2 }),
      negative: fc.boolean(),
    })
    .map(({ power, delta, negative }) => (negative ? -(2 ** power) : 2 ** power) + delta),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
);

/** Floats as decoding gives them: a WireFloat where a plain number would become an integer. */
const float: fc.Arbitrary<number | WireFloat> = fc
  .oneof(fc.double(), fc.integer(), fc.constantFrom(-0, 0, 1, 1e300, 2 ** 60))
  .map((value) => (Number.isInteger(value) ? new WireFloat(value) : value));

const text = fc.oneof(
  fc.string({ maxLength: 50 }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.nat({ max: 300 }).map((length) => "k".repeat(length)),
);

export const bytes = fc.uint8Array({ maxLength: 30 }).map((array) => Buffer.from(array));

const scalar: fc.Arbitrary<WireValue> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  integer,
  float,
  { arbitrary: text, weight: 2 },
  bytes,
);

/** Any value that msgpack itself can hold, with map keys of any kind. */
export const wireValue: fc.Arbitrary<WireValue> = fc.letrec<{ value: WireValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("value"), { maxLength: 17 }),
    fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 5 }).map((entries) => WireMap.from(entries)),
  ),
})).value;

/** Also sets, which the placeholders of messages add. */
export const messageValue: fc.Arbitrary<WireValue> = fc.oneof(
  wireValue,
  fc.array(wireValue, { maxLength: 5 }).map((items) => new WireSet(items)),
);

/**
 * Characters whose kind is the same in every Unicode version that a Python or a Node of today comes with: the test
 * against Python's repr must not depend on which newest characters are printable.
 */
const settled_character = fc
  .oneof(
    { arbitrary: fc.integer({ min: 0, max: 0x52f }), weight: 4 },
    fc.integer({ min: 0x2000, max: 0x23ff }),
    fc.integer({ min: 0xe000, max: 0xffff }),
    fc.integer({ min: 0x1f600, max: 0x1f64f }),
    fc.integer({ min: 0x10fff0, max: 0x10ffff }),
  )
  .map((code) => String.fromCodePoint(code));

/** What Dask takes as a task's key. */
export const taskKey: fc.Arbitrary<WireValue> = fc.letrec<{ key: WireValue; scalar: WireValue }>((tie) => ({
  scalar: fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.string({ unit: settled_character, maxLength: 10 }),
    bytes,
    integer,
    float,
    fc.boolean(),
  ),
  key: fc.oneof({ maxDepth: 3, depthSize: "small" }, tie("scalar"), fc.array(tie("key"), { maxLength: 4 })),
})).key;
