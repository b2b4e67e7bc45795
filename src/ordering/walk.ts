import { IntStack } from "../base/typed-arrays.ts";
import type { PreparedGraph } from "./literals.ts";
import { NO_STEP, Paths } from "./paths.ts";

/** What the walk needs to know beside the graph. */
export interface WalkGuide {
  /** Dask's sort key, see SortKeys. */
  readonly compare: (a: number, b: number) => number;
  /** Tasks of the input: ids from here on are external keys, which get no number of their own. */
  readonly count: number;
  /** The dearest leaf to go for next, -1 if there is none left. */
  readonly nextTarget: () => number;
  /** Called for each root when it is placed. */
  readonly onRoot: (id: number) => void;
  /** Called for each leaf when the first of its dependencies is placed. */
  readonly onLeafTouched: (id: number) => void;
}

/**
 * Dask's walk: along a critical path backwards from a target leaf, taking with it what has become runnable and
 * leads on without further data. The rules are those of dask/order.py 2026.8.0, with sets that keep the order
 * of insertion; see docs there for why. One walk orders one graph.
 */
export class Walk {
  /** Priority of each id, -1 where there is none yet. */
  readonly priorities: Int32Array;
  /** Tasks touched by what is placed, not placed themselves (Dask: reachable_hull). */
  readonly touched: Uint8Array;
  touched_count = 0;
  readonly #graph: PreparedGraph;
  readonly #guide: WalkGuide;
  readonly #needed: Int32Array;
  readonly #is_root: Uint8Array;
  /** Dask: runnable_hull. */
  readonly #in_path: Uint8Array;
  #runnable = new IntStack();
  #candidates = new IntStack();
  readonly #critical = new IntStack();
  readonly #scratch = new IntStack();
  readonly #paths = new Paths();
  /** Paths that end at a task which waits for more (Dask: known_runnable_paths). */
  readonly #known: (number[] | undefined)[];
  #known_count = 0;
  #next_priority = 0;
  #steps_left: number;

  constructor(graph: PreparedGraph, guide: WalkGuide) {
    const { size, edges } = graph;
    this.#graph = graph;
    this.#guide = guide;
    this.priorities = new Int32Array(size).fill(-1);
    this.touched = new Uint8Array(size);
    this.#in_path = new Uint8Array(size);
    this.#is_root = new Uint8Array(size);
    this.#needed = new Int32Array(size);
    for (let id = 0; id < size; id++) this.#needed[id] = edges.dep_offsets[id + 1]! - edges.dep_offsets[id]!;
    for (const root of graph.roots) this.#is_root[root] = 1;
    for (const { id, priority } of graph.placed) this.priorities[id] = priority;
    this.#known = new Array<number[] | undefined>(size);
    this.#steps_left = STEPS_MIN + STEPS_PER_TASK * (size + edges.deps.length);
  }

  /** Goes for one target after the other. False if it gave up: {@link finish} then places the rest. */
  run(): boolean {
    for (let target = this.#guide.nextTarget(); target >= 0; target = this.#guide.nextTarget()) {
      // A target that is done would change nothing: all it needs is done, and nothing is left to run.
      if (this.priorities[target]! >= 0) continue;
      this.#buildCriticalPath(target);
      this.#walkCriticalPath();
      this.#processRunnables();
      if (this.#steps_left <= 0) return false;
    }
    return true;
  }

  /** Places whatever is left, in the order of `topo`: a valid order, if not Dask's. */
  finish(topo: Int32Array): void {
    for (let i = 0; i < topo.length; i++) if (this.priorities[topo[i]!]! < 0) this.#place(topo[i]!);
    for (let id = 0; id < this.priorities.length; id++)
      if (this.priorities[id]! < 0) this.priorities[id] = this.#next_priority++;
  }

  #buildCriticalPath(target: number): void {
    const { dep_offsets, deps } = this.#graph.edges;
    const { compare } = this.#guide;
    const critical = this.#critical;
    critical.push(target);
    let id = target;
    let only_open = false;
    for (;;) {
      let best = -1;
      const end = dep_offsets[id + 1]!;
      for (let e = dep_offsets[id]!; e < end; e++) {
        const dep = deps[e]!;
        if (only_open && this.priorities[dep]! >= 0) continue;
        // All but the target's own dependencies are on the path at once, in their own order.
        if (only_open) critical.push(dep);
        if (best < 0 || compare(dep, best) > 0) best = dep;
      }
      this.#steps_left -= end - dep_offsets[id]! + 1;
      if (best < 0) return;
      critical.push(best);
      id = best;
      only_open = true;
    }
  }

