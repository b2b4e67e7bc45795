/**
 * When a fleet received each `compute-task` and when it handed the report to the connection. The scheduler's side
 * needs both for its hops, but not at once: the fleet keeps them for one submission, and they are fetched when it is
 * over. Both sides count the `compute-task` messages of each worker's stream, so a number stands for a task.
 */

/** The stamps of one worker: plain data, to be posted. */
export interface WorkerStamps {
  /** Number of the first task that is stamped. */
  readonly first: number;
  /** A pair a task: received, reported; ns of the machine's monotonic clock, 0 where it did not happen. */
  readonly pairs: Float64Array;
}

const ROOM = 64;

interface WorkerLog {
  first: number;
  count: number;
  pairs: Float64Array;
}

/** The fleet's side: keeps stamps since the last {@link StampLog.take}. */
export class StampLog {
  readonly #workers: WorkerLog[];

  constructor(workers: number) {
    this.#workers = Array.from({ length: workers }, () => ({
      first: 0,
      count: 0,
      pairs: new Float64Array(2 * ROOM),
    }));
  }

  /** The compute-tasks `first` … `last - 1` of `worker` were received at `now_ns`. */
  received(worker: number, first: number, last: number, now_ns: number): void {
    const log = this.#workers[worker]!;
    if (log.count === 0) log.first = first;
    const count = last - log.first;
    if (2 * count > log.pairs.length) {
      const larger = new Float64Array(4 * count);
      larger.set(log.pairs);
      log.pairs = larger;
    }
    const { pairs } = log;
    for (let at = 2 * log.count; at < 2 * count; at += 2) {
      pairs[at] = now_ns;
      pairs[at + 1] = 0;
    }
    log.count = count;
  }

  /** The reports of the compute-tasks `first` … `last - 1` of `worker` are handed over at `now_ns`. */
  reported(worker: number, first: number, last: number, now_ns: number): void {
    const log = this.#workers[worker]!;
    const { pairs } = log;
    // Those before the log's first were taken already.
    for (let at = Math.max(0, 2 * (first - log.first)); at < 2 * (last - log.first); at += 2)
      pairs[at + 1] = now_ns;
  }

  /** By worker, and forgets them. */
  take(): WorkerStamps[] {
    return this.#workers.map((log) => {
      const stamps = { first: log.first, pairs: log.pairs.slice(0, 2 * log.count) };
      log.count = 0;
      return stamps;
    });
  }
}
