import type { Edges } from "./graph.ts";

/**
 * For each task the roots that it needs, directly or not. Most tasks share their set with a dependency, and
 * inside a tree the sets are disjoint; so sets are of three kinds: a *range* (roots are numbered so that every
 * tree holds a range of them: a tree costs nothing), a *list*, and a *bitmap* once a list would be longer.
 * A set is named by the task that first had it.
 */
export class RootSets {
  /** Roots each task needs; itself for a root. 0 where the limits below were reached. */
  readonly counts: Int32Array;
  /** Number of a root among all roots, the one that sets hold. */
  readonly firsts: Int32Array;
  /** The set of each task: the id of the task that first had it, or -1 where the limits were reached. */
  readonly owners: Int32Array;
  readonly root_count: number;
  readonly #edges: Edges;
  readonly #topo: Int32Array;
  readonly #kinds: Uint8Array;
  readonly #offsets: Int32Array;
  readonly #members = new Words();
  readonly #stamps: Int32Array;
  readonly #owner_stamps: Int32Array;
  readonly #bitmap: Uint32Array;
  readonly #known = new Map<number, number>();
  #stamp = 0;
  #work = 0;
  #complete = false;

  /** Numbers the roots and counts those of trees; other sets are made by {@link complete}. */
  constructor(edges: Edges, topo: Int32Array) {
    const size = edges.dep_offsets.length - 1;
    this.#edges = edges;
    this.#topo = topo;
    this.counts = new Int32Array(size).fill(-1);
    this.firsts = new Int32Array(size).fill(-1);
    this.owners = new Int32Array(size).fill(-1);
    this.#kinds = new Uint8Array(size);
    this.#offsets = new Int32Array(size);
    this.#countTrees();
    this.root_count = this.#numberRoots();
    this.#stamps = new Int32Array(this.root_count);
    this.#owner_stamps = new Int32Array(size);
    this.#bitmap = new Uint32Array((this.root_count + 31) >>> 5);
  }

  /** Makes the sets of all tasks. Does nothing the second time. */
  complete(): void {
    if (this.#complete) return;
    this.#complete = true;
    const { dep_offsets, deps } = this.#edges;
    const { counts, owners } = this;
    for (let i = 0; i < this.#topo.length; i++) {
      const id = this.#topo[i]!;
      const start = dep_offsets[id]!;
      const end = dep_offsets[id + 1]!;
      if (counts[id]! >= 0) {
        owners[id] = end - start === 1 ? owners[deps[start]!]! : id;
        continue;
      }
      const owner = this.#unite(id, start, end);
      owners[id] = owner;
      counts[id] = owner < 0 ? 0 : counts[owner]!;
    }
  }

  /** Calls `visit` with the number of each root in the set that `owner` names. */
  forEach(owner: number, visit: (root: number) => void): void {
    const count = this.counts[owner]!;
    const at = this.#offsets[owner]!;
    const { words } = this.#members;
    const kind = this.#kinds[owner]!;
    if (kind === RANGE) {
      const first = this.firsts[owner]!;
      for (let i = 0; i < count; i++) visit(first + i);
    } else if (kind === LIST) {
      for (let i = 0; i < count; i++) visit(words[at + i]!);
    } else {
      for (let w = 0; w < this.#bitmap.length; w++) {
        for (let bits = words[at + w]!; bits !== 0; bits &= bits - 1)
          visit((w << 5) + 31 - Math.clz32(bits & -bits));
      }
    }
  }

  /** A task is the top of a tree if all it needs, at any distance, is needed by one task only. */
  #countTrees(): void {
    const { dep_offsets, deps, out_offsets } = this.#edges;
    const { counts } = this;
    for (let i = 0; i < this.#topo.length; i++) {
      const id = this.#topo[i]!;
      const end = dep_offsets[id + 1]!;
      let count = dep_offsets[id] === end ? 1 : 0;
      for (let e = dep_offsets[id]!; e < end; e++) {
        const dep = deps[e]!;
        if (counts[dep]! < 0 || out_offsets[dep + 1]! - out_offsets[dep]! !== 1) {
          count = -1;
          break;
        }
        count += counts[dep]!;
      }
      counts[id] = count;
    }
  }