  #walkCriticalPath(): void {
    const critical = this.#critical;
    let walked_back = false;
    while (critical.length > 0) {
      if (--this.#steps_left <= 0) return;
      const id = critical.pop();
      if (this.priorities[id]! >= 0) continue;
      if (this.#needed[id]! > 0) {
        critical.push(id);
        if (this.#walkBack(id) > 1) walked_back = true;
      } else {
        if (walked_back && this.#runnable.length < critical.length) this.#processRunnables();
        this.#place(id);
      }
    }
  }

  /** Puts what `id` waits for on the critical path; answers how many of those no runnable path leads to. */
  #walkBack(id: number): number {
    const { dep_offsets, deps } = this.#graph.edges;
    const open = this.#scratch;
    open.length = 0;
    const end = dep_offsets[id + 1]!;
    for (let e = dep_offsets[id]!; e < end; e++) if (this.priorities[deps[e]!]! < 0) open.push(deps[e]!);
    sort(open, this.#guide.compare);
    const critical = this.#critical;
    const before = critical.length;
    for (let i = 0; i < open.length; i++)
      if (this.#known[open.items[i]!] === undefined) critical.push(open.items[i]!);
    const unknown = critical.length - before;
    if (unknown < open.length) this.#pushKnownPaths(open);
    this.#steps_left -= critical.length - before;
    return unknown;
  }

  #pushKnownPaths(open: IntStack): void {
    const paths = this.#paths;
    for (let i = 0; i < open.length; i++) {
      for (const path of this.#takeKnown(open.items[i]!) ?? []) {
        for (let step = path; step !== NO_STEP; step = paths.parent(step)) {
          this.#critical.push(paths.last(step));
          if (--this.#steps_left <= 0) return;
        }
      }
    }
  }

  /** Dask's process_runnables: walks forward from all that can run up to the next task that waits for more. */
  #processRunnables(): void {
    while (this.#runnable.length > 0) {
      const candidates = this.#runnable;
      this.#runnable = this.#candidates;
      this.#candidates = candidates;
      while (candidates.length > 0) {
        const id = candidates.pop();
        if (this.#in_path[id] === 1 || this.priorities[id]! >= 0) continue;
        if (this.#outCount(id) === 0) this.#place(id);
        else this.#walkForward(id);
      }
    }
    if (this.#known_count === 0) this.#paths.clear();
  }

  #walkForward(id: number): void {
    const branches: Branch[] = [{ splits: 0, path: this.#paths.start(id) }];
    for (let head = 0; head < branches.length && this.#steps_left > 0; head++) {
      const { splits, path } = branches[head]!;
      this.#followBranch(path, splits, branches);
    }
  }

  #followBranch(start: number, splits: number, branches: Branch[]): void {
    const { dep_offsets, out_offsets, outs } = this.#graph.edges;
    const paths = this.#paths;
    let path = start;
    for (;;) {
      if (--this.#steps_left <= 0) return;
      const id = paths.last(path);
      this.#in_path[id] = 1;
      const out_count = out_offsets[id + 1]! - out_offsets[id]!;
      if (out_count > 0 && (paths.isSingle(path) || dep_offsets[id + 1]! - dep_offsets[id]! === 1)) {
        if (out_count > 1) {
          this.#split(path, splits + 1, branches);
          return;
        }
        path = paths.extend(path, outs[out_offsets[id]!]!);
        continue;
      }
      this.#endPath(path, splits, branches);
      return;
    }
  }

  /** Goes on with each dependent that nothing else is needed for; the others interleave with other paths. */
  #split(path: number, splits: number, branches: Branch[]): void {
    const { dep_offsets, out_offsets, outs } = this.#graph.edges;
    const id = this.#paths.last(path);
    const next = this.#scratch;
    next.length = 0;
    const end = out_offsets[id + 1]!;
    for (let e = out_offsets[id]!; e < end; e++) {
      const out = outs[e]!;
      if (dep_offsets[out + 1]! - dep_offsets[out]! === 1) next.push(out);
    }
    this.#steps_left -= end - out_offsets[id]!;
    sort(next, this.#guide.compare);
    for (let i = 0; i < next.length; i++)
      branches.push({ splits, path: this.#paths.extend(path, next.items[i]!) });
  }

  /** A path has come to a leaf, or to a task that needs more than this path. */
  #endPath(path: number, splits: number, branches: Branch[]): void {
    const id = this.#paths.last(path);
    const known = this.#known[id];
    if (this.#outCount(id) > 0 && known !== undefined) {
      known.push(path);
      this.#in_path[id] = 0;
      if (known.length >= this.#needed[id]!) this.#endKnownPaths(id, splits, branches);
    } else if (this.#needed[id]! <= 1) {
      this.#placePath(path);
    } else {
      this.#in_path[id] = 0;
      if (this.#outCount(id) > 0) {
        this.#known[id] = [path];
        this.#known_count++;
      }
    }
  }

  /** As many paths lead to `id` as it needs: they run, unless the whole is inside a larger split. */
  #endKnownPaths(id: number, splits: number, branches: Branch[]): void {
    const open: number[] = [];
    for (const path of this.#takeKnown(id)!)
      if (this.priorities[this.#paths.last(this.#paths.parent(path))]! < 0) open.push(path);
    if (open.length < this.#needed[id]!) {
      this.#known[id] = open;
      this.#known_count++;
    } else if (splits > 1 && open.length > 0) {
      const before = this.#paths.length;
      branches.push({ splits: splits - 1, path: this.#paths.join(open) });
      this.#steps_left -= this.#paths.length - before;
    } else {
      this.#placePathsInTurn(open);
    }
  }

  /** Places paths as far as they can run; one that has to wait for another goes to the end of the queue. */
  #placePathsInTurn(queue: number[]): void {
    let waiting = 0;
    for (let head = 0; head < queue.length; head++) {
      const before = this.#next_priority;
      if (!this.#placePath(queue[head]!)) queue.push(queue[head]!);
      // A whole round without progress: the critical path has to fetch what they wait for.
      waiting = this.#next_priority > before ? 0 : waiting + 1;
      if (waiting > queue.length - head) return;
    }
  }

  /** Places a path from its start up to the first task that waits; false if there is one. */
  #placePath(path: number): boolean {
    const paths = this.#paths;
    const steps = this.#scratch;
    steps.length = 0;
    for (let step = path; step !== NO_STEP; step = paths.parent(step)) {
      const id = paths.last(step);
      if (this.priorities[id]! >= 0) {
        if (paths.isChain(step)) break;
        continue;
      }
      steps.push(id);
    }
    this.#steps_left -= steps.length;
    while (steps.length > 0) {
      const id = steps.pop();
      if (this.#needed[id]! > 0) return false;
      this.#place(id);
    }
    return true;
  }

  /** Dask's add_to_result: places a task and, in a row, each single dependent that it sets free. */
  #place(first: number): void {
    const { out_offsets, outs } = this.#graph.edges;
    const needed = this.#needed;
    let id = first;
    while (id >= 0) {
      this.#in_path[id] = 0;
      this.#untouch(id);
      if (this.priorities[id]! >= 0) return;
      if (this.#graph.data_of.size > 0) this.#placeData(id);
      this.#number(id);
      if (this.#is_root[id] === 1) this.#guide.onRoot(id);
      const start = out_offsets[id + 1]! - 1;
      const alone = start === out_offsets[id]!;
      let next = -1;
      for (let e = out_offsets[id]!; e <= start; e++) {
        const out = outs[e]!;
        this.#touch(out);
        if (--needed[out]! > 0) continue;
        if (alone) next = out;
        else this.#runnable.push(out);
      }
      id = next;
    }
  }

  /** Data was taken out of the graph; it is placed before the first task that needs it. */
  #placeData(id: number): void {
    const data_of = this.#graph.data_of;
    const first = data_of.get(id);
    if (first === undefined) return;
    // Data that is an alias of other data needs that first: a stack, as such chains may be long.
    const pending = [{ owner: id, items: first, at: 0 }];
    while (pending.length > 0) {
      const top = pending.at(-1)!;
      if (top.at === top.items.length) {
        pending.pop();
        if (top.owner !== id) this.#number(top.owner);
        continue;
      }
      const data = top.items[top.at++]!;
      if (this.priorities[data]! < 0) pending.push({ owner: data, items: data_of.get(data) ?? [], at: 0 });
    }
  }

  #number(id: number): void {
    this.priorities[id] = this.#next_priority;
    if (id < this.#guide.count) this.#next_priority++;
  }

  #touch(id: number): void {
    if (this.touched[id] === 1) return;
    this.touched[id] = 1;
    this.touched_count++;
    if (this.#outCount(id) === 0) this.#guide.onLeafTouched(id);
  }

  #untouch(id: number): void {
    if (this.touched[id] === 0) return;
    this.touched[id] = 0;
    this.touched_count--;
  }

  #takeKnown(id: number): number[] | undefined {
    const known = this.#known[id];
    if (known !== undefined) {
      this.#known[id] = undefined;
      this.#known_count--;
    }
    return known;
  }

  #outCount(id: number): number {
    const { out_offsets } = this.#graph.edges;
    return out_offsets[id + 1]! - out_offsets[id]!;
  }
}

interface Branch {
  readonly splits: number;
  readonly path: number;
}

/**
 * Dask's rules take quadratic time on some graphs. After this many steps (a second or so for a small graph) the
 * rest is placed in a plain order: a scheduler must not stand still for one client's graph.
 */
const STEPS_MIN = 1 << 28;
const STEPS_PER_TASK = 64;

/** Most rows have two or three ids: an insertion sort spares the call and the copies of the built-in one. */
function sort(ids: IntStack, compare: (a: number, b: number) => number): void {
  const { items, length } = ids;
  if (length > 12) {
    items.subarray(0, length).sort(compare);
    return;
  }
  for (let i = 1; i < length; i++) {
    const id = items[i]!;
    let at = i;
    while (at > 0 && compare(items[at - 1]!, id) > 0) {
      items[at] = items[at - 1]!;
      at--;
    }
    items[at] = id;
  }
}
