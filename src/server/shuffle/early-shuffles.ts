import { NONE, type TaskId } from "../../base/ids.ts";
import type { Restrictions } from "../../core/books.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { ERRED, FORGOTTEN, MEMORY, RELEASED } from "../../core/states.ts";
import { keyBytes, keyText } from "../../protocol/keys.ts";
import { unpackValue } from "../../protocol/msgpack.ts";
import { RawValue, toNumber, WireMap, WireSet, type WireValue } from "../../protocol/values.ts";
import type { Cluster, WorkerPeer } from "../peers/cluster.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";

export interface EarlyShufflesParts {
  readonly scheduler: Scheduler;
  readonly cluster: Cluster;
  /** A turn is to follow. */
  readonly touch: () => void;
}

interface EarlyShuffle {
  readonly id: string;
  readonly barrier: TaskId;
  /** The frame's columns and the one to shuffle by, as the first worker named them. */
  readonly schema: WireValue;
  readonly column: WireValue;
  /** Output partition → address. */
  readonly worker_for: WireMap;
  readonly output_workers: ReadonlySet<string>;
  /** Those, and all who asked, but for who has read all that it had. */
  readonly participants: Set<string>;
  /** Why it cannot come to an end; null: it can. */
  fault: string | null;
}

/**
 * 2022.12's P2P shuffles (`shuffle="p2p"`). Unlike later ones they have no runs, and what a worker sends to another does not
 * say which run it is of: a shuffle that loses a worker fails, as in Dask, for parts of two runs could be mixed.
 */
export class EarlyShuffles {
  readonly #parts: EarlyShufflesParts;
  readonly #active = new Map<string, EarlyShuffle>();
  /** What an output task was restricted to before its shuffle restricted it; null: to nothing. */
  readonly #originals = new WeakMap<Restrictions, Restrictions | null>();

  constructor(parts: EarlyShufflesParts) {
    this.#parts = parts;
  }

