import { type OrderInput, topologicalOrder } from "./graph.ts";
import { type LeafRelation, LeafTargets, relateLeaves } from "./leaf-targets.ts";
import { type PreparedGraph, prepareGraph } from "./literals.ts";
import { RootSets } from "./root-sets.ts";
import { SortKeys } from "./sort-key.ts";
import { Walk } from "./walk.ts";

/**
 * The priority of each task, lowest first: the static order of `dask.order` 2026.8.0 (the function of the same
 * name in dask/order.py), where its sets are taken to keep the order of insertion. Dependencies always come
 * before their dependents, except that literals that merely name other keys may stand anywhere.
 *
 * Throws {@link GraphCycleError} if tasks wait for each other (or for themselves), RangeError if the arrays do
 * not fit together. Takes time and memory in proportion to the graph, up to the limits named in root-sets.ts and
 * walk.ts; beyond them the order is a valid one, but not Dask's.
 */
export function orderGraph(graph: OrderInput): Int32Array {
  const prepared = prepareGraph(graph);
  const { edges, external_ids, removed, roots } = prepared;
  const { count } = graph;
  const text = (id: number): string => graph.text(id < count ? id : external_ids[id - count]!);
  const topo = topologicalOrder(edges, removed, text);
  const sets = new RootSets(edges, topo);
  const { compare } = new SortKeys(edges, topo, sets, text);
  const targets = new Targets(prepared, sets, compare);
  const walk = new Walk(prepared, {
    compare,
    count,
    nextTarget: () => targets.next(walk),
    onRoot: (id) => targets.rootDone(id),
    onLeafTouched: (id) => targets.leafTouched(id),
  });
  if (roots.length > 0) walk.run();
  walk.finish(topo);
  return walk.priorities.slice(0, count);
}

/** Which leaf to go for next: Dask's `get_target` and the choice of strategy before it. */
class Targets {
  readonly #sets: RootSets;
  readonly #is_root: (id: number) => boolean;
  readonly #ranked: Int32Array;
  readonly #rank_of: Int32Array;
  readonly #longest_first: boolean;
  #relation: LeafRelation | null | undefined;
  #by_degree: LeafTargets | null = null;
  #first = 0;
  #last: number;

  constructor(graph: PreparedGraph, sets: RootSets, compare: (a: number, b: number) => number) {
    const { edges, size, removed, roots } = graph;
    this.#sets = sets;
    this.#is_root = (id) => edges.dep_offsets[id] === edges.dep_offsets[id + 1];
    const leaves: number[] = [];
    for (let id = 0; id < size; id++) {
      const alive = removed === null || removed[id] === 0;
      if (alive && edges.out_offsets[id] === edges.out_offsets[id + 1]) leaves.push(id);
    }
    this.#ranked = Int32Array.from(leaves).sort(compare);
    this.#rank_of = new Int32Array(size).fill(-1);
    for (let rank = 0; rank < this.#ranked.length; rank++) this.#rank_of[this.#ranked[rank]!] = rank;
    this.#last = this.#ranked.length - 1;
    this.#longest_first = this.#useLongestPath(roots);
  }

  /** The next target, -1 at the end. A target may be done already. */
  next(walk: Walk): number {
    if (walk.touched_count > 0 && this.#first <= this.#last) {
      this.#by_degree ??= this.#makeByDegree(walk);
      const target = this.#by_degree?.next() ?? -1;
      if (target >= 0) return target;
    }
    if (this.#first > this.#last) return -1;
    return this.#ranked[this.#longest_first ? this.#last-- : this.#first++]!;
  }

  rootDone(id: number): void {
    if (this.#by_degree !== null) this.#by_degree.rootDone(this.#sets.firsts[id]!);
  }

  leafTouched(id: number): void {
    if (this.#by_degree !== null) this.#by_degree.leafTouched(this.#rank_of[id]!);
  }

  /** Made late: many graphs (one leaf; leaves that share nothing) never ask for it. */
  #makeByDegree(walk: Walk): LeafTargets | null {
    const relation = this.#relate();
    if (relation === null) return null;
    const done = new Uint8Array(this.#sets.root_count);
    for (let id = 0; id < walk.priorities.length; id++)
      if (this.#is_root(id) && this.#sets.firsts[id]! >= 0 && walk.priorities[id]! >= 0)
        done[this.#sets.firsts[id]!] = 1;
    return new LeafTargets({
      ranked: this.#ranked,
      relation,
      isDone: (root) => done[root] === 1,
      isTouched: (leaf) => walk.touched[leaf] === 1,
    });
  }

  /**
   * Graphs with about as many roots as leaves are taken by the shortest path first if their roots lead to
   * different numbers of leaves.
   */
  #useLongestPath(roots: Int32Array): boolean {
    if (Math.abs(roots.length - this.#ranked.length) / roots.length >= 0.8) return true;
    const relation = this.#relate();
    if (relation === null) return true;
    let size = 0;
    for (const id of roots) {
      // A root that is a leaf leads to none, and passes for "not yet known" while it comes first.
      let leaves = 0;
      const root = this.#sets.firsts[id]!;
      for (let e = relation.class_offsets[root]!; e < relation.class_offsets[root + 1]!; e++)
        leaves += relation.class_sizes[relation.classes[e]!]!;
      if (size === 0) size = leaves;
      else if (size !== leaves) return false;
    }
    return true;
  }

  #relate(): LeafRelation | null {
    if (this.#relation === undefined) this.#relation = relateLeaves(this.#ranked, this.#is_root, this.#sets);
    return this.#relation;
  }
}
