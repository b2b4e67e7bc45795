import fc from "fast-check";
import { expect, test } from "vitest";
import { HeldKeys } from "../../../simulator/fleet/held-keys.ts";

const WORKERS = 4;

/** Few distinct keys, so that they meet; some longer than the first arena's share. */
const step = fc.record({
  worker: fc.nat({ max: WORKERS - 1 }),
  key: fc.nat({ max: 60 }),
  action: fc.constantFrom("add", "add", "add", "remove", "removeAll"),
});

function keyOf(n: number): Uint8Array {
  return Buffer.from(`key-${n}-`.repeat(1 + (n % 7) * 40));
}

test("held keys agree with a set for each worker, whatever is added and removed", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const held = new HeldKeys(WORKERS);
      const model = Array.from({ length: WORKERS }, () => new Set<number>());
      for (const { worker, key, action } of steps) {
        const bytes = Buffer.concat([Buffer.from("##"), keyOf(key), Buffer.from("#")]);
        const set = model[worker]!;
        if (action === "removeAll") {
          held.removeAll(worker);
          set.clear();
        } else if (action === "add") {
          expect(held.add(worker, bytes, 2, bytes.length - 1)).toBe(!set.has(key));
          set.add(key);
        } else expect(held.remove(worker, bytes, 2, bytes.length - 1)).toBe(set.delete(key));
      }
      for (const [worker, set] of model.entries()) {
        const expected = [...set].map((key) => keyOf(key).toString());
        expect(
          held
            .keysOf(worker)
            .map((key) => Buffer.from(key).toString())
            .toSorted(),
        ).toEqual(expected.toSorted());
        for (let key = 0; key <= 60; key++) {
          const bytes = keyOf(key);
          expect(held.has(worker, bytes, 0, bytes.length)).toBe(set.has(key));
        }
      }
      expect([...held.counts]).toEqual(model.map((set) => set.size));
      expect(held.total).toBe(model.reduce((sum, set) => sum + set.size, 0));
    }),
    { numRuns: 200 },
  );
});

test("held keys stay compact when many come and go", () => {
  const held = new HeldKeys(2);
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 20_000; i++) {
      const key = Buffer.from(`round-${round}-key-${i}`);
      held.add(0, key, 0, key.length);
      if (i % 3 === 0) held.add(1, key, 0, key.length);
    }
    expect([...held.counts]).toEqual([20_000, 6667]);
    const removed = [0, 0];
    for (let i = 0; i < 20_000; i++) {
      const key = Buffer.from(`round-${round}-key-${i}`);
      for (const worker of [0, 1]) if (held.remove(worker, key, 0, key.length)) removed[worker]!++;
    }
    expect([...removed, held.total]).toEqual([20_000, 6667, 0]);
  }
});
