import fc from "fast-check";
import { expect, test } from "vitest";
import { NONE } from "../../src/base/ids.ts";
import { IndexedHeap } from "../../src/base/indexed-heap.ts";

test("an indexed heap has the least key on top, whatever was added, changed and taken away", () => {
  const step = fc.tuple(fc.nat(200), fc.option(fc.integer({ min: -5, max: 5 }), { freq: 3, nil: null }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const heap = new IndexedHeap();
      const keys = new Map<number, number>();
      for (const [id, key] of steps) {
        if (key === null) {
          heap.delete(id);
          keys.delete(id);
        } else {
          heap.set(id, key);
          keys.set(id, key);
        }
        expect(heap.length).toBe(keys.size);
        expect(heap.has(id)).toBe(keys.has(id));
        if (keys.size === 0) expect(heap.top).toBe(NONE);
        else expect(keys.get(heap.top)).toBe(Math.min(...keys.values()));
      }
    }),
    { numRuns: 200, seed: 4 },
  );
});
