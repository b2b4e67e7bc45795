import { setTimeout as sleep } from "node:timers/promises";
import { NONE, type TaskId } from "../../base/ids.ts";
import type { Restrictions } from "../../core/books.ts";
import { PAYLOAD_PENDING } from "../../core/payloads.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { ERRED, FORGOTTEN, PROCESSING, QUEUED, STATE_NAMES } from "../../core/states.ts";
import { type KeyBytes, keyBytes, keyValue } from "../../protocol/keys.ts";
import { pythonRepr } from "../../protocol/python-repr.ts";
import { Pickled, WireMap } from "../../protocol/values.ts";
import type { UnpackerPool } from "../../unpacker/unpacker.ts";
import type { Cluster, WorkerPeer } from "../peers/cluster.ts";
import { PythonError } from "../rpc/python-error.ts";
import { EarlyShuffles } from "./early-shuffles.ts";
import { mergeOutputs, workersOf } from "./outputs.ts";

const BARRIER_PREFIX = "shuffle-barrier-";
/** Between an input task and its barrier there is an alias at the most. */
const ALIASES_MAX = 2;
/** The barrier's payload may be on its way still while its first inputs run: it is looked for as often. */
const PAYLOAD_CHECK_MS = 10;

/** One run of a shuffle; a shuffle that begins anew gets another. */
export interface ShuffleRun {
  readonly id: string;
  readonly run_id: number;
  readonly barrier: TaskId;
  /** The pickled ShuffleRunSpec, never opened here. */
  readonly run_spec: Pickled;
  /** msgpack of [[partition, worker], …]. */
  readonly worker_for: Uint8Array;
  /** Addresses that outputs were given to, and those of all who asked for the run. */
  readonly participants: Set<string>;
  /** Aborted when the run is over, with an Error that says why. */
  readonly over: AbortSignal;
}

interface ActiveRun extends ShuffleRun {
  readonly end: AbortController;
}

export interface ShufflesParts {
  readonly scheduler: Scheduler;
  readonly cluster: Cluster;
  readonly unpacker: () => UnpackerPool;
  /** A turn is to follow. */
  readonly touch: () => void;
}

/**
 * The scheduler's side of Dask's P2P shuffles and rechunks (distributed.shuffle._scheduler_plugin): which run of a
 * shuffle is the present one, who takes part in it, and that it begins anew when a part of it is lost. A shuffle is
 * known by the name of its barrier task; what it does is inside of pickles that only workers and the unpacker open.
 */
export class Shuffles {
  /** Told of events of the topic `p2p`. */
  onEvent: (event: WireMap) => void = () => undefined;
  /** Those of clients and workers of 2022.12. */
  readonly early: EarlyShuffles;
  readonly #parts: ShufflesParts;
  readonly #active = new Map<string, ActiveRun>();
  /** Runs that are being made: one question to the unpacker, however many workers ask. */
  readonly #coming = new Map<string, Promise<void>>();
  /** What an output task was restricted to before a shuffle restricted it; null: to nothing. */
  readonly #originals = new WeakMap<Restrictions, Restrictions | null>();
  /** The runs that end while a worker is removed; null at other times. */
  #ended: Set<ShuffleRun> | null = null;
  #last_run_id = 0;
  /** Small shuffles that run at the same time should not all prefer the same workers. */
  #shift = 0;

  constructor(parts: ShufflesParts) {
    this.#parts = parts;
    this.early = new EarlyShuffles(parts);
  }

  /** Runs that are not over. */
  get active_count(): number {
    return this.#active.size;
  }

