/** Above this many values the counting of arrangements gives way to the normal approximation, which is close by then. */
const EXACT_VALUES_MAX = 40;

/**
 * The chance that two samples differ in rank as much as these do although nothing differs: the two-sided
 * Mann–Whitney test. Ranks, so that one slow repeat counts no more than that it was the slowest. 1 for an empty sample.
 */
export function rankTest(a: readonly number[], b: readonly number[]): number {
  if (a.length === 0 || b.length === 0) return 1;
  let wins = 0;
  for (const x of a) for (const y of b) wins += x > y ? 1 : x === y ? 0.5 : 0;
  const few = Math.min(wins, a.length * b.length - wins);
  if (a.length + b.length > EXACT_VALUES_MAX) return normalApproximation(few, a.length, b.length);
  const arrangements = winCounts(a.length, b.length);
  const total = arrangements.reduce((sum, count) => sum + count, 0);
  const extreme = arrangements.slice(0, Math.floor(few) + 1).reduce((sum, count) => sum + count, 0);
  return Math.min(1, (2 * extreme) / total);
}

/** In how many arrangements of `m` and `n` different values the first sample wins 0, 1, … m × n comparisons. */
function winCounts(m: number, n: number): number[] {
  // counts[i] is for i values of the first sample beside those of the second that were placed so far.
  let counts: number[][] = Array.from({ length: m + 1 }, () => [1]);
  for (let placed = 1; placed <= n; placed++) {
    const next: number[][] = [[1]];
    for (let i = 1; i <= m; i++) {
      // The highest value is one of the first sample, and wins against all of the second; or one of the second.
      const sum = new Array<number>(i * placed + 1).fill(0);
      next[i - 1]!.forEach((count, wins) => {
        sum[wins + placed]! += count;
      });
      counts[i]!.forEach((count, wins) => {
        sum[wins]! += count;
      });
      next[i] = sum;
    }
    counts = next;
  }
  return counts[m]!;
}

function normalApproximation(wins: number, m: number, n: number): number {
  const mean = (m * n) / 2;
  const deviation = Math.sqrt((m * n * (m + n + 1)) / 12);
  return Math.min(1, 2 * lowerTail((wins + 0.5 - mean) / deviation));
}

/** P(Z ≤ z) for z ≤ 0, after Abramowitz and Stegun 26.2.17: right to 1e-7. */
function lowerTail(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  const series =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return z > 0 ? 1 - density * series : density * series;
}
