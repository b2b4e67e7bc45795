/** A task that a worker was given. */
export interface Assignment {
  readonly task: number;
  readonly run_id: number;
  /** Inputs that are not there yet. */
  missing: number;
  started: boolean;
}

/** Downloads that a worker makes at once, and of these from one other (as ESTEE's). */
const DOWNLOADS_MAX = 4;
const DOWNLOADS_FROM_ONE_MAX = 2;
/** Of many inputs that wait for the same few holders, so many are looked at in one go. */
const LOOKS_MAX = 64;

/**
 * One worker of a simulated cluster: cores, tasks in order of priority, data, downloads. Bookkeeping alone: times are
 * the cluster's.
 */
export class TimedWorker {
  readonly id: number;
  readonly data = new Set<number>();
  readonly assignments = new Map<number, Assignment>();
  /** By input: the assignments that wait for it. */
  readonly waiting = new Map<number, Assignment[]>();
  free_cores: number;
  /** Ready to run, best priority first at the end. */
  readonly #ready: Assignment[] = [];
  readonly #compare: (one: number, other: number) => number;
  /** To be fetched, oldest first. */
  readonly #queued = new Set<number>();
  /** By input: whom from. */
  readonly #downloads = new Map<number, number>();
  readonly #from = new Map<number, number>();

  /** `compare`: of two tasks, negative when the first goes first. */
  constructor(id: number, cores: number, compare: (one: number, other: number) => number) {
    this.id = id;
    this.free_cores = cores;
    this.#compare = compare;
  }

  // ---- tasks

  assign(task: number, run_id: number, inputs: readonly number[]): Assignment {
    const assignment: Assignment = { task, run_id, missing: 0, started: false };
    this.assignments.set(task, assignment);
    for (const input of inputs) {
      if (this.data.has(input)) continue;
      assignment.missing++;
      const others = this.waiting.get(input);
      if (others !== undefined) others.push(assignment);
      else this.waiting.set(input, [assignment]);
      if (!this.#downloads.has(input)) this.#queued.add(input);
    }
    if (assignment.missing === 0) this.makeReady(assignment);
    return assignment;
  }

  makeReady(assignment: Assignment): void {
    const ready = this.#ready;
    let low = 0;
    let high = ready.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(ready[middle]!.task, assignment.task) > 0) low = middle + 1;
      else high = middle;
    }
    ready.splice(low, 0, assignment);
  }

  /** The next task for a free core, or undefined. */
  nextToRun(): Assignment | undefined {
    if (this.free_cores === 0) return undefined;
    const next = this.#ready.pop();
    if (next === undefined) return undefined;
    next.started = true;
    this.free_cores--;
    return next;
  }

  /** Gives a task up that has not started. False: it has, or is not here. */
  giveUp(task: number): boolean {
    const assignment = this.assignments.get(task);
    if (assignment === undefined || assignment.started) return false;
    this.assignments.delete(task);
    const at = this.#ready.indexOf(assignment);
    if (at >= 0) this.#ready.splice(at, 1);
    for (const [input, waiting] of this.waiting) {
      const position = waiting.indexOf(assignment);
      if (position >= 0) waiting.splice(position, 1);
      if (waiting.length === 0) this.waiting.delete(input);
    }
    return true;
  }

  /** The data is here: the tasks that only waited for it are ready. */
  arrived(input: number): void {
    this.data.add(input);
    for (const assignment of this.waiting.get(input) ?? [])
      if (--assignment.missing === 0) this.makeReady(assignment);
    this.waiting.delete(input);
  }

  // ---- downloads

  /** Inputs that may be fetched now, with whom from: `choose` picks a holder; −1: nobody has it at the moment. */
  startDownloads(choose: (input: number) => number, start: (input: number, from: number) => void): void {
    let looks = LOOKS_MAX;
    for (const input of this.#queued) {
      if (this.#downloads.size >= DOWNLOADS_MAX || looks-- === 0) return;
      this.#queued.delete(input);
      if (this.data.has(input) || !this.waiting.has(input)) continue;
      const from = choose(input);
      if (from < 0 || (this.#from.get(from) ?? 0) >= DOWNLOADS_FROM_ONE_MAX) {
        // Behind the others, which may have another holder.
        this.#queued.add(input);
        continue;
      }
      this.#downloads.set(input, from);
      this.#from.set(from, (this.#from.get(from) ?? 0) + 1);
      start(input, from);
    }
  }

  downloaded(input: number): void {
    const from = this.#downloads.get(input);
    if (from === undefined) return;
    this.#downloads.delete(input);
    this.#from.set(from, this.#from.get(from)! - 1);
  }
}
