import fc from "fast-check";
import { build } from "hdr-histogram-js";
import { describe, expect, test } from "vitest";
import {
  HISTOGRAM_COUNTERS,
  HISTOGRAM_VALUE_MAX,
  Histogram,
  histogramIndex,
} from "../../src/trace/histogram.ts";

const value = fc.oneof(
  fc.nat(5000),
  fc.nat(),
  fc.integer({ min: 0, max: HISTOGRAM_VALUE_MAX }),
  fc.constantFrom(2047, 2048, 2049, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32, HISTOGRAM_VALUE_MAX),
);

function library() {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HISTOGRAM_VALUE_MAX,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 64,
  }) as unknown as {
    countsArrayIndex(value: number): number;
    countsArrayLength: number;
    lowestEquivalentValue(value: number): number;
    highestEquivalentValue(value: number): number;
  };
}

describe("a histogram", () => {
  test("has the counters of the HdrHistogram library", () => {
    const theirs = library();
    expect(theirs.countsArrayLength).toBe(HISTOGRAM_COUNTERS);
    fc.assert(
      fc.property(value, (v) => {
        expect(histogramIndex(v)).toBe(theirs.countsArrayIndex(v));
        const ours = new Histogram();
        ours.record(v);
        expect(ours.max).toBe(theirs.highestEquivalentValue(v));
        expect(ours.percentile(50)).toBe(ours.max);
        ours.forEachStep((bottom) => expect(bottom).toBe(theirs.lowestEquivalentValue(v)));
      }),
      { numRuns: 3000 },
    );
  });

  test("answers percentiles by rank, half up, within its three digits", () => {
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 200 }),
        fc.integer({ min: 0, max: 1000 }),
        (values, p) => {
          const histogram = new Histogram();
          for (const v of values) histogram.record(v);
          const sorted = values.toSorted((a, b) => a - b);
          const rank = Math.max(1, Math.floor(((p / 10) * values.length) / 100 + 0.5));
          const exact = sorted[rank - 1]!;
          const answer = histogram.percentile(p / 10);
          expect(answer).toBeGreaterThanOrEqual(exact);
          expect(answer - exact).toBeLessThanOrEqual(exact / 1000);
        },
      ),
    );
  });

  test("adds up like one that saw everything", () => {
    fc.assert(
      fc.property(fc.array(value), fc.array(value), (left, right) => {
        const sum = new Histogram();
        const part = new Histogram();
        const all = new Histogram();
        for (const v of left) sum.record(v);
        for (const v of right) part.record(v);
        for (const v of [...left, ...right]) all.record(v);
        sum.add(part);
        const steps = (histogram: Histogram) => {
          const list: number[] = [];
          histogram.forEachStep((bottom, count) => list.push(bottom, count));
          return list;
        };
        expect(steps(sum)).toEqual(steps(all));
        expect([sum.count, sum.max]).toEqual([all.count, all.max]);
      }),
    );
  });

  test("takes what lies outside its range as its ends, and refuses what is no number", () => {
    const histogram = new Histogram();
    histogram.record(-5);
    expect(histogram.percentile(50)).toBe(0);
    histogram.record(1e15);
    expect(histogram.count).toBe(2);
    expect(histogram.max).toBeGreaterThanOrEqual(HISTOGRAM_VALUE_MAX);
    expect(() => histogram.record(Number.NaN)).toThrow(/stamp is missing/);
    expect(histogram.count).toBe(2);
  });

  test("is empty again after a reset", () => {
    const histogram = new Histogram();
    histogram.recordMany(1234, 10);
    histogram.reset();
    expect([histogram.count, histogram.max, histogram.percentile(99)]).toEqual([0, 0, 0]);
  });
});
