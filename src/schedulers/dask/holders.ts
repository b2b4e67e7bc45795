import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import { grown } from "../../base/typed-arrays.ts";
import type { ClusterView } from "../policy.ts";

/** A task is weighed by its first so many inputs, and each of them by the first so many holders. */
const INPUTS_MAX = 512;
const HOLDERS_MAX = 32;

/**
 * The workers that hold inputs of a task, and what each would still have to fetch. Summed over the holders of each input, so
 * that no other worker is looked at: all others would have to fetch everything.
 */
export class Holders {
  readonly workers: WorkerId[] = [];
  /** Bytes of all inputs. */
  total_bytes = 0;
  /** Some input has more holders than were looked at. */
  cut = false;
  readonly #unknown_nbytes: number;
  #held = new Float64Array(64);

  constructor(unknown_nbytes: number) {
    this.#unknown_nbytes = unknown_nbytes;
  }

  /** Looks at the inputs of `task`; valid until the next call. */
  find(task: TaskId, view: ClusterView): void {
    for (const worker of this.workers) this.#held[worker] = 0;
    this.workers.length = 0;
    this.total_bytes = 0;
    this.cut = false;
    const count = Math.min(view.dependencyCount(task), INPUTS_MAX);
    for (let i = 0; i < count; i++) this.#input(view.dependency(task, i), view);
  }

  #input(input: TaskId, view: ClusterView): void {
    // At least a byte: who holds an empty input still holds it.
    const nbytes = Math.max(1, this.sizeOf(input, view));
    this.total_bytes += nbytes;
    let looked_at = 0;
    for (let r = view.firstHolder(input); r !== NONE; r = view.nextHolder(r)) {
      if (looked_at++ === HOLDERS_MAX) {
        this.cut = true;
        return;
      }
      const worker = view.holder(r);
      if (worker >= this.#held.length) this.#held = grown(this.#held, Math.max(worker + 1, worker * 2));
      if (this.#held[worker] === 0) this.workers.push(worker);
      this.#held[worker]! += nbytes;
    }
  }

  sizeOf(input: TaskId, view: ClusterView): number {
    const nbytes = view.nbytes(input);
    return nbytes < 0 ? this.#unknown_nbytes : nbytes;
  }

  /** Bytes that `worker` would fetch for the task that was looked at last. */
  missing(task: TaskId, worker: WorkerId, view: ClusterView): number {
    if (this.cut) return this.missingOf(task, worker, view);
    return worker < this.#held.length ? this.total_bytes - this.#held[worker]! : this.total_bytes;
  }

  /** The same for any task: a question for each input. */
  missingOf(task: TaskId, worker: WorkerId, view: ClusterView): number {
    const count = Math.min(view.dependencyCount(task), INPUTS_MAX);
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const input = view.dependency(task, i);
      if (!view.holds(input, worker)) bytes += this.sizeOf(input, view);
    }
    return bytes;
  }

  /** Bytes of all inputs of any task. */
  inputBytes(task: TaskId, view: ClusterView): number {
    const count = Math.min(view.dependencyCount(task), INPUTS_MAX);
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += this.sizeOf(view.dependency(task, i), view);
    return bytes;
  }
}
