import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assert, InvariantError, unreachable } from "../../src/base/assert.ts";
import { ManualClock } from "../../src/base/clock.ts";
import { IndexedSet } from "../../src/base/indexed-set.ts";
import { Prng } from "../../src/base/prng.ts";
import { grown, IntStack } from "../../src/base/typed-arrays.ts";

describe("assert", () => {
  test("throws for what does not hold, and for a case that cannot be", () => {
    expect(() => assert(true, "fine")).not.toThrow();
    expect(() => assert(false, "broken")).toThrow(new InvariantError("broken"));
    expect(() => unreachable({ kind: "forgotten" } as never)).toThrow('{"kind":"forgotten"}');
  });
});

test("a manual clock moves by hand", () => {
  const clock = new ManualClock();
  clock.now_ns = 5;
  expect(clock.now()).toBe(5);
});

describe("IndexedSet", () => {
  test("holds what a Set holds, densely", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(300)), { maxLength: 400 }), (steps) => {
        const set = new IndexedSet();
        const model = new Set<number>();
        for (const [add, id] of steps) {
          if (add) set.add(id);
          else set.delete(id);
          if (add) model.add(id);
          else model.delete(id);
          expect(set.has(id)).toBe(add);
        }
        const sorted = (ids: Iterable<number>): number[] => [...ids].sort((a, b) => a - b);
        expect(sorted(set.items.subarray(0, set.length))).toEqual(sorted(model));
      }),
      { seed: 1 },
    );
  });
});

describe("Prng", () => {
  const draws = (seed: number): number[] => {
    const prng = new Prng(seed);
    return Array.from({ length: 8 }, () => prng.u32());
  };

  test("gives equal sequences for equal seeds and others for others, beyond 32 bits too", () => {
    expect(draws(7)).toEqual(draws(7));
    expect(draws(7)).not.toEqual(draws(8));
    expect(draws(7)).not.toEqual(draws(7 + 2 ** 32));
  });

  test("is uniform enough to place tasks by", () => {
    const prng = new Prng(3);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 100_000; i++) counts[prng.below(10)]!++;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
    for (let i = 0; i < 1000; i++) {
      const unit = prng.unit();
      expect(unit >= 0 && unit < 1).toBe(true);
    }
  });
});

describe("typed arrays", () => {
  test("grow with their contents, and the rest filled", () => {
    expect([...grown(new Int32Array([1, 2]), 4, -1)]).toEqual([1, 2, -1, -1]);
    expect([...grown(new Float64Array([0.5]), 2)]).toEqual([0.5, 0]);
  });

  test("stack integers in order, and give memory back when cleared", () => {
    const stack = new IntStack(2);
    for (let i = 0; i < 100; i++) stack.push(i);
    expect(stack.pop()).toBe(99);
    expect(stack.length).toBe(99);
    stack.clear(64);
    expect([stack.length, stack.items.length]).toEqual([0, 64]);
  });
});
