import { type Edges, type OrderInput, readEdges, withDependents } from "./graph.ts";

/** A graph without what Dask takes out before it orders. */
export interface PreparedGraph {
  readonly edges: Edges;
  /** Ids of `edges`: the tasks, then the external keys in the order in which they are met. */
  readonly size: number;
  /** The input's id of the external key `count + i`. */
  readonly external_ids: Int32Array;
  /** 1 for ids that are no longer in the graph; null if none was taken out. */
  readonly removed: Uint8Array | null;
  /** Ids without dependencies, in the order in which Dask's `root_nodes` meets them. */
  readonly roots: Int32Array;
  /** Removed leaves with their priority. */
  readonly placed: readonly { readonly id: number; readonly priority: number }[];
  /** Removed data, by the task that needs it: placed right before the first such task. */
  readonly data_of: ReadonlyMap<number, readonly number[]>;
}

/**
 * Reads the graph and takes out literals as Dask does: leaves that merely name several keys are placed at the
 * very end; data that several tasks share is placed with the first of them. External keys count as data.
 */
export function prepareGraph(graph: OrderInput): PreparedGraph {
  const { edges, size, external_ids } = readEdges(graph);
  const literals = new Uint8Array(size);
  if (graph.literals !== undefined) literals.set(graph.literals.subarray(0, graph.count));
  literals.fill(1, graph.count);
  const stripper = new Stripper(edges, literals);
  stripper.run();
  const kept = stripper.removed_count === 0 ? edges : withoutRemoved(edges, stripper.removed);
  return {
    edges: kept,
    size,
    external_ids,
    removed: stripper.removed_count === 0 ? null : stripper.removed,
    roots: Int32Array.from(stripper.roots.filter((id) => stripper.removed[id] === 0)),
    placed: stripper.placed,
    data_of: stripper.data_of,
  };
}

class Stripper {
  readonly removed: Uint8Array;
  readonly placed: { id: number; priority: number }[] = [];
  readonly data_of = new Map<number, number[]>();
  readonly roots: number[] = [];
  removed_count = 0;
  readonly #edges: Edges;
  readonly #literals: Uint8Array;
  readonly #leaves: number[] = [];
  readonly #dep_counts: Int32Array;
  readonly #out_counts: Int32Array;

  constructor(edges: Edges, literals: Uint8Array) {
    const size = literals.length;
    this.#edges = edges;
    this.#literals = literals;
    this.removed = new Uint8Array(size);
    this.#dep_counts = new Int32Array(size);
    this.#out_counts = new Int32Array(size);
    for (let id = 0; id < size; id++) {
      this.#dep_counts[id] = edges.dep_offsets[id + 1]! - edges.dep_offsets[id]!;
      this.#out_counts[id] = edges.out_offsets[id + 1]! - edges.out_offsets[id]!;
      if (this.#dep_counts[id] === 0) this.roots.push(id);
      if (this.#out_counts[id] === 0) this.#leaves.push(id);
    }
  }

  run(): void {
    if (this.#literals.indexOf(1) < 0) return;
    let before: number;
    do {
      before = this.placed.length;
      this.#stripLeaves();
      this.#stripRoots();
    } while (this.placed.length > before);
  }

  #stripLeaves(): void {
    const { dep_offsets, deps } = this.#edges;
    // Leaves found meanwhile wait for the next pass, as in Dask: it decides their numbers.
    const passed = this.#leaves.length;
    for (let i = 0; i < passed; i++) {
      const leaf = this.#leaves[i]!;
      if (this.#literals[leaf] === 0 || this.removed[leaf] === 1 || this.#dep_counts[leaf]! <= 1) continue;
      // Dask subtracts the number of removed leaves from the size of a graph that shrinks with each: steps of two.
      const left = this.removed.length - this.removed_count;
      this.placed.push({ id: leaf, priority: left - 1 - this.placed.length });
      this.#remove(leaf);
      for (let e = dep_offsets[leaf]!; e < dep_offsets[leaf + 1]!; e++) {
        const dep = deps[e]!;
        if (this.removed[dep] === 1) continue;
        if (--this.#out_counts[dep]! === 0) this.#leaves.push(dep);
      }
    }
    this.#dropRemoved(this.#leaves);
  }

  #stripRoots(): void {
    const { out_offsets, outs } = this.#edges;
    const passed = this.roots.length;
    for (let i = 0; i < passed; i++) {
      const root = this.roots[i]!;
      if (this.#literals[root] === 0 || this.#out_counts[root]! <= 1) continue;
      this.#remove(root);
      for (let e = out_offsets[root]!; e < out_offsets[root + 1]!; e++) {
        const out = outs[e]!;
        if (this.removed[out] === 1) continue;
        const data = this.data_of.get(out);
        if (data === undefined) this.data_of.set(out, [root]);
        else data.push(root);
        if (--this.#dep_counts[out]! === 0) this.roots.push(out);
      }
    }
    this.#dropRemoved(this.roots);
  }

  #remove(id: number): void {
    this.removed[id] = 1;
    this.removed_count++;
  }

  #dropRemoved(ids: number[]): void {
    let kept = 0;
    for (const id of ids) if (this.removed[id] === 0) ids[kept++] = id;
    ids.length = kept;
  }
}

function withoutRemoved(edges: Edges, removed: Uint8Array): Edges {
  const size = removed.length;
  const dep_offsets = new Int32Array(size + 1);
  const deps = new Int32Array(edges.deps.length);
  let at = 0;
  for (let id = 0; id < size; id++) {
    if (removed[id] === 0) {
      for (let e = edges.dep_offsets[id]!; e < edges.dep_offsets[id + 1]!; e++) {
        const dep = edges.deps[e]!;
        if (removed[dep] === 0) deps[at++] = dep;
      }
    }
    dep_offsets[id + 1] = at;
  }
  return withDependents(size, dep_offsets, deps.slice(0, at));
}
