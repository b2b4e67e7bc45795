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
