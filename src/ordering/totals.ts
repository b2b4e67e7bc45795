import type { Edges } from "./graph.ts";

/**
 * The first part of Dask's sort key, `total_dependencies`: 1 + the sum over the dependencies, so that what is
 * reached on two ways counts twice and the numbers grow exponentially (2 × 10^31 in a graph of 200 tasks).
 * Up to 2^53 the totals themselves; beyond, their dense ranks: only comparisons are ever made of them.
 */
export function totalDependencies(edges: Edges, topo: Int32Array): Float64Array {
  const { dep_offsets, deps } = edges;
  const totals = new Float64Array(dep_offsets.length - 1);
  let max = 0;
  for (let i = 0; i < topo.length; i++) {
    const id = topo[i]!;
    let total = 1;
    const end = dep_offsets[id + 1]!;
    for (let e = dep_offsets[id]!; e < end; e++) total += totals[deps[e]!]!;
    totals[id] = total;
    if (total > max) max = total;
  }
  // Sums of integers are exact in a float64 as long as no sum passes 2^53.
  return max <= Number.MAX_SAFE_INTEGER ? totals : largeTotals(edges, topo);
}

/** 64-bit words that exact sums may add up: 8 million take some 50 ms and at most 64 MB. */
const EXACT_WORDS_MAX = 1 << 23;

/**
 * Exact integers where that is affordable. A chain of 100,000 diamonds has totals of 100,000 bits, gigabytes
 * together: there a float with an exponent of its own has to do, and totals that agree in 50 bits may swap.
 */
function largeTotals(edges: Edges, topo: Int32Array): Float64Array {
  const { mantissas, exponents } = scaledTotals(edges, topo);
  let words = 0;
  for (let e = 0; e < edges.deps.length; e++) words += 1 + (exponents[edges.deps[e]!]! >> 6);
  if (words <= EXACT_WORDS_MAX) {
    const exact = exactTotals(edges, topo);
    return ranks(topo, mantissas.length, (a, b) =>
      exact[a]! < exact[b]! ? -1 : exact[a]! > exact[b]! ? 1 : 0,
    );
  }
  return ranks(
    topo,
    mantissas.length,
    (a, b) => exponents[a]! - exponents[b]! || mantissas[a]! - mantissas[b]!,
  );
}

function exactTotals(edges: Edges, topo: Int32Array): bigint[] {
  const { dep_offsets, deps } = edges;
  const totals = new Array<bigint>(dep_offsets.length - 1).fill(0n);
  for (const id of topo) {
    let total = 1n;
    const end = dep_offsets[id + 1]!;
    for (let e = dep_offsets[id]!; e < end; e++) total += totals[deps[e]!]!;
    totals[id] = total;
  }
  return totals;
}

/** Totals as mantissa × 2^exponent with a mantissa in [1, 2): no overflow, and comparable part by part. */
function scaledTotals(edges: Edges, topo: Int32Array): { mantissas: Float64Array; exponents: Int32Array } {
  const { dep_offsets, deps } = edges;
  const mantissas = new Float64Array(dep_offsets.length - 1);
  const exponents = new Int32Array(dep_offsets.length - 1);
  for (const id of topo) {
    const start = dep_offsets[id]!;
    const end = dep_offsets[id + 1]!;
    let top = 0;
    for (let e = start; e < end; e++) if (exponents[deps[e]!]! > top) top = exponents[deps[e]!]!;
    let mantissa = 2 ** -top;
    for (let e = start; e < end; e++) mantissa += mantissas[deps[e]!]! * 2 ** (exponents[deps[e]!]! - top);
    while (mantissa >= 2) {
      mantissa /= 2;
      top++;
    }
    mantissas[id] = mantissa;
    exponents[id] = top;
  }
  return { mantissas, exponents };
}

function ranks(topo: Int32Array, size: number, compare: (a: number, b: number) => number): Float64Array {
  const sorted = topo.slice().sort(compare);
  const result = new Float64Array(size);
  let rank = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (i > 0 && compare(sorted[i - 1]!, sorted[i]!) !== 0) rank++;
    result[sorted[i]!] = rank;
  }
  return result;
}