  /** Workers that take part in one that is not over. */
  participants(): string[] {
    return [...this.#active.values()].flatMap((shuffle) => [...shuffle.participants]);
  }

  /** `shuffle_get {id, schema, column, npartitions, worker}`; the three in the middle are None where an input has named them. */
  get(request: Request): WireMap {
    const id = request.string("id");
    let shuffle = this.#active.get(id);
    if (shuffle === undefined) {
      shuffle = this.#create(id, request);
      this.#active.set(id, shuffle);
    }
    if (shuffle.fault !== null) return WireMap.of({ status: "ERROR", message: shuffle.fault });
    shuffle.participants.add(request.string("worker"));
    return WireMap.of({
      status: "OK",
      worker_for: shuffle.worker_for,
      column: shuffle.column,
      schema: shuffle.schema,
      output_workers: new WireSet([...shuffle.output_workers]),
    });
  }

  /** `shuffle_get_participating_workers {id}`. */
  participantsOf(id: string): string[] {
    const shuffle = this.#active.get(id);
    if (shuffle === undefined) throw new PythonError("KeyError", id);
    return [...shuffle.participants];
  }

  /** `shuffle_register_complete {id, worker}`: all that the worker had is read, it takes part no longer. */
  completed(id: string, worker: string): void {
    const shuffle = this.#active.get(id);
    if (shuffle === undefined) return;
    if (shuffle.fault !== null) throw new PythonError("RuntimeError", shuffle.fault);
    shuffle.participants.delete(worker);
  }

  onWorkerRemoved({ address }: WorkerPeer): void {
    for (const shuffle of this.#active.values()) {
      const took_part = shuffle.participants.delete(address);
      if (shuffle.fault !== null || !(took_part || this.#awaits(shuffle, address))) continue;
      shuffle.fault = `Worker ${address} left during active shuffle ${shuffle.id}`;
      this.#tellFailed(shuffle, shuffle.fault);
      this.#letGo(shuffle);
      this.#parts.touch();
    }
  }

  #create(id: string, request: Request): EarlyShuffle {
    const { scheduler } = this.#parts;
    const barrier = scheduler.books.keys.findKey(keyBytes(`shuffle-barrier-${id}`));
    const npartitions = request.optionalNumber("npartitions");
    // The worker has its task rescheduled on account of a KeyError: the scheduler knows what has become of it.
    if (barrier === NONE || npartitions === null) throw new PythonError("KeyError", id);
    const workers = [...this.#parts.cluster.workers.keys()];
    const worker_for = new WireMap();
    const output_workers = new Set<string>();
    for (const output of this.#outputs(barrier)) {
      const part = this.#partOf(output);
      const before = scheduler.books.restrictions.get(output) ?? null;
      const spread = workers[Math.floor((workers.length * part) / npartitions)];
      const worker = [...(before?.workers ?? [])].find((name) => workers.includes(name)) ?? spread;
      if (worker === undefined)
        throw new PythonError("RuntimeError", `shuffle ${id}: no worker for partition ${part}`);
      worker_for.keys.push(part);
      worker_for.values.push(worker);
      output_workers.add(worker);
      const { loose, resources } = before ?? { loose: false, resources: null };
      const restrictions = { workers: new Set([worker]), loose, resources };
      this.#originals.set(restrictions, before);
      scheduler.restrictionsChanged(output, restrictions);
    }
    const shuffle: EarlyShuffle = {
      ...{ id, barrier, worker_for, output_workers, fault: null },
      schema: request.value("schema"),
      column: request.value("column"),
      participants: new Set(output_workers),
    };
    scheduler.moves.watches.set(barrier, () => this.#barrierLeft(shuffle));
    return shuffle;
  }

  /**
   * The number of an output task's partition: its annotation `shuffle`; or what that is made from, the end of its key, where a
   * graph has lost its annotations (`to_delayed`).
   */
  #partOf(output: TaskId): number {
    const { annotations, keys } = this.#parts.scheduler.books;
    const map = annotations.get(output);
    const value = map instanceof WireMap ? map.get("shuffle") : undefined;
    const part = toNumber(value instanceof RawValue ? unpackValue(value.bytes) : value);
    if (part !== undefined) return part;
    const key = keyText(keys.bytes(output));
    const at_end = /, (\d+)\)$/.exec(key)?.[1];
    if (at_end !== undefined) return Number(at_end);
    throw new PythonError("RuntimeError", `${key} does not say which partition it takes`);
  }

  /** Whether an output is to run on the worker (again: it was there, and went with it). */
  #awaits({ barrier }: EarlyShuffle, address: string): boolean {
    const { tasks, restrictions } = this.#parts.scheduler.books;
    return this.#outputs(barrier).some((output) => {
      const state = tasks.state[output]!;
      if (state === MEMORY || state === RELEASED || state === ERRED || state === FORGOTTEN) return false;
      return restrictions.get(output)?.workers?.has(address) === true;
    });
  }

  /** The barrier was released, has failed or was forgotten: whatever is left on workers is of no more use. */
  #barrierLeft(shuffle: EarlyShuffle): void {
    const { state, waiters } = this.#parts.scheduler.books.tasks;
    // Taken back, since an input or its worker was lost, and to run again. The inputs that are left will not, so that a shuffle
    // begun anew would lack what they gave to this one: this one goes on, and fails for the lost worker.
    if (state[shuffle.barrier] === RELEASED && waiters[shuffle.barrier]! > 0) return;
    this.#active.delete(shuffle.id);
    this.#parts.scheduler.moves.watches.delete(shuffle.barrier);
    this.#tellFailed(shuffle, `Shuffle ${shuffle.id} forgotten`);
    for (const output of this.#outputs(shuffle.barrier)) this.#restore(output);
  }

  #tellFailed({ id, participants }: EarlyShuffle, message: string): void {
    for (const address of participants) {
      const peer = this.#parts.cluster.workers.get(address);
      const failed = WireMap.of({ op: "shuffle-fail", shuffle_id: id, message });
      if (peer !== undefined) this.#parts.cluster.sendToWorker(peer, failed);
    }
  }

  /** Outputs that wait for a worker that is gone run on another one, and fail there for the shuffle's fault. */
  #letGo({ barrier }: EarlyShuffle): void {
    const { scheduler } = this.#parts;
    const outputs = this.#outputs(barrier).filter((task) => scheduler.books.tasks.state[task] !== MEMORY);
    for (const output of outputs) this.#restore(output);
    scheduler.recompute(outputs);
  }

  #restore(output: TaskId): void {
    const { scheduler } = this.#parts;
    const present = scheduler.books.restrictions.get(output);
    const original = present === undefined ? undefined : this.#originals.get(present);
    if (original !== undefined) scheduler.restrictionsChanged(output, original);
  }

  #outputs(barrier: TaskId): TaskId[] {
    const { edges } = this.#parts.scheduler.books;
    const found: TaskId[] = [];
    for (let edge = edges.dependents[barrier]!; edge !== NONE; edge = edges.next[edge]!)
      found.push(edges.dependent[edge]!);
    return found;
  }
}
