import type { Edges } from "./graph.ts";
import type { RootSets } from "./root-sets.ts";
import { totalDependencies } from "./totals.ts";

/**
 * Dask's sort key (total dependencies, number of dependencies, number of roots, −most dependents of a root,
 * `str(key)`), compared part by part, so that the dear parts (root sets, texts) are only made on ties.
 */
export class SortKeys {
  readonly #totals: Float64Array;
  readonly #dep_offsets: Int32Array;
  readonly #max_dependents: Int32Array;
  readonly #sets: RootSets;
  readonly #text: (id: number) => string;
  readonly #texts: (string | undefined)[];
  #has_surrogates = false;

  constructor(edges: Edges, topo: Int32Array, sets: RootSets, text: (id: number) => string) {
    this.#dep_offsets = edges.dep_offsets;
    this.#totals = totalDependencies(edges, topo);
    this.#max_dependents = maxDependents(edges, topo);
    this.#sets = sets;
    this.#text = text;
    this.#texts = new Array<string | undefined>(edges.dep_offsets.length - 1);
  }

  /** Negative if `a` sorts before `b`. 0 only for equal texts: Dask then follows set order, any order is as good. */
  readonly compare = (a: number, b: number): number => {
    if (this.#totals[a] !== this.#totals[b]) return this.#totals[a]! - this.#totals[b]!;
    const deps_a = this.#dep_offsets[a + 1]! - this.#dep_offsets[a]!;
    const deps_b = this.#dep_offsets[b + 1]! - this.#dep_offsets[b]!;
    if (deps_a !== deps_b) return deps_a - deps_b;
    // A root needs no root, says Dask; and with as many dependencies, the other is a root too.
    if (deps_a !== 0) {
      const { counts } = this.#sets;
      if (counts[a]! < 0 || counts[b]! < 0) this.#sets.complete();
      if (counts[a] !== counts[b]) return counts[a]! - counts[b]!;
    }
    if (this.#max_dependents[a] !== this.#max_dependents[b])
      return this.#max_dependents[b]! - this.#max_dependents[a]!;
    return this.#compareTexts(this.#texts[a] ?? this.#read(a), this.#texts[b] ?? this.#read(b));
  };

  #read(id: number): string {
    const text = this.#text(id);
    this.#has_surrogates ||= SURROGATE.test(text);
    this.#texts[id] = text;
    return text;
  }

  #compareTexts(a: string, b: string): number {
    if (a === b) return 0;
    return this.#has_surrogates ? compareCodePoints(a, b) : a < b ? -1 : 1;
  }
}

const SURROGATE = /[\ud800-\udfff]/;

/** Python compares code points, JavaScript UTF-16 units: they differ where a surrogate meets U+E000 … U+FFFF. */
export function compareCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  let i = 0;
  while (i < shorter && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === shorter) return a.length - b.length;
  const unit_a = a.charCodeAt(i);
  const unit_b = b.charCodeAt(i);
  const astral_a = unit_a >= 0xd800 && unit_a <= 0xdfff;
  const astral_b = unit_b >= 0xd800 && unit_b <= 0xdfff;
  if (astral_a !== astral_b) return astral_a ? 1 : -1;
  return unit_a - unit_b;
}

/** The most dependents that any root below a task has. */
function maxDependents(edges: Edges, topo: Int32Array): Int32Array {
  const { dep_offsets, deps, out_offsets } = edges;
  const result = new Int32Array(dep_offsets.length - 1);
  for (let i = 0; i < topo.length; i++) {
    const id = topo[i]!;
    const start = dep_offsets[id]!;
    const end = dep_offsets[id + 1]!;
    let most = start === end ? out_offsets[id + 1]! - out_offsets[id]! : 0;
    for (let e = start; e < end; e++) most = Math.max(most, result[deps[e]!]!);
    result[id] = most;
  }
  return result;
}
