import { describe, expect, test } from "vitest";
import { type NetworkName, transferModel } from "../../../simulator/network/models.ts";

const MB = 1e6;
const SECOND = 1e9;

/** Starts transfers [from, to, bytes, at_s] and answers when each ends, s. */
function ends(
  name: NetworkName,
  transfers: readonly (readonly [number, number, number, number])[],
  latency_ns = 0,
): number[] {
  const model = transferModel(name, { bandwidth: 100 * MB, latency_ns });
  const result = new Array<number>(transfers.length).fill(-1);
  const starts = transfers.map(([, , , at_s], i) => [at_s * SECOND, i] as const).sort((a, b) => a[0] - b[0]);
  for (;;) {
    const next_start_ns = starts[0]?.[0] ?? Number.POSITIVE_INFINITY;
    const now_ns = Math.min(next_start_ns, model.next_ns);
    if (now_ns === Number.POSITIVE_INFINITY) return result;
    if (next_start_ns <= model.next_ns) {
      const [, i] = starts.shift()!;
      const [from, to, bytes] = transfers[i]!;
      model.advance(now_ns, (transfer) => {
        result[transfer] = now_ns / SECOND;
      });
      model.start(i, from, to, bytes, now_ns);
    } else
      model.advance(now_ns, (transfer) => {
        result[transfer] = now_ns / SECOND;
      });
  }
}

function expectNear(found: readonly number[], wanted: readonly number[]): void {
  expect(found.length).toBe(wanted.length);
  for (const [i, value] of found.entries()) expect(value).toBeCloseTo(wanted[i]!, 6);
}

describe("instant", () => {
  test("takes no time, whatever is moved", () => {
    expectNear(ends("instant", [[0, 1, 1e12, 3]], SECOND), [3]);
  });
});

describe("simple", () => {
  test("is latency and size over bandwidth, for each by itself", () => {
    const transfers = [
      [0, 1, 100 * MB, 0],
      [0, 1, 200 * MB, 0],
      [2, 1, 100 * MB, 1],
    ] as const;
    expectNear(ends("simple", transfers, 0.5 * SECOND), [1.5, 2.5, 2.5]);
  });
});

describe("maxmin", () => {
  test("gives one transfer all that there is", () => {
    expectNear(ends("maxmin", [[0, 1, 100 * MB, 0]], 0.25 * SECOND), [1.25]);
  });

  test("shares a sender's way out evenly, and what one leaves goes to the other", () => {
    const transfers = [
      [0, 1, 100 * MB, 0],
      [0, 2, 50 * MB, 0],
    ] as const;
    // 50 MB/s each for a second, then the first alone.
    expectNear(ends("maxmin", transfers), [1.5, 1]);
  });

  test("gives what a crowded way leaves unused to those on other ways", () => {
    const transfers = [
      [0, 9, 100 * MB, 0],
      [1, 9, 100 * MB, 0],
      [2, 9, 100 * MB, 0],
      [2, 5, 100 * MB, 0],
    ] as const;
    // A third each into 9; the last has the two thirds that are left of 2's way out, then all of it.
    const found = ends("maxmin", transfers);
    expectNear(found, [3, 3, 3, 1.5]);
  });

  test("one that comes later takes its share from then on", () => {
    const transfers = [
      [0, 1, 100 * MB, 0],
      [2, 1, 100 * MB, 0.5],
    ] as const;
    expectNear(ends("maxmin", transfers), [1.5, 2]);
  });
});
