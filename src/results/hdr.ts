import type { Histogram as LibraryHistogram } from "hdr-histogram-js";
import { listOf } from "../base/grouped.ts";
import { HISTOGRAM_VALUE_MAX, type Histogram } from "../trace/histogram.ts";
import type { HistogramInterval } from "./input.ts";
import { merged } from "./rows.ts";

type Library = typeof import("hdr-histogram-js");

/** Loading takes some 50 ms, so only who writes histograms pays for it. */
function loadLibrary(): Promise<Library> {
  return import("hdr-histogram-js");
}

/** Readers of interval logs stop at commas, and Java's at spaces too, without a word: such tags are our bug. */
const TAG = /^[A-Za-z0-9_.:-]+$/;

/** Java, Python and the web plotter take the interval's maximum for milliseconds; our values are nanoseconds. */
const MAX_UNIT_RATIO = 1e6;

/**
 * The interval log (HdrHistogram's format 1.3) of all histograms, values in nanoseconds, one interval a repeat.
 * Times are seconds relative to `started_at_ms`, which the header gives.
 */
export async function intervalLog(
  intervals: readonly HistogramInterval[],
  started_at_ms: number,
): Promise<string> {
  const { HistogramLogWriter, build } = await loadLibrary();
  let text = "";
  const writer = new HistogramLogWriter((piece) => {
    text += piece;
  });
  writer.outputLogFormatVersion();
  // Not outputStartTime(): it writes the local time zone and an empty line.
  const seconds = (started_at_ms / 1000).toFixed(3);
  writer.outputComment(
    `[StartTime: ${seconds} (seconds since epoch), ${new Date(started_at_ms).toISOString()}]`,
  );
  writer.outputLegend();
  for (const { start_ms, end_ms, histograms } of intervals) {
    for (const [tag, histogram] of histograms) {
      const converted = toLibrary(build, histogram);
      if (!TAG.test(tag)) throw new RangeError(`${tag}: no tag that readers of interval logs understand`);
      converted.tag = tag;
      const start = (start_ms - started_at_ms) / 1000;
      writer.outputIntervalHistogram(
        converted,
        start,
        start + Math.max(0, end_ms - start_ms) / 1000,
        MAX_UNIT_RATIO,
      );
    }
  }
  return text;
}

/** Percentile distributions by tag, over all intervals; values in microseconds, like the summary's. */
export async function percentileDistributions(
  intervals: readonly HistogramInterval[],
): Promise<Map<string, string>> {
  const { build } = await loadLibrary();
  const parts = new Map<string, Histogram[]>();
  for (const { histograms } of intervals) {
    for (const [tag, histogram] of histograms) listOf(parts, tag).push(histogram);
  }
  const texts = new Map<string, string>();
  for (const [tag, list] of parts) {
    texts.set(tag, toLibrary(build, merged(list)).outputPercentileDistribution(5, 1e3));
  }
  return texts;
}

/** The library's form of a histogram: the same counters. */
function toLibrary(build: Library["build"], histogram: Histogram): LibraryHistogram {
  const converted = build({
    bitBucketSize: 64,
    lowestDiscernibleValue: 1,
    highestTrackableValue: HISTOGRAM_VALUE_MAX,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });
  histogram.forEachStep((value, count) => {
    converted.recordValueWithCount(value, count);
  });
  return converted;
}
