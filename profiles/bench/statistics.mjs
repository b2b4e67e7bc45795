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

const RESAMPLES = 2000;
const CHANCES = 0.9;

/**
 * How much more `after` costs than `before`, each the measurements of several processes, which ran in pairs: the ratio of
 * their medians, and an interval that holds it in 90 % of chances. Repeats of one process share that process's luck
 * (what V8 compiled when, where memory lies), and a pair the machine's, so whole pairs are drawn again (a bootstrap),
 * always with the same lots.
 */
export function ratioInterval(before, after) {
  const random = lots(1);
  const ratios = [];
  for (let i = 0; i < RESAMPLES; i++) {
    const pairs = before.map(() => Math.floor(random() * before.length));
    ratios.push(medianOf(after, pairs) / medianOf(before, pairs));
  }
  ratios.sort((a, b) => a - b);
  const at = (share) => ratios[Math.round(share * (RESAMPLES - 1))];
  const ratio = median(after.flat()) / median(before.flat());
  return { ratio, low: at((1 - CHANCES) / 2), high: at((1 + CHANCES) / 2) };
}

function medianOf(processes, drawn) {
  return median(drawn.flatMap((index) => processes[index]));
}

/** Numbers in [0, 1) from a linear congruential generator: enough for drawing lots. */
function lots(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
