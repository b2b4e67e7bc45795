import { NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import { Prng } from "../base/prng.ts";
import type { ClusterView, PlacementSink, Policy, StealSink } from "./policy.ts";
import { TransferCost } from "./transfer-cost.ts";

/** How many of a victim's newest tasks a thief looks at for the cheapest. */
const LOOK_MAX = 8;
/** Thieves in a row that may find nothing before a round of balancing gives up. */
const MISSES_MAX = 8;
/** Thieves that may ask in one round: the rest has its turn in the next. */
const THIEVES_MAX = 256;
/** Of more workers than these that a task's restrictions allow, as many are drawn. */
const ALLOWED_MAX = 8;
/** The wait after a refused round doubles from the first to the second (ns). */
const PAUSE_NS_MIN = 1e6;
const PAUSE_NS_MAX = 1e9;
/** Tasks a thread that a thief may ask for in one round: grows while steals are granted. */
const BURST_MIN = 1;
const BURST_MAX = 64;

/**
 * RSDS's `workstealing`: a ready task goes where its inputs are; load is repaired by moving the cheapest tasks
 * from workers with more tasks than threads to workers with fewer, a task for each receiver in turn.
 * The rules are RSDS's (src/scheduler/workstealing), the cost is not: nothing here looks at every worker for
 * every task. What differs, and why, is in docs/decisions/0004-workstealing.md:
 * - tasks that cost the same everywhere fill the workers in blocks up to one water level, where RSDS draws lots and
 *   repairs the result: the loads come out the same, neighbours stay together;
 * - a thief looks at the newest few tasks of the most loaded of a few victims, not at all tasks of all;
 * - after a round of steals was refused it waits, twice as long each time, instead of asking after every report.
 */
export class WorkStealingPolicy implements Policy {
  readonly name = "workstealing";
  readonly #prng: Prng;
  readonly #cost = new TransferCost();
  #loose = new Int32Array(1024);
  /** Where the next block starts: the first workers should not always be the fullest. */
  #cursor = 0;
  #victim_cursor = 0;
  #allowed_cursor = 0;
  #pause_ns = 0;
  #next_ns = 0;
  #round_ns = 0;
  #burst = BURST_MIN;
  #refused_in_round = false;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    if (count > this.#loose.length) this.#loose = new Int32Array(count);
    let loose = 0;
    for (let i = 0; i < count; i++) {
      const task = ready[i]!;
      const allowed = view.candidates(task);
      if (allowed !== null) this.#placeRestricted(task, allowed, view, sink);
      else if (view.dependencyCount(task) === 0) this.#loose[loose++] = task;
      else {
        const worker = this.#local(task, view);
        if (worker === NONE) this.#loose[loose++] = task;
        else sink.assign(task, worker);
      }
    }
    // A fresh start needs the water level; a handful of tasks does not, and may not pay for every worker.
    if (loose >= view.running.length / 4) this.#fill(loose, view, sink);
    else for (let i = 0; i < loose; i++) sink.assign(this.#loose[i]!, this.#leastLoaded(view));
  }

  /** Where the inputs are, unless that worker is full while another has a free thread. NONE: no place is better. */
  #local(task: TaskId, view: ClusterView): WorkerId {
    const best = this.#cost.cheapest(task, view);
    if (best.length === 0) return NONE;
    const worker = best.items[best.length === 1 ? 0 : this.#prng.below(best.length)]!;
    // A fresh task is moved for free: it was not sent yet.
    if (view.load(worker) >= view.threads(worker) && view.underloaded.length > 0)
      return view.underloaded.items[view.underloaded.length - 1]!;
    return worker;
  }

  #placeRestricted(task: TaskId, allowed: readonly WorkerId[], view: ClusterView, sink: PlacementSink): void {
    if (allowed.length === 0) {
      sink.refuse(task);
      return;
    }
    const few = allowed.length <= ALLOWED_MAX ? allowed : this.#someOf(task, allowed, view);
    let best = NONE;
    let best_free = false;
    let best_cost = Number.POSITIVE_INFINITY;
    let best_load = Number.POSITIVE_INFINITY;
    let equal = 0;
    for (const worker of few) {
      const load = view.load(worker) / view.threads(worker);
      const free = load < 1;
      const cost = this.#cost.of(task, worker, view);
      if (best_free && !free) continue;
      if (free === best_free && (cost > best_cost || (cost === best_cost && load > best_load))) continue;
      // Of equal ones by lot: a task that asks to be placed anew must not come back to where it was for ever.
      equal = free === best_free && cost === best_cost && load === best_load ? equal + 1 : 1;
      if (equal > 1 && this.#prng.below(equal) > 0) continue;
      best = worker;
      best_free = free;
      best_cost = cost;
      best_load = load;
    }
    sink.assign(task, best);
  }

  /** Of many allowed workers the one with the inputs, and a window that passes all of them task by task. */
  #someOf(task: TaskId, allowed: readonly WorkerId[], view: ClusterView): readonly WorkerId[] {
    const few: WorkerId[] = [];
    const cheapest = this.#cost.cheapest(task, view);
    const holder = cheapest.length > 0 ? cheapest.items[0]! : NONE;
    if (holder !== NONE && allowed.includes(holder)) few.push(holder);
    while (few.length < ALLOWED_MAX) few.push(allowed[this.#allowed_cursor++ % allowed.length]!);
    return few;
  }

  /** A worker with a free thread, else the less loaded of two drawn: no walk over all workers. */
  #leastLoaded(view: ClusterView): WorkerId {
    const { underloaded, running } = view;
    if (underloaded.length > 0) return underloaded.items[this.#prng.below(underloaded.length)]!;
    const a = running.items[this.#prng.below(running.length)]!;
    const b = running.items[this.#prng.below(running.length)]!;
    return view.load(a) / view.threads(a) <= view.load(b) / view.threads(b) ? a : b;
  }

  /** Gives the first `count` loose tasks out in blocks, so that all workers stand at one level a thread. */
  #fill(count: number, view: ClusterView, sink: PlacementSink): void {
    const { running } = view;
    const workers = running.items.slice(0, running.length);
    const level = waterLevel(count, workers, view);
    // What the level below leaves over is one more task a thread, for the first workers from the cursor on.
    let surplus = count;
    for (const worker of workers) surplus -= room(worker, level - 1, view);
    let next = 0;
    const start = this.#cursor % workers.length;
    for (let i = 0; i < workers.length && next < count; i++) {
      const worker = workers[(start + i) % workers.length]!;
      const base = room(worker, level - 1, view);
      const extra = Math.min(surplus, room(worker, level, view) - base);
      surplus -= extra;
      for (const end = Math.min(count, next + base + extra); next < end; next++)
        sink.assign(this.#loose[next]!, worker);
      if (extra > 0) this.#cursor = start + i + 1;
    }
  }

  balance(now_ns: number, view: ClusterView, sink: StealSink): number {
    if (now_ns < this.#next_ns) return this.#next_ns;
    this.#refused_in_round = false;
    this.#round_ns = now_ns;
    const { items, length } = view.underloaded;
    const thieves = items.slice(Math.max(0, length - THIEVES_MAX), length);
    let misses = 0;
    // A task for each thief in turn: nobody takes a second one before all had a first.
    for (let turn = 0, found = true; found; turn++) {
      found = false;
      for (const thief of thieves) {
        if (turn >= this.#burst * view.threads(thief)) continue;
        if (view.overloaded.length === 0) return Number.POSITIVE_INFINITY;
        if (this.#stealFor(thief, view, sink)) {
          found = true;
          misses = 0;
          // What the next thieves look at is what these did: where many found nothing, there is nothing.
        } else if (++misses === MISSES_MAX) return Number.POSITIVE_INFINITY;
      }
    }
    return Number.POSITIVE_INFINITY;
  }

  stealAnswered(granted: boolean): void {
    if (granted) {
      this.#pause_ns = 0;
      this.#next_ns = 0;
      this.#burst = Math.min(BURST_MAX, this.#burst * 2);
      return;
    }
    if (this.#refused_in_round) return;
    this.#refused_in_round = true;
    this.#burst = BURST_MIN;
    this.#pause_ns = Math.min(PAUSE_NS_MAX, Math.max(PAUSE_NS_MIN, this.#pause_ns * 2));
    this.#next_ns = this.#round_ns + this.#pause_ns;
  }

  /** Asks for one task for the thief: the cheapest of the newest few of the most loaded of three victims. */
  #stealFor(thief: WorkerId, view: ClusterView, sink: StealSink): boolean {
    const { overloaded } = view;
    let victim = NONE;
    let victim_load = 0;
    for (let i = 0; i < 3; i++) {
      const candidate = overloaded.items[this.#victim_cursor++ % overloaded.length]!;
      const load = view.load(candidate) / view.threads(candidate);
      if (load <= victim_load) continue;
      victim = candidate;
      victim_load = load;
    }
    // Not down to the thief's own level: that would move the trouble, not the load.
    if (victim === NONE || victim_load <= (view.load(thief) + 1) / view.threads(thief)) return false;
    let best = NONE;
    let best_cost = Number.POSITIVE_INFINITY;
    let task = view.newestProcessing(victim);
    for (let looked_at = 0; looked_at < LOOK_MAX && task !== NONE; looked_at++) {
      if (view.stealable(task, thief)) {
        const cost = this.#cost.of(task, thief, view);
        if (cost < best_cost) {
          best = task;
          best_cost = cost;
        }
      }
      task = view.olderProcessing(task);
    }
    if (best === NONE) return false;
    sink.steal(best, thief);
    return true;
  }
}

/** Tasks that `worker` can take until it stands at `level` tasks a thread. */
function room(worker: WorkerId, level: number, view: ClusterView): number {
  return Math.max(0, level * view.threads(worker) - view.load(worker));
}

/** The lowest whole number of tasks a thread at which `workers` have room for `count` more. */
function waterLevel(count: number, workers: Int32Array, view: ClusterView): number {
  let low = 1;
  let high = 1;
  const fits = (level: number): boolean => {
    let left = count;
    for (const worker of workers) left -= room(worker, level, view);
    return left <= 0;
  };
  while (!fits(high)) high *= 2;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