  /** Workers that take part in a run that is not over. */
  participants(): ReadonlySet<string> {
    const runs = [...this.#active.values()];
    return new Set([...runs.flatMap((run) => [...run.participants]), ...this.early.participants()]);
  }

  /** The present run. Throws Python's KeyError if there is none. */
  active(id: string): ShuffleRun {
    const run = this.#active.get(id);
    if (run === undefined) throw new PythonError("KeyError", id);
    return run;
  }

  /** The present run, in which `worker` takes part from here on. Throws PythonError. */
  join(id: string, worker: string): ShuffleRun {
    if (!this.#parts.cluster.workers.has(worker))
      throw new PythonError("P2PConsistencyError", `Scheduler is unaware of this worker '${worker}'`);
    const run = this.#active.get(id);
    if (run === undefined)
      throw new PythonError("P2PConsistencyError", `No active shuffle with id=${pythonRepr(id)} found`);
    run.participants.add(worker);
    return run;
  }

  /**
   * As {@link join}; where there is no run, one is made on account of the input task `key`, which `worker` computes.
   * `spec`: what is shuffled, of workers that say so; null: the barrier task does. Throws PythonError, and UnpackError where
   * Python cannot make it.
   */
  async joinOrCreate(
    id: string,
    key: KeyBytes,
    worker: string,
    spec: Pickled | null = null,
  ): Promise<ShuffleRun> {
    // A run may end before whoever waited for it goes on: then the next one is meant.
    while (!this.#active.has(id)) {
      let coming = this.#coming.get(id);
      if (coming === undefined) {
        this.#checkProcessing(key);
        coming = this.#create(id, key, worker, spec).finally(() => this.#coming.delete(id));
        this.#coming.set(id, coming);
      }
      await coming;
    }
    return this.join(id, worker);
  }

  /**
   * The shuffle that this is an input task of: its barrier depends on the task, or on an alias of it where the task was fused
   * with those before it. Throws PythonError.
   */
  idOf(key: KeyBytes): string {
    const { keys } = this.#parts.scheduler.books;
    const input = this.#find(key);
    let found = input === NONE ? [] : this.#dependents(input);
    for (let depth = 0; depth < ALIASES_MAX; depth++) {
      for (const task of found) {
        const name = keyValue(keys.bytes(task));
        if (typeof name === "string" && name.startsWith(BARRIER_PREFIX))
          return name.slice(BARRIER_PREFIX.length);
      }
      found = found.flatMap((task) => this.#dependents(task));
    }
    throw new PythonError("P2PConsistencyError", `${pythonRepr(keyValue(key))} is no input of a P2P shuffle`);
  }

  /** An output task asks to be placed on `worker`, which has its partition. Throws PythonError. */
  restrict(id: string, run_id: number, key: KeyBytes, worker: string): void {
    const run = this.active(id);
    if (run.run_id !== run_id) {
      const fault = run.run_id > run_id ? "stale" : "invalid";
      const text = `Request ${fault}, expected run_id=${run_id} for ${nameOf(run)}`;
      throw new PythonError("P2PConsistencyError", text);
    }
    const { scheduler } = this.#parts;
    const { books } = scheduler;
    const task = this.#find(key);
    if (task === NONE) throw new PythonError("KeyError", pythonRepr(keyValue(key)));
    const before = books.restrictions.get(task) ?? null;
    // Shuffles that share an output, as in a join, agree on its worker. And a task that was taken back and waits in
    // the queue, where none with restrictions may be, asks again when it runs next.
    if ((before !== null && this.#originals.has(before)) || books.tasks.state[task] === QUEUED) return;
    const { loose, resources } = before ?? { loose: false, resources: null };
    const restrictions = { workers: new Set([worker]), loose, resources };
    this.#originals.set(restrictions, before);
    scheduler.restrictionsChanged(task, restrictions);
  }

  /** All of the shuffle is computed anew, from its inputs. */
  restart(run: ShuffleRun, why: string): void {
    this.#recompute(run, why);
    this.#parts.touch();
  }

  /** Before the core is told that a worker is gone: what ends from here on, ends for that reason. */
  onWorkerRemoving(): void {
    this.#ended = new Set();
  }

  /** After that: runs that the worker took part in begin anew. */
  onWorkerRemoved(peer: WorkerPeer): void {
    for (const run of [...this.#active.values()])
      if (run.participants.has(peer.address))
        this.#end(run, `Worker ${peer.address} left during active ${nameOf(run)}`);
    const ended = this.#ended ?? new Set();
    this.#ended = null;
    for (const run of ended) this.#recompute(run, `the loss of worker ${peer.address}`);
    if (ended.size > 0) this.#parts.touch();
    this.early.onWorkerRemoved(peer);
  }

  // ---- the beginning of a run

  /** Resolves when there is a run, or when what it was for has changed so that the asker has to look again. */
  async #create(id: string, key: KeyBytes, worker: string, spec: Pickled | null): Promise<void> {
    const { scheduler, unpacker } = this.#parts;
    const barrier = this.#barrier(id);
    const { watches } = scheduler.moves;
    let void_since = false;
    const watch = (): void => {
      void_since = true;
    };
    watches.set(barrier, watch);
    try {
      const shared = this.#sharing(barrier);
      // Whose outputs these are too, decides first: two that decide at once could disagree.
      await Promise.allSettled(shared.map((other) => this.#coming.get(other)));
      while (!void_since && spec === null && scheduler.books.tasks.payload_kind[barrier] === PAYLOAD_PENDING)
        await sleep(PAYLOAD_CHECK_MS);
      if (void_since) return;
      const runs = shared.map((other) => this.#active.get(other)).filter((run) => run !== undefined);
      const run_id = ++this.#last_run_id;
      const made = await unpacker().shuffleRun({
        barrier: spec ?? this.#spec(id),
        workers: this.#workersFor(barrier),
        existing: mergeOutputs(
          runs.map((run) => run.worker_for),
          id,
        ),
        run_id,
        span_id: null,
      });
      const { header, frames } = made.run_spec;
      const participants = workersOf(made.worker_for);
      const { workers } = this.#parts.cluster;
      if (void_since || ![...participants].every((address) => workers.has(address))) return;
      const run_spec = new Pickled(header, [...frames]);
      const end = new AbortController();
      const { worker_for } = made;
      const run = { id, run_id, barrier, run_spec, worker_for, participants, over: end.signal, end };
      this.#active.set(id, run);
      watches.set(barrier, () => this.#barrierLeft(run));
      const text = `Shuffle ${id} initialized by task ${pythonRepr(keyValue(key))} executed on worker ${worker}`;
      this.#parts.cluster.log("INFO", text);
    } finally {
      if (watches.get(barrier) === watch) watches.delete(barrier);
    }
  }

  /** Tasks may be fused, and their names lost with that: such a shuffle cannot work. */
  #barrier(id: string): TaskId {
    const barrier = this.#find(barrierKey(id));
    if (barrier !== NONE) return barrier;
    throw new PythonError(
      "P2PConsistencyError",
      `Barrier task with key '${BARRIER_PREFIX}${id}' does not exist. This may be caused by task fusion during ` +
        "graph generation. Please let us know that you ran into this by leaving a comment at distributed#7816.",
    );
  }

  #checkProcessing(key: KeyBytes): void {
    const task = this.#find(key);
    const state = task === NONE ? FORGOTTEN : this.#parts.scheduler.books.tasks.state[task]!;
    if (state === PROCESSING) return;
    const text = `Expected ${pythonRepr(keyValue(key))} to be processing, is ${STATE_NAMES[state]}.`;
    throw new PythonError("P2PConsistencyError", text);
  }

  #spec(id: string): Pickled {
    const spec = this.#parts.cluster.runSpec(barrierKey(id));
    if (spec instanceof Pickled) return spec;
    throw new PythonError("P2PConsistencyError", `The barrier task of shuffle ${id} has no specification`);
  }

  /** Shuffles whose outputs are this barrier's too, by their ids: the two sides of a join. */
  #sharing(barrier: TaskId): string[] {
    const { edges, keys } = this.#parts.scheduler.books;
    const seen = new Set([barrier]);
    const ids: string[] = [];
    for (const output of this.#dependents(barrier)) {
      const first = edges.first[output]!;
      for (let edge = first, end = first + edges.count[output]!; edge < end; edge++) {
        const input = edges.dependency[edge]!;
        if (seen.has(input)) continue;
        seen.add(input);
        const name = keyValue(keys.bytes(input));
        if (typeof name === "string" && name.startsWith(BARRIER_PREFIX))
          ids.push(name.slice(BARRIER_PREFIX.length));
      }
    }
    return ids;
  }

  /** Who may get outputs, in the order of preference. Dask takes paused workers too, which would then not compute them. */
  #workersFor(barrier: TaskId): string[] {
    const { books } = this.#parts.scheduler;
    const allowed = books.candidates(barrier) ?? [];
    const { running } = books;
    const ids = allowed.length > 0 ? allowed : [...running.items.subarray(0, running.length)];
    const addresses = ids.map((worker) => books.worker(worker).address);
    const workers = (addresses.length > 0 ? addresses : [...this.#parts.cluster.workers.keys()]).sort();
    const shift = this.#shift++ % Math.max(1, workers.length);
    return [...workers.slice(shift), ...workers.slice(0, shift)];
  }

  // ---- its end

  /** The barrier was released, has failed or was forgotten: whatever of the run is left on workers is of no more use. */
  #barrierLeft(run: ActiveRun): void {
    if (this.#hasFailed(run))
      this.onEvent(WireMap.of({ action: "p2p-failed", shuffle: run.id, stimulus: nameOf(run) }));
    this.#end(run, `${nameOf(run)} forgotten`);
  }

  /** A task of the shuffle itself is what went wrong. */
  #hasFailed({ barrier }: ShuffleRun): boolean {
    const { tasks, errors } = this.#parts.scheduler.books;
    const members = [...this.#dependencies(barrier), barrier, ...this.#dependents(barrier)];
    return members.some((task) => tasks.state[task] === ERRED && errors.get(task)?.blame === task);
  }

  #end(run: ActiveRun, message: string): void {
    const { cluster, scheduler } = this.#parts;
    const { books, moves } = scheduler;
    run.end.abort(new PythonError("RuntimeError", message));
    this.#active.delete(run.id);
    moves.watches.delete(run.barrier);
    this.#ended?.add(run);
    const failed = { op: "shuffle-fail", shuffle_id: run.id, run_id: run.run_id, message };
    for (const address of run.participants) {
      const peer = cluster.workers.get(address);
      if (peer !== undefined) cluster.sendToWorker(peer, WireMap.of(failed));
    }
    for (const output of this.#dependents(run.barrier)) {
      const present = books.restrictions.get(output);
      const original = present === undefined ? undefined : this.#originals.get(present);
      if (original !== undefined) scheduler.restrictionsChanged(output, original);
    }
  }

  /** Inputs, barrier and outputs, unless the shuffle has failed for good. */
  #recompute({ id, barrier }: ShuffleRun, why: string): void {
    const { tasks } = this.#parts.scheduler.books;
    if (tasks.state[barrier] === FORGOTTEN || tasks.state[barrier] === ERRED) return;
    const outputs = this.#dependents(barrier);
    if (outputs.some((task) => tasks.state[task] === ERRED)) return;
    this.#parts.cluster.log("WARNING", `Shuffle ${id} restarted due to ${why}`);
    this.#parts.scheduler.recompute([...outputs, barrier, ...this.#dependencies(barrier)]);
  }

  #dependents(task: TaskId): TaskId[] {
    const { edges } = this.#parts.scheduler.books;
    const found: TaskId[] = [];
    for (let edge = edges.dependents[task]!; edge !== NONE; edge = edges.next[edge]!)
      found.push(edges.dependent[edge]!);
    return found;
  }

  #dependencies(task: TaskId): TaskId[] {
    const { edges } = this.#parts.scheduler.books;
    const first = edges.first[task]!;
    return [...edges.dependency.subarray(first, first + edges.count[task]!)];
  }

  #find(key: KeyBytes): TaskId {
    return this.#parts.scheduler.books.keys.findKey(key);
  }
}

function barrierKey(id: string): KeyBytes {
  return keyBytes(BARRIER_PREFIX + id);
}

/** As Dask's texts name a run. */
export function nameOf(run: ShuffleRun): string {
  return `SchedulerShuffleState<${run.id}[${run.run_id}]>`;
}
