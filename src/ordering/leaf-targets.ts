import type { RootSets } from "./root-sets.ts";

/**
 * Picks the leaf that needs the fewest further roots; among those one that already has a dependency done, if
 * there is any; then the first by sort key. Leaves that need the same roots stay level, so they form a class;
 * a tournament over the classes replaces Dask's sets of leaves by degree, which it walks for each target.
 */
export class LeafTargets {
  /** The leaves of the graph from the first to the last by sort key. */
  readonly #ranked: Int32Array;
  /** Class of each leaf by its rank, -1 for a leaf that is a root. */
  readonly #class_of_rank: Int32Array;
  /** Roots of a class that are not done; 0: all of its leaves can be had for nothing, they are no targets. */
  readonly #degrees: Int32Array;
  readonly #first_ranks: Int32Array;
  readonly #touched_ranks: Int32Array;
  readonly #class_offsets: Int32Array;
  readonly #classes: Int32Array;
  readonly #winners: Int32Array;
  readonly #base: number;
  readonly #dirty: Int32Array;
  readonly #is_dirty: Uint8Array;
  #dirty_count = 0;

  /** `isDone` tells of a root by its number, `isTouched` of a leaf by its id, as things stand. */
  constructor(options: {
    ranked: Int32Array;
    relation: LeafRelation;
    isDone: (root: number) => boolean;
    isTouched: (leaf: number) => boolean;
  }) {
    const { ranked, relation, isDone, isTouched } = options;
    const { class_count, class_offsets, classes } = relation;
    this.#ranked = ranked;
    this.#class_of_rank = relation.class_of_rank;
    this.#class_offsets = class_offsets;
    this.#classes = classes;
    this.#degrees = new Int32Array(class_count);
    this.#first_ranks = new Int32Array(class_count).fill(NEVER);
    this.#touched_ranks = new Int32Array(class_count).fill(NEVER);
    for (let root = 0; root + 1 < class_offsets.length; root++) {
      if (isDone(root)) continue;
      for (let e = class_offsets[root]!; e < class_offsets[root + 1]!; e++) this.#degrees[classes[e]!]!++;
    }
    for (let rank = ranked.length - 1; rank >= 0; rank--) {
      const c = this.#class_of_rank[rank]!;
      if (c < 0) continue;
      this.#first_ranks[c] = rank;
      if (isTouched(ranked[rank]!)) this.#touched_ranks[c] = rank;
    }
    this.#base = 1 << Math.max(0, 32 - Math.clz32(class_count - 1));
    this.#winners = new Int32Array(2 * this.#base).fill(-1);
    this.#dirty = new Int32Array(class_count);
    this.#is_dirty = new Uint8Array(class_count);
    for (let c = 0; c < class_count; c++) this.#winners[this.#base + c] = c;
    for (let node = this.#base - 1; node > 0; node--) this.#play(node);
  }

  rootDone(root: number): void {
    const end = this.#class_offsets[root + 1]!;
    for (let e = this.#class_offsets[root]!; e < end; e++) {
      const c = this.#classes[e]!;
      this.#degrees[c]!--;
      this.#mark(c);
    }
  }

  leafTouched(rank: number): void {
    const c = this.#class_of_rank[rank]!;
    if (c < 0 || rank >= this.#touched_ranks[c]!) return;
    this.#touched_ranks[c] = rank;
    this.#mark(c);
  }

  /** The next target's id, -1 if no leaf needs a root any more. */
  next(): number {
    this.#replay();
    const c = this.#winners[1]!;
    if (c < 0 || this.#degrees[c] === 0) return -1;
    const touched = this.#touched_ranks[c]!;
    return this.#ranked[touched === NEVER ? this.#first_ranks[c]! : touched]!;
  }

  /** Plays the games again that changed: up from each class, or, with many classes, all of them once. */
  #replay(): void {
    const all = this.#dirty_count * (32 - Math.clz32(this.#base)) >= this.#base;
    for (let i = 0; i < this.#dirty_count; i++) {
      const c = this.#dirty[i]!;
      this.#is_dirty[c] = 0;
      if (all) continue;
      for (let node = (this.#base + c) >>> 1; node > 0; node >>>= 1) this.#play(node);
    }
    if (all) for (let node = this.#base - 1; node > 0; node--) this.#play(node);
    this.#dirty_count = 0;
  }

  #mark(c: number): void {
    if (this.#is_dirty[c] === 1) return;
    this.#is_dirty[c] = 1;
    this.#dirty[this.#dirty_count++] = c;
  }

  #play(node: number): void {
    const a = this.#winners[2 * node]!;
    const b = this.#winners[2 * node + 1]!;
    this.#winners[node] = b < 0 || (a >= 0 && !this.#beats(b, a)) ? a : b;
  }

  #beats(b: number, a: number): boolean {
    const degree_a = this.#degrees[a]!;
    const degree_b = this.#degrees[b]!;
    if (degree_a !== degree_b) return degree_a === 0 || (degree_b !== 0 && degree_b < degree_a);
    const touched_a = this.#touched_ranks[a]!;
    const touched_b = this.#touched_ranks[b]!;
    if (touched_a !== touched_b) return touched_b < touched_a;
    return this.#first_ranks[b]! < this.#first_ranks[a]!;
  }
}

const NEVER = 0x7fff_ffff;

/** Which classes of leaves each root leads to, in compressed rows by the number of the root. */
export interface LeafRelation {
  readonly class_count: number;
  readonly class_of_rank: Int32Array;
  readonly class_sizes: Int32Array;
  readonly class_offsets: Int32Array;
  readonly classes: Int32Array;
}

/** Pairs of root and class that are kept: 128 MB. */
const PAIRS_MAX = 1 << 25;

/** The relation of roots and leaves, or null where a limit (here, or of the sets) was reached. */
export function relateLeaves(
  ranked: Int32Array,
  isRoot: (id: number) => boolean,
  sets: RootSets,
): LeafRelation | null {
  sets.complete();
  const class_of_owner = new Map<number, number>();
  const class_of_rank = new Int32Array(ranked.length).fill(-1);
  const class_sizes = new Int32Array(ranked.length);
  let pairs = 0;
  for (let rank = 0; rank < ranked.length; rank++) {
    const leaf = ranked[rank]!;
    if (isRoot(leaf)) continue;
    const owner = sets.owners[leaf]!;
    if (owner < 0) return null;
    let c = class_of_owner.get(owner);
    if (c === undefined) {
      c = class_of_owner.size;
      class_of_owner.set(owner, c);
      pairs += sets.counts[owner]!;
      if (pairs > PAIRS_MAX) return null;
    }
    class_of_rank[rank] = c;
    class_sizes[c]!++;
  }
  const class_offsets = new Int32Array(sets.root_count + 1);
  for (const owner of class_of_owner.keys()) {
    sets.forEach(owner, (root) => {
      class_offsets[root + 1]!++;
    });
  }
  for (let root = 0; root < sets.root_count; root++) class_offsets[root + 1]! += class_offsets[root]!;
  const next = class_offsets.slice();
  const classes = new Int32Array(pairs);
  for (const [owner, c] of class_of_owner) {
    sets.forEach(owner, (root) => {
      classes[next[root]!++] = c;
    });
  }
  return { class_count: class_of_owner.size, class_of_rank, class_sizes, class_offsets, classes };
}
