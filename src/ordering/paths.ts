import { grown, IntStack } from "../base/typed-arrays.ts";

/**
 * Paths forward through the graph, named by their last step. Paths that branch off share what they have in
 * common: Dask copies it, which at the end of a long chain costs its length for each branch.
 */
export class Paths {
  #ids = new Int32Array(256);
  #before = new Int32Array(256);
  /** 1 if the path holds a joined part, see {@link join}. */
  #joined = new Uint8Array(256);
  #count = 0;

  /** A new path of one id. */
  start(id: number): number {
    return this.extend(NO_STEP, id);
  }

  /** The path `path` followed by `id`; `path` stays as it is. */
  extend(path: number, id: number): number {
    if (this.#count === this.#ids.length) this.#grow();
    const step = this.#count++;
    this.#ids[step] = id;
    this.#before[step] = path;
    this.#joined[step] = path === NO_STEP ? 0 : this.#joined[path]!;
    return step;
  }

  /** All of the paths one after the other. */
  join(paths: readonly number[]): number {
    const ids = new IntStack();
    for (let i = paths.length - 1; i >= 0; i--)
      for (let step = paths[i]!; step !== NO_STEP; step = this.#before[step]!) ids.push(this.#ids[step]!);
    let joined = NO_STEP;
    while (ids.length > 0) {
      joined = this.extend(joined, ids.pop());
      this.#joined[joined] = 1;
    }
    return joined;
  }

  last(path: number): number {
    return this.#ids[path]!;
  }

  isSingle(path: number): boolean {
    return this.#before[path] === NO_STEP;
  }

  /** The path without its last step; NO_STEP if nothing is left. */
  parent(path: number): number {
    return this.#before[path]!;
  }

  /**
   * Whether all before this step is done once this step is. So it is along a chain, where each needs the one
   * before; in a joined path the parts know nothing of each other.
   */
  isChain(path: number): boolean {
    return this.#joined[path] === 0;
  }

  /** Steps kept. */
  get length(): number {
    return this.#count;
  }

  /** Forgets all paths. */
  clear(): void {
    this.#count = 0;
  }

  #grow(): void {
    const length = this.#ids.length * 2;
    this.#ids = grown(this.#ids, length);
    this.#before = grown(this.#before, length);
    this.#joined = grown(this.#joined, length);
  }
}

export const NO_STEP = -1;