  #numberRoots(): number {
    const { dep_offsets, deps } = this.#edges;
    const { counts, firsts } = this;
    let next = 0;
    for (let i = this.#topo.length - 1; i >= 0; i--) {
      const id = this.#topo[i]!;
      if (counts[id]! < 0) continue;
      if (firsts[id]! < 0) {
        firsts[id] = next;
        next += counts[id]!;
      }
      let first = firsts[id]!;
      const end = dep_offsets[id + 1]!;
      for (let e = dep_offsets[id]!; e < end; e++) {
        const dep = deps[e]!;
        firsts[dep] = first;
        first += counts[dep]!;
      }
    }
    return next;
  }

  #unite(id: number, start: number, end: number): number {
    const { deps } = this.#edges;
    const { counts, owners } = this;
    const stamp = ++this.#stamp;
    let distinct = 0;
    let total = 0;
    let largest = -1;
    let bitmaps = false;
    for (let e = start; e < end; e++) {
      const owner = owners[deps[e]!]!;
      if (owner < 0) return -1;
      if (this.#owner_stamps[owner] === stamp) continue;
      this.#owner_stamps[owner] = stamp;
      distinct++;
      total += counts[owner]!;
      bitmaps ||= this.#kinds[owner] === BITMAP;
      if (largest < 0 || counts[owner]! > counts[largest]!) largest = owner;
    }
    if (distinct === 1 || counts[largest] === this.root_count) return largest;
    const list = !bitmaps && total <= this.#bitmap.length;
    this.#work += list ? total : this.#bitmap.length * (distinct + 1);
    if (this.#work > WORK_MAX || this.#members.length + this.#bitmap.length > WORDS_MAX) return -1;
    return list ? this.#uniteLists(id, start, end, largest) : this.#uniteBitmaps(id, start, end, largest);
  }

  #uniteLists(id: number, start: number, end: number, largest: number): number {
    const stamp = ++this.#stamp;
    const at = this.#members.length;
    let hash = 0;
    const visit = (root: number): void => {
      if (this.#stamps[root] === stamp) return;
      this.#stamps[root] = stamp;
      this.#members.push(root);
      const mixed = Math.imul(root + 1, 0x9e3779b1);
      hash = (hash + Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b)) | 0;
    };
    this.#forEachChild(start, end, stamp, (owner) => this.forEach(owner, visit));
    const count = this.#members.length - at;
    const same = count === this.counts[largest]! ? largest : this.#known.get(hash);
    if (same !== undefined && this.#kinds[same] !== BITMAP && this.counts[same] === count) {
      let equal = true;
      this.forEach(same, (root) => {
        equal &&= this.#stamps[root] === stamp;
      });
      if (equal) {
        this.#members.length = at;
        return same;
      }
    }
    return this.#add(id, LIST, at, count, hash);
  }

  #uniteBitmaps(id: number, start: number, end: number, largest: number): number {
    const bitmap = this.#bitmap.fill(0);
    this.#forEachChild(start, end, ++this.#stamp, (owner) => this.#fill(bitmap, owner));
    let count = 0;
    let hash = 0;
    for (let w = 0; w < bitmap.length; w++) {
      const bits = bitmap[w]!;
      count += bitCount(bits);
      hash = Math.imul(hash ^ bits, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    if (count === this.counts[largest]!) return largest;
    const { words } = this.#members;
    const same = this.#known.get(hash);
    if (same !== undefined && this.#kinds[same] === BITMAP) {
      const other = this.#offsets[same]!;
      let w = 0;
      while (w < bitmap.length && words[other + w] === bitmap[w]) w++;
      if (w === bitmap.length) return same;
    }
    const at = this.#members.length;
    this.#members.append(bitmap);
    return this.#add(id, BITMAP, at, count, hash);
  }

  #forEachChild(start: number, end: number, stamp: number, visit: (owner: number) => void): void {
    for (let e = start; e < end; e++) {
      const owner = this.owners[this.#edges.deps[e]!]!;
      if (this.#owner_stamps[owner] === stamp) continue;
      this.#owner_stamps[owner] = stamp;
      visit(owner);
    }
  }

  #fill(bitmap: Uint32Array, owner: number): void {
    const at = this.#offsets[owner]!;
    if (this.#kinds[owner] === BITMAP) {
      const { words } = this.#members;
      for (let w = 0; w < bitmap.length; w++) bitmap[w]! |= words[at + w]!;
    } else {
      this.forEach(owner, (root) => {
        bitmap[root >>> 5]! |= 1 << (root & 31);
      });
    }
  }

  #add(id: number, kind: number, at: number, count: number, hash: number): number {
    this.#kinds[id] = kind;
    this.#offsets[id] = at;
    this.counts[id] = count;
    this.#known.set(hash, id);
    return id;
  }
}

const RANGE = 0;
const LIST = 1;
const BITMAP = 2;

/**
 * Sets of tasks × roots grow with the square of a graph (Python's copy them whole: gigabytes at 20,000 tasks).
 * At 128 MB, or after about a second, the remaining tasks count as needing no root: their order may then
 * differ from Dask's where all before it in the sort key is equal, and stays a valid one.
 */
const WORDS_MAX = 1 << 25;
const WORK_MAX = 1 << 29;

/** A growing array of 32-bit words. */
class Words {
  words = new Uint32Array(1024);
  length = 0;

  push(word: number): void {
    if (this.length === this.words.length) this.#grow(this.length + 1);
    this.words[this.length++] = word;
  }

  append(words: Uint32Array): void {
    if (this.length + words.length > this.words.length) this.#grow(this.length + words.length);
    this.words.set(words, this.length);
    this.length += words.length;
  }

  #grow(needed: number): void {
    const grown = new Uint32Array(Math.max(needed, this.words.length * 2));
    grown.set(this.words);
    this.words = grown;
  }
}

function bitCount(bits: number): number {
  let b = bits - ((bits >>> 1) & 0x5555_5555);
  b = (b & 0x3333_3333) + ((b >>> 2) & 0x3333_3333);
  return Math.imul((b + (b >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
