/** What {@link orderGraph} is given: a graph as flat arrays. Nothing of it is changed. */
export interface OrderInput {
  /** Tasks of the graph: the ids 0 … count − 1, in the graph's own (insertion) order. */
  readonly count: number;
  /** Keys that tasks depend on but that the graph does not hold (futures known before): ids from `count` on. */
  readonly external_count?: number;
  /** `count + 1` offsets into `dependencies`. */
  readonly dependency_offsets: Uint32Array;
  /** Ids that each task depends on; an id that stands twice at one task counts once. */
  readonly dependencies: Uint32Array;
  /** 1 where Dask's `istask` is false: data nodes and literals that no worker runs. Absent: all are tasks. */
  readonly literals?: Uint8Array;
  /** Python's `str(key)` of an id (external ones too). Asked at most once an id, and only to break a tie. */
  readonly text: (id: number) => string;
}

/** A graph whose tasks wait for each other: it can never run. `cycle` starts and ends with the same id. */
export class GraphCycleError extends Error {
  override readonly name = "GraphCycleError";
  readonly cycle: readonly number[];

  constructor(cycle: readonly number[], text: (id: number) => string) {
    const shown = cycle.length <= CYCLE_KEYS_MAX ? cycle : cycle.slice(0, CYCLE_KEYS_MAX);
    const keys = shown.map((id) => `\n  -> ${text(id)}`).join("");
    const more = cycle.length - shown.length;
    super(`Cycle detected between the following keys:${keys}${more > 0 ? `\n  -> … ${more} more` : ""}`);
    this.cycle = cycle;
  }
}

/** A message with a million keys helps nobody. */
const CYCLE_KEYS_MAX = 20;

/** Both directions of a graph's edges, in compressed rows. */
export interface Edges {
  readonly dep_offsets: Int32Array;
  readonly deps: Int32Array;
  readonly out_offsets: Int32Array;
  readonly outs: Int32Array;
}

/**
 * The edges with external keys numbered in the order in which they are first met (Dask appends them to the
 * graph in that order) and repeated dependencies dropped.
 * Throws RangeError where the arrays do not fit together.
 */
export function readEdges(graph: OrderInput): { edges: Edges; size: number; external_ids: Int32Array } {
  const { count, dependency_offsets, dependencies } = graph;
  const declared = count + (graph.external_count ?? 0);
  checkShape(graph, declared);
  const external = new Int32Array(declared - count).fill(-1);
  const external_ids = new Int32Array(declared - count);
  const seen = new Int32Array(declared).fill(-1);
  const dep_offsets = new Int32Array(declared + 1);
  const deps = new Int32Array(dependencies.length);
  let at = 0;
  let size = count;
  for (let task = 0; task < count; task++) {
    const end = dependency_offsets[task + 1]!;
    for (let e = dependency_offsets[task]!; e < end; e++) {
      let dep = dependencies[e]!;
      if (dep >= count) {
        if (dep >= declared)
          throw new RangeError(`dependency ${dep} of task ${task} is not an id of the graph`);
        if (external[dep - count]! < 0) {
          external_ids[size - count] = dep;
          external[dep - count] = size++;
        }
        dep = external[dep - count]!;
      }
      if (seen[dep] === task) continue;
      seen[dep] = task;
      deps[at++] = dep;
    }
    dep_offsets[task + 1] = at;
  }
  dep_offsets.fill(at, count + 1);
  const own = at === deps.length ? deps : deps.slice(0, at);
  return { edges: withDependents(size, dep_offsets.subarray(0, size + 1), own), size, external_ids };
}

function checkShape(graph: OrderInput, declared: number): void {
  const { count, dependency_offsets, dependencies, literals } = graph;
  if (dependency_offsets.length !== count + 1)
    throw new RangeError("dependency_offsets must have count + 1 items");
  if (literals !== undefined && literals.length < count)
    throw new RangeError("literals must have count items");
  if (declared > 0x3fff_ffff || dependencies.length > 0x3fff_ffff)
    throw new RangeError("graph too large to order");
  for (let task = 0; task < count; task++) {
    if (dependency_offsets[task]! > dependency_offsets[task + 1]!)
      throw new RangeError(`dependency_offsets decrease at task ${task}`);
  }
  if (dependency_offsets[count]! > dependencies.length)
    throw new RangeError("dependency_offsets pass the end");
}

/** Adds the reverse direction: the dependents of a task stand in the order of the graph, as Dask meets them. */
export function withDependents(size: number, dep_offsets: Int32Array, deps: Int32Array): Edges {
  const out_offsets = new Int32Array(size + 1);
  for (let e = 0; e < deps.length; e++) out_offsets[deps[e]! + 1]!++;
  for (let id = 0; id < size; id++) out_offsets[id + 1]! += out_offsets[id]!;
  const outs = new Int32Array(deps.length);
  const next = out_offsets.slice();
  for (let id = 0; id < size; id++) {
    const end = dep_offsets[id + 1]!;
    for (let e = dep_offsets[id]!; e < end; e++) {
      const dep = deps[e]!;
      outs[next[dep]!++] = id;
    }
  }
  return { dep_offsets, deps, out_offsets, outs };
}

/**
 * The ids still in the graph, dependencies first.
 * Throws {@link GraphCycleError} if there is no such order.
 */
export function topologicalOrder(
  edges: Edges,
  removed: Uint8Array | null,
  text: (id: number) => string,
): Int32Array {
  const { dep_offsets, out_offsets, outs } = edges;
  const size = dep_offsets.length - 1;
  const needed = new Int32Array(size);
  const topo = new Int32Array(size);
  let alive = 0;
  let tail = 0;
  for (let id = 0; id < size; id++) {
    if (removed !== null && removed[id] === 1) continue;
    alive++;
    needed[id] = dep_offsets[id + 1]! - dep_offsets[id]!;
    if (needed[id] === 0) topo[tail++] = id;
  }
  for (let head = 0; head < tail; head++) {
    const id = topo[head]!;
    const end = out_offsets[id + 1]!;
    for (let e = out_offsets[id]!; e < end; e++) {
      const out = outs[e]!;
      if (--needed[out]! === 0) topo[tail++] = out;
    }
  }
  if (tail !== alive) throw new GraphCycleError(findCycle(edges, needed), text);
  return topo.subarray(0, tail);
}

/** Whatever could not be reached waits for something that could not be reached: following that ends in a circle. */
function findCycle(edges: Edges, needed: Int32Array): number[] {
  const { dep_offsets, deps } = edges;
  const visited = new Int32Array(needed.length).fill(-1);
  const path: number[] = [];
  let id = needed.findIndex((count) => count > 0);
  while (visited[id] === -1) {
    visited[id] = path.length;
    path.push(id);
    let e = dep_offsets[id]!;
    while (needed[deps[e]!] === 0) e++;
    id = deps[e]!;
  }
  return [...path.slice(visited[id]!), id];
}
