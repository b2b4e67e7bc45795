import { InvariantError } from "../base/assert.ts";

/** 3 significant digits: 2,048 steps in the lowest bucket, 1,024 in each further one. */
const SUB_BUCKET_BITS = 11;
const HALF_BITS = SUB_BUCKET_BITS - 1;
const HALF = 1 << HALF_BITS;

/** The highest value that can be told apart, 100 s in nanoseconds; what is above counts as this. */
export const HISTOGRAM_VALUE_MAX = 100e9;

/** Counters for 0 … 100 s: 27 buckets of 1,024 and the lower half of the first. */
export const HISTOGRAM_COUNTERS = 28 * HALF;

/** What a histogram is made of, for another thread (structured clone drops classes). */
export interface HistogramParts {
  readonly counts: Uint32Array | null;
  readonly count: number;
  readonly max: number;
}

/**
 * An HDR histogram of non-negative integers (nanoseconds) with 3 significant digits up to 100 s. Counters have the
 * same indices as those of the HdrHistogram libraries, so a conversion loses nothing; recording costs 4 ns where
 * hdr-histogram-js needs about 100.
 */
export class Histogram {
  /** 112 KiB, so only for histograms that are used at all. */
  #counts: Uint32Array | null = null;
  #count = 0;
  #max = 0;

  static of(parts: HistogramParts): Histogram {
    const histogram = new Histogram();
    histogram.#counts = parts.counts;
    histogram.#count = parts.count;
    histogram.#max = parts.max;
    return histogram;
  }

  parts(): HistogramParts {
    return { counts: this.#counts, count: this.#count, max: this.#max };
  }

  /** The counters that are not 0, as pairs of index and count: for a wire. */
  steps(): Uint32Array {
    const pairs: number[] = [];
    this.#counts?.forEach((count, index) => {
      if (count > 0) pairs.push(index, count);
    });
    return Uint32Array.from(pairs);
  }

  /** The inverse of {@link steps}; null where that is none, as a peer may send. */
  static ofSteps(pairs: Uint32Array, max: number): Histogram | null {
    const histogram = new Histogram();
    if (pairs.length % 2 !== 0 || !(max >= 0 && max <= HISTOGRAM_VALUE_MAX)) return null;
    for (let i = 0; i < pairs.length; i += 2) {
      const index = pairs[i]!;
      if (index > histogramIndex(max)) return null;
      const counts = histogram.#counts ?? histogram.#allocate();
      counts[index] = pairs[i + 1]!;
      histogram.#count += pairs[i + 1]!;
    }
    histogram.#max = max;
    return histogram;
  }

  get count(): number {
    return this.#count;
  }

  /** The highest recorded value as readers of the encoded form see it: the top of its step. 0 when empty. */
  get max(): number {
    return this.#count === 0 ? 0 : stepTop(histogramIndex(this.#max));
  }

  /** Negative values (two threads' stamps may cross by nanoseconds) count as 0, fractions are cut off. */
  record(value: number): void {
    this.recordMany(value, 1);
  }

  recordMany(value: number, times: number): void {
    if (!(value > 0)) value = zeroOf(value);
    else if (value > HISTOGRAM_VALUE_MAX) value = HISTOGRAM_VALUE_MAX;
    const counts = this.#counts ?? this.#allocate();
    const index = histogramIndex(value);
    counts[index] = counts[index]! + times;
    this.#count += times;
    if (value > this.#max) this.#max = value;
  }

  /** Adds what `other` holds. */
  add(other: Histogram): void {
    const from = other.#counts;
    if (from === null) return;
    const counts = this.#counts ?? this.#allocate();
    const end = histogramIndex(other.#max);
    for (let i = 0; i <= end; i++) counts[i] = counts[i]! + from[i]!;
    this.#count += other.#count;
    if (other.#max > this.#max) this.#max = other.#max;
  }

  reset(): void {
    this.#counts?.fill(0);
    this.#count = 0;
    this.#max = 0;
  }

  /**
   * The value that `percent` of the recorded values do not exceed: the top of its step, 0 when empty. The rank is
   * rounded as Python's hdrhistogram does it (half up; Java rounds up), so that both give equal answers.
   */
  percentile(percent: number): number {
    const counts = this.#counts;
    if (counts === null || this.#count === 0) return 0;
    const rank = Math.max(1, Math.floor((Math.min(percent, 100) * this.#count) / 100 + 0.5));
    const end = histogramIndex(this.#max);
    let seen = 0;
    for (let i = 0; i <= end; i++) {
      seen += counts[i]!;
      if (seen >= rank) return stepTop(i);
    }
    return stepTop(end);
  }

  /** Calls `visit` for each step that has a count, from the lowest. `value` is the step's lowest. */
  forEachStep(visit: (value: number, count: number) => void): void {
    const counts = this.#counts;
    if (counts === null || this.#count === 0) return;
    const end = histogramIndex(this.#max);
    for (let i = 0; i <= end; i++) if (counts[i]! > 0) visit(stepBottom(i), counts[i]!);
  }

  #allocate(): Uint32Array {
    this.#counts = new Uint32Array(HISTOGRAM_COUNTERS);
    return this.#counts;
  }
}

/** The counter of a value of 0 … {@link HISTOGRAM_VALUE_MAX}: exported for the comparison with the library. */
export function histogramIndex(value: number): number {
  if (value < 2 * HALF) return value | 0;
  if (value < 0x8000_0000) {
    const int = value | 0;
    const bucket = 31 - HALF_BITS - Math.clz32(int);
    return (bucket << HALF_BITS) + (int >>> bucket);
  }
  // clz32 sees 32 bits only; what is cut off here is below the step's width.
  const high = Math.trunc(value / 0x20_0000);
  const bucket = 31 - HALF_BITS - Math.clz32(high);
  return ((bucket + 21) << HALF_BITS) + (high >>> bucket);
}

function stepBottom(index: number): number {
  if (index < 2 * HALF) return index;
  const bucket = (index >> HALF_BITS) - 1;
  return (index - (bucket << HALF_BITS)) * 2 ** bucket;
}

function stepTop(index: number): number {
  if (index < 2 * HALF) return index;
  return stepBottom(index) + 2 ** ((index >> HALF_BITS) - 1) - 1;
}

/** 0 for zero and below; a value that is no number is a stamp that nobody took, so our bug. */
function zeroOf(value: number): number {
  if (Number.isNaN(value)) throw new InvariantError("a histogram was given NaN: a stamp is missing");
  return 0;
}
