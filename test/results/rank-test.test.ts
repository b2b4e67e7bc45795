import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rankTest } from "../../src/results/rank-test.ts";

describe("rankTest", () => {
  // Exact two-sided values of the tables (and of scipy.stats.mannwhitneyu with method="exact").
  test.each([
    [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2 / 252],
    [[1, 2, 3, 4, 7], [5, 6, 8, 9, 10], 8 / 252],
    [[1, 2, 3], [4, 5, 6], 2 / 20],
    [[1, 4, 5], [2, 3, 6], 1],
    [[1], [2], 1],
    [[1, 2, 3, 4], [5, 6, 7, 8], 2 / 70],
  ])("of %j and %j is as in the tables", (a, b, chance) => {
    expect(rankTest(a, b)).toBeCloseTo(chance, 10);
  });

  test("is the same both ways, and 1 for equal samples or none", () => {
    const sample = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 30 });
    fc.assert(
      fc.property(sample, sample, (a, b) => {
        expect(rankTest(a, b)).toBeCloseTo(rankTest(b, a), 9);
        expect(rankTest(a, b)).toBeLessThanOrEqual(1);
        expect(rankTest(a, a)).toBeCloseTo(1, 9);
      }),
    );
    expect(rankTest([], [1, 2])).toBe(1);
  });

  test("goes over into the normal approximation without a step", () => {
    const ranks = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + 2 * i);
    const exact = rankTest(ranks(0, 20), ranks(9, 20));
    const near = rankTest(ranks(0, 21), ranks(9, 21));
    expect(Math.abs(exact - near)).toBeLessThan(0.02);
  });
});
