import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import type { IndexedSet } from "../../base/indexed-set.ts";
import type { ClusterView, PlacementSink, Policy, PolicyWatch, StealSink } from "../policy.ts";
import { type TaskGroup, TaskGroups, type TaskPrefix } from "../task-groups.ts";
import { Holders } from "./holders.ts";
import { type DaskPolicySettings, DEFAULT_DASK_SETTINGS } from "./settings.ts";
import { Stealing } from "./stealing.ts";
import { type WorkerLoad, WorkerLoads } from "./worker-loads.ts";

/** Of so many workers Dask looks at each; of more it takes the next in turn. Of more allowed ones a window is looked at. */
const SMALL_POOL = 20;
/** Root tasks are those of a group with more tasks than so many a thread. */
const ROOT_TASKS_A_THREAD = 2;

/**
 * Dask's placement (distributed.scheduler, 2026.8):
 * - root tasks (of a group much larger than the cluster that depends on little) are withheld until a worker has a slot, or,
 *   with `worker-saturation: inf`, go to one worker in runs of neighbours;
 * - any other task goes to one of the workers that hold its inputs, the one that is expected to start it first: work that lies
 *   there, plus what it has to fetch;
 * - stealing repairs the loads, at intervals.
 *
 * What differs is the cost: no decision looks at every worker (docs/decisions/0014-dask-policy.md).
 */
export class DaskPolicy implements Policy {
  readonly name = "dask";
  readonly balances = "overloaded";
  readonly #settings: DaskPolicySettings;
  readonly #holders: Holders;
  #loads!: WorkerLoads;
  #groups!: TaskGroups;
  #stealing!: Stealing;
  #withheld = new Int32Array(256);
  readonly #candidates: WorkerId[] = [];
  /** Tasks placed so far: workers that are as good as each other get them in turn. */
  #placed = 0;

  constructor(settings: DaskPolicySettings = DEFAULT_DASK_SETTINGS) {
    this.#settings = settings;
    this.#holders = new Holders(settings.unknown_nbytes);
  }

  readonly watch = (view: ClusterView): PolicyWatch => {
    const settings = this.#settings;
    const loads = new WorkerLoads(settings, (prefix) => this.#groups.duration_s(prefix));
    const groups = new TaskGroups(view, settings, settings.rootish_groups, (prefix, before_s, after_s) =>
      loads.durationChanged(prefix, before_s, after_s),
    );
    this.#loads = loads;
    this.#groups = groups;
    this.#stealing = new Stealing(settings, loads, groups, this.#holders);
    const prefixOf = (task: TaskId): TaskPrefix => groups.of(task).prefix;
    const sizeOf = (task: TaskId): number => this.#holders.sizeOf(task, view);
    return {
      taskWaiting: (task) => groups.waiting(task),
      taskWaited: (task) => groups.waited(task),
      taskForgotten: (task) => groups.forgotten(task),
      taskInMemory: () => undefined,
      taskStarted: (task, worker) => loads.started(worker, prefixOf(task)),
      taskStopped: (task, worker, seceded) => loads.stopped(worker, prefixOf(task), seceded),
      taskSeceded: (task, worker) => loads.seceded(worker, prefixOf(task)),
      taskMeasured: (task, duration_s) => groups.measured(task, duration_s),
      needBegan: (task, worker) => loads.needBegan(worker, sizeOf(task)),
      needEnded: (task, worker) => loads.needEnded(worker, sizeOf(task)),
      workerJoined: (worker, threads) => loads.joined(worker, threads),
      workerLeft: (worker) => loads.left(worker),
      workerRuns: (worker, running) => loads.runs(worker, running),
      stealEnded: (task) => this.#stealing.ended(task),
      taskRunning: (task, since_s) => groups.running(task, since_s),
      bandwidthMeasured: (bytes_per_s) => loads.bandwidthMeasured(bytes_per_s),
    };
  };

  readonly openSlots = (): number => this.#loads.open_slots;

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    if (count > this.#withheld.length) this.#withheld = new Int32Array(count);
    let withheld = 0;
    const withholds = Number.isFinite(this.#settings.worker_saturation);
    for (let i = 0; i < count; i++) {
      const task = ready[i]!;
      const group = this.#groups.of(task);
      const root = this.#isRoot(group) && view.queueable(task);
      if (root && withholds) this.#withheld[withheld++] = task;
      else this.#give(task, root ? this.#coassign(task, group, view) : this.#earliest(task, view), sink);
    }
    // After the others: what comes of earlier root tasks runs before new ones begin.
    for (let i = 0; i < withheld; i++) {
      const worker = this.#loads.leastBusy;
      if (worker === NONE) sink.queue(this.#withheld[i]!);
      else this.#give(this.#withheld[i]!, worker, sink);
    }
  }

  #give(task: TaskId, worker: WorkerId, sink: PlacementSink): void {
    if (worker === NONE) sink.refuse(task);
    else {
      this.#placed++;
      sink.assign(task, worker);
    }
  }

  #isRoot(group: TaskGroup): boolean {
    if (group.size <= ROOT_TASKS_A_THREAD * this.#loads.threads) return false;
    if (group.dependencies.size >= this.#settings.rootish_groups) return false;
    let tasks = 0;
    for (const dependency of group.dependencies) tasks += dependency.size;
    return tasks < this.#settings.rootish_tasks;
  }

  /** Neighbours of a group go to one worker until it has its share; then the worker that could start soonest is next. */
  #coassign(task: TaskId, group: TaskGroup, view: ClusterView): WorkerId {
    let worker = group.last_worker;
    if (worker === NONE || group.tasks_left <= 0 || !view.running.has(worker)) {
      const { idle, threads } = this.#loads;
      worker = this.#soonest(task, idle.length > 0 ? idle : view.running, view);
      group.tasks_left = Math.floor((group.size / threads) * view.threads(worker));
    }
    group.last_worker = group.waiting > 1 ? worker : NONE;
    group.tasks_left--;
    return worker;
  }

  #soonest(task: TaskId, pool: IndexedSet, view: ClusterView): WorkerId {
    this.#holders.find(task, view);
    // Slots are not bounded here, so that the heap has every running worker.
    if (pool.length >= SMALL_POOL) return this.#loads.leastBusy;
    return this.#best(task, pool.items, pool.length, view);
  }

  /** Where a task that is no root task starts first; NONE: no running worker may take it. */
  #earliest(task: TaskId, view: ClusterView): WorkerId {
    const allowed = view.candidates(task);
    if (allowed !== null) return this.#earliestAllowed(task, allowed, view);
    if (view.dependencyCount(task) === 0) return this.#inTurn(view);
    const holders = this.#holders;
    holders.find(task, view);
    const candidates = this.#candidates;
    candidates.length = 0;
    for (const worker of holders.workers) if (view.running.has(worker)) candidates.push(worker);
    // Of an input that many hold only some were looked at: one that has little to do may be better than those.
    if (holders.cut || candidates.length === 0) candidates.push(this.#inTurn(view));
    return candidates.length === 1 ? candidates[0]! : this.#best(task, candidates, candidates.length, view);
  }

  #earliestAllowed(task: TaskId, allowed: readonly WorkerId[], view: ClusterView): WorkerId {
    if (allowed.length === 0) return NONE;
    const holders = this.#holders;
    holders.find(task, view);
    const few = allowed.length <= SMALL_POOL ? allowed : this.#someOf(allowed);
    const held = few.filter((worker) => holders.missing(task, worker, view) < holders.total_bytes);
    const candidates = held.length > 0 ? held : few;
    return this.#best(task, candidates, candidates.length, view);
  }

