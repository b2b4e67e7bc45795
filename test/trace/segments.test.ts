import fc from "fast-check";
import { expect, test } from "vitest";
import { Segments } from "../../src/trace/segments.ts";

const CAPACITY = 32;
const HEAD = 2;

test("the ring keeps a window's first segments and its newest ones, and knows what it lost", () => {
  const length = fc.integer({ min: 1, max: 50 });
  fc.assert(
    fc.property(fc.array(length, { maxLength: 150 }), fc.nat(5000), fc.nat(5000), (lengths, a, b) => {
      const segments = new Segments(CAPACITY);
      const all: { start: number; end: number; kind: number }[] = [];
      let now = 0;
      for (const [i, ns] of lengths.entries()) {
        segments.push(now, now + ns, 0, i % 12);
        all.push({ start: now, end: now + ns, kind: i % 12 });
        now += ns;
      }
      const kept = all.filter((_, i) => i < HEAD || i >= all.length - (CAPACITY - HEAD));
      const from = Math.min(a, b, now);
      const to = Math.min(Math.max(a, b), now);
      const expected = kept
        .map(({ start, end, kind }) => ({ kind, ns: Math.min(end, to) - Math.max(start, from) }))
        .filter(({ ns }) => ns > 0)
        .reverse();
      const seen: { kind: number; ns: number }[] = [];
      const lost = segments.within(from, to, (kind, busy, idle) => seen.push({ kind, ns: busy + idle }));
      expect(seen).toEqual(expected);
      expect(lost).toBe(to - from - expected.reduce((sum, { ns }) => sum + ns, 0));
    }),
    { numRuns: 500 },
  );
});
