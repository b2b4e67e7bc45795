import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import { IndexedHeap } from "../../base/indexed-heap.ts";
import { grown } from "../../base/typed-arrays.ts";
import { type ClusterView, type PolicyWatch, UNWATCHED } from "../policy.ts";
import type { EstimateSettings, TaskEstimates } from "./estimates.ts";
import { MeasuredEstimates } from "./estimates.ts";
import { inputCount, inputWorkers } from "./input-workers.ts";

/** Of more workers that a task's restrictions allow, as many are looked at. */
const ALLOWED_MAX = 32;

/** Where a task would start, and when, seconds from now. */
export interface Start {
  worker: WorkerId;
  start_s: number;
}

/**
 * ESTEE's estimate of when a worker could start a task: once the largest of the inputs that it lacks has come (they
 * come side by side), and once a thread is free. A thread is free at once, or after what the worker has to do, evenly
 * over its threads: what its tasks have run of their time already is not known here.
 */
export class EarliestStart {
  readonly estimates: TaskEstimates;
  readonly watch: PolicyWatch;
  readonly #view: ClusterView;
  /** By worker: expected seconds of its tasks. By task: what was expected of it when it was given to its worker. */
  #work_s = new Float64Array(64);
  #expected_s = new Float64Array(1024);
  /** Running workers, the one that has a free thread soonest on top. */
  readonly #soonest = new IndexedHeap();
  readonly #candidates: WorkerId[] = [];
  #allowed_cursor = 0;

  constructor(view: ClusterView, settings: EstimateSettings) {
    const estimates = new MeasuredEstimates(view, settings);
    this.#view = view;
    this.estimates = estimates;
    this.watch = {
      ...UNWATCHED,
      ...estimates.watch,
      taskStarted: (task, worker) => this.#started(task, worker),
      taskStopped: (task, worker, seceded) => {
        if (!seceded) this.#ended(task, worker);
        estimates.watch.taskStopped(task, worker, seceded);
      },
      taskSeceded: (task, worker) => this.#ended(task, worker),
      workerJoined: (worker) => {
        if (worker >= this.#work_s.length)
          this.#work_s = grown(this.#work_s, Math.max(worker + 1, worker * 2));
        this.#work_s[worker] = 0;
      },
      workerRuns: (worker, running) => {
        if (running) this.#soonest.set(worker, this.#wait_s(worker));
        else this.#soonest.delete(worker);
      },
    };
  }

  #started(task: TaskId, worker: WorkerId): void {
    if (task >= this.#expected_s.length)
      this.#expected_s = grown(this.#expected_s, Math.max(task + 1, task * 2));
    this.#expected_s[task] = this.estimates.duration_s(task);
    this.#work_s[worker]! += this.#expected_s[task]!;
    this.#changed(worker);
  }

  #ended(task: TaskId, worker: WorkerId): void {
    const left_s = this.#work_s[worker]! - this.#expected_s[task]!;
    // Sums of floats drift: a worker with nothing to do starts from nothing again.
    this.#work_s[worker] = this.#view.load(worker) <= 0 ? 0 : Math.max(0, left_s);
    this.#changed(worker);
  }

  #changed(worker: WorkerId): void {
    if (this.#soonest.has(worker)) this.#soonest.set(worker, this.#wait_s(worker));
  }

  #wait_s(worker: WorkerId): number {
    const threads = this.#view.threads(worker);
    return this.#view.load(worker) < threads ? 0 : this.#work_s[worker]! / threads;
  }

  #transfer_s(task: TaskId, worker: WorkerId): number {
    const view = this.#view;
    let largest = 0;
    for (let i = inputCount(task, view) - 1; i >= 0; i--) {
      const input = view.dependency(task, i);
      const nbytes = this.estimates.nbytes(input);
      if (nbytes > largest && !view.holds(input, worker)) largest = nbytes;
    }
    return largest / this.estimates.bandwidth;
  }

  /**
   * The worker that can start the task first; NONE: none may. Only those that have to do with an input are looked at, and the
   * one with a free thread soonest: any other has as much to transfer as that one, and frees a thread no sooner.
   */
  best(task: TaskId, into: Start): void {
    into.worker = NONE;
    into.start_s = Number.POSITIVE_INFINITY;
    const view = this.#view;
    const allowed = view.candidates(task);
    const candidates = this.#candidates;
    if (allowed === null) {
      inputWorkers(task, view, candidates);
      candidates.push(this.#soonest.top);
    } else {
      candidates.length = 0;
      for (let i = 0; i < allowed.length && i < ALLOWED_MAX; i++)
        candidates.push(
          allowed.length <= ALLOWED_MAX ? allowed[i]! : allowed[this.#allowed_cursor++ % allowed.length]!,
        );
    }
    let best_transfer_s = Number.POSITIVE_INFINITY;
    for (const worker of candidates) {
      if (!view.running.has(worker)) continue;
      const transfer_s = this.#transfer_s(task, worker);
      const start_s = Math.max(transfer_s, this.#wait_s(worker));
      if (start_s > into.start_s || (start_s === into.start_s && transfer_s >= best_transfer_s)) continue;
      into.worker = worker;
      into.start_s = start_s;
      best_transfer_s = transfer_s;
    }
  }
}