  /** Of many allowed workers those that hold inputs, and a window that passes all of them task by task. */
  #someOf(allowed: readonly WorkerId[]): readonly WorkerId[] {
    const { workers } = this.#holders;
    const few = workers.length <= SMALL_POOL ? workers.filter((worker) => allowed.includes(worker)) : [];
    for (let i = 0; few.length < SMALL_POOL; i++) few.push(allowed[(this.#placed + i) % allowed.length]!);
    return few;
  }

  /** For tasks without inputs: an idle worker if there is one. */
  #inTurn(view: ClusterView): WorkerId {
    const { idle } = this.#loads;
    const pool = idle.length > 0 ? idle : view.running;
    const { items, length } = pool;
    if (length >= SMALL_POOL) return items[this.#placed % length]!;
    let best = NONE;
    let least_s = Number.POSITIVE_INFINITY;
    for (let i = 0; i < length; i++) {
      // From another one each time, so that those with nothing to do get tasks in turn.
      const worker = items[(this.#placed + i) % length]!;
      const occupancy_s = this.#loads.occupancy_s(this.#loads.of(worker));
      if (occupancy_s >= least_s) continue;
      best = worker;
      least_s = occupancy_s;
    }
    return best;
  }

  /** The worker that is expected to start the task first; of equal ones that which holds least. */
  #best(task: TaskId, workers: ArrayLike<WorkerId>, count: number, view: ClusterView): WorkerId {
    let best = workers[0]!;
    let best_s = Number.POSITIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      const worker = workers[i]!;
      const start_s = this.#startAfter_s(task, this.#loads.of(worker), view);
      if (start_s > best_s || (start_s === best_s && view.heldBytes(worker) >= view.heldBytes(best)))
        continue;
      best = worker;
      best_s = start_s;
    }
    return best;
  }

  #startAfter_s(task: TaskId, load: WorkerLoad, view: ClusterView): number {
    const fetch_s = this.#holders.missing(task, load.id, view) / this.#loads.bandwidth;
    return this.#loads.occupancy_s(load) / load.threads + fetch_s;
  }

  /** Groups of tasks that are kept. */
  get groups_kept(): number {
    return this.#groups.kept.groups;
  }

  /** The first disagreement of its own books with the view, or null: for tests, it walks everything. */
  breach(view: ClusterView): string | null {
    return this.#loads.breach(view, (task) => this.#groups.of(task).prefix);
  }

  balance(now_ns: number, view: ClusterView, sink: StealSink): number {
    return this.#stealing.balance(now_ns, view, sink);
  }

  stealAnswered(): void {
    // The watch is told of each steal that ends, with its task.
  }
}
