// Of repeated measurements of one thing. A shared machine makes some of them too large, hardly any too small: medians.

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Half of the distance between the quartiles, as a share of the median: what half of the measurements stay within. */
export function noise(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share) => {
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.ceil(place);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  };
  return (at(0.75) - at(0.25)) / 2 / median(values);
}

/** Three figures that count. */
export function round(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(3, digits));
}

export function spread(values) {
  return `${round(Math.min(...values))} – ${round(Math.max(...values))}`;
}

/** Of the normal distribution: 95 % lie within so many standard deviations. */
const DEVIATIONS_95 = 1.96;

/**
 * How much more `after` costs than `before`, each the measurements of several processes, which ran in pairs: the ratio of
 * their medians (Hodges and Lehmann's estimate over the pairs), and the interval that holds it in 95 % of chances
 * (Wilcoxon's signed ranks; with less than six pairs in fewer). It asks nothing of how the noise is distributed, and an
 * odd pair does not carry it away.
 */
export function ratioInterval(before, after) {
  const pairs = before.map((values, pair) => Math.log(median(after[pair]) / median(values)));
  const averages = pairs.flatMap((a, i) => pairs.slice(i).map((b) => (a + b) / 2)).sort((a, b) => a - b);
  const count = pairs.length;
  const deviation = Math.sqrt((count * (count + 1) * (2 * count + 1)) / 24);
  const rank = Math.max(1, Math.floor((count * (count + 1)) / 4 - DEVIATIONS_95 * deviation));
  return {
    ratio: Math.exp(median(averages)),
    low: Math.exp(averages[rank - 1]),
    high: Math.exp(averages[averages.length - rank]),
  };
}
