/** A task that a worker was given. */
export interface Assignment {
  readonly task: number;
  readonly run_id: number;
  /** Inputs that are not there yet. */
  missing: number;
  started: boolean;
}

/**
 * How a worker fetches. `each`: input by input, four at a time and two from one other worker, as ESTEE's workers. `gather`: all
 * that it needs of one other worker in one go, one such go at a time, as Dask's.
 */
export type FetchRule = "each" | "gather";

interface FetchLimits {
  /** Downloads that a worker makes at once, and of these from one other. */
  readonly downloads_max: number;
  readonly from_one_max: number;
  /** Bytes of one download, but for its first input; 0: each input by itself. */
  readonly bytes_max: number;
}

/** Dask's are its defaults of `distributed.worker.connections.incoming` and `transfer.message-bytes-limit`. */
const FETCH_LIMITS: Readonly<Record<FetchRule, FetchLimits>> = {
  each: { downloads_max: 4, from_one_max: 2, bytes_max: 0 },
  gather: { downloads_max: 50, from_one_max: 1, bytes_max: 50e6 },
};
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
  /** Inputs on their way here. */
  readonly #coming = new Set<number>();
  #downloads = 0;
  readonly #from = new Map<number, number>();
  readonly #limits: FetchLimits;

  /** `compare`: of two tasks, negative when the first goes first. */
  constructor(id: number, cores: number, compare: (one: number, other: number) => number, fetch: FetchRule) {
    this.#limits = FETCH_LIMITS[fetch];
    this.id = id;
    this.free_cores = cores;
    this.#compare = compare;
  }

  // ---- tasks

  /** Inputs that are not here are fetched once {@link fetch} is called. */
  assign(task: number, run_id: number, inputs: readonly number[]): Assignment {
    const assignment: Assignment = { task, run_id, missing: 0, started: false };
    this.assignments.set(task, assignment);
    for (const input of inputs) {
      if (this.data.has(input)) continue;
      assignment.missing++;
      const others = this.waiting.get(input);
      if (others !== undefined) others.push(assignment);
      else this.waiting.set(input, [assignment]);
    }
    if (assignment.missing === 0) this.makeReady(assignment);
    return assignment;
  }

  /** What of these is not here, and still waited for, is to be fetched. */
  fetch(inputs: readonly number[]): void {
    for (const input of inputs)
      if (this.waiting.has(input) && !this.#coming.has(input)) this.#queued.add(input);
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

  /**
   * Starts what may be fetched now. `choose` picks a holder, −1: nobody has it at the moment; `start` is told which inputs come
   * from whom in one go.
   */
  startDownloads(
    choose: (input: number) => number,
    bytes: (input: number) => number,
    start: (inputs: readonly number[], from: number) => void,
  ): void {
    const { downloads_max, from_one_max, bytes_max } = this.#limits;
    const goes = new Map<number, { readonly inputs: number[]; bytes: number }>();
    let looks = LOOKS_MAX;
    for (const input of this.#queued) {
      const full = this.#downloads + goes.size >= downloads_max;
      if ((full && bytes_max === 0) || looks === 0) break;
      this.#queued.delete(input);
      if (this.data.has(input) || !this.waiting.has(input)) continue;
      const from = choose(input);
      const go = goes.get(from);
      if (bytes_max > 0 && go !== undefined && go.bytes + bytes(input) <= bytes_max) {
        go.inputs.push(input);
        go.bytes += bytes(input);
      } else if (from < 0 || full || go !== undefined || (this.#from.get(from) ?? 0) >= from_one_max) {
        // Behind the others, which may have another holder.
        this.#queued.add(input);
        looks--;
        continue;
      } else if (bytes_max > 0) goes.set(from, { inputs: [input], bytes: bytes(input) });
      else this.#begin([input], from, start);
      this.#coming.add(input);
    }
    for (const [from, { inputs }] of goes) this.#begin(inputs, from, start);
  }

  #begin(
    inputs: readonly number[],
    from: number,
    start: (inputs: readonly number[], from: number) => void,
  ): void {
    this.#downloads++;
    this.#from.set(from, (this.#from.get(from) ?? 0) + 1);
    start(inputs, from);
  }

  downloaded(inputs: readonly number[], from: number): void {
    this.#downloads--;
    this.#from.set(from, this.#from.get(from)! - 1);
    for (const input of inputs) this.#coming.delete(input);
  }
}
