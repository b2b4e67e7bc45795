import { listOf } from "../../base/grouped.ts";
import type { TaskId } from "../../base/ids.ts";
import type { Machine, Timer } from "../../base/machine.ts";
import { MEMORY } from "../../core/states.ts";
import { WireMap } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Inspector } from "../diagnostics/inspector.ts";
import type { MemoryState, WorkerMemory } from "../diagnostics/memory.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import type { Log } from "../peers/log.ts";
import { keyList, keyMap } from "../rpc/wire-shapes.ts";

/** A wish of a policy: one copy more, or one less, of a task, on one of some workers (null: any). */
export interface Suggestion {
  readonly op: "replicate" | "drop";
  readonly task: TaskId;
  readonly candidates: ReadonlySet<WorkerPeer> | null;
}

/** Yields suggestions, and is told which worker was chosen, or null where the wish was not granted. */
export interface MemoryPolicy {
  run(manager: MemoryManager): Generator<Suggestion, void, WorkerPeer | null>;
}

export interface MemoryManagerParts {
  readonly inspector: Inspector;
  readonly cluster: CoreCluster;
  readonly memory: WorkerMemory;
  readonly log: Log;
  /** What workers are compared by. */
  readonly measure: keyof MemoryState;
  readonly machine: Machine;
}

interface Pending {
  readonly copies: Set<WorkerPeer>;
  readonly drops: Set<WorkerPeer>;
}

/** Waiters beyond this are not looked at one by one. */
const WAITERS_MAX = 20;

/**
 * Copies and drops replicas on the advice of policies (`distributed.active_memory_manager`): each run collects what the
 * policies want, grants what does no harm, and asks workers to do it. Nothing waits for them: what did not happen
 * is seen, and wanted again, in the next run.
 */
export class MemoryManager {
  readonly policies = new Set<MemoryPolicy>();
  /** What this run has granted so far. */
  readonly pending = new Map<TaskId, Pending>();
  readonly parts: MemoryManagerParts;
  /** Memory of each worker as it will be once all that was granted is done, bytes. */
  readonly #bytes = new Map<WorkerPeer, number>();
  #timer: Timer | null = null;

  constructor(parts: MemoryManagerParts) {
    this.parts = parts;
  }

  get running(): boolean {
    return this.#timer !== null;
  }

  start(interval_ms: number): void {
    if (this.#timer !== null) return;
    this.#timer = this.parts.machine.every(Math.max(1, interval_ms), () => this.runOnce());
    this.#timer.unref();
  }

  stop(): void {
    this.parts.machine.cancel(this.#timer);
    this.#timer = null;
  }

  runOnce(): void {
    const { cluster, memory, measure } = this.parts;
    // Reading all workers' memory is a cost, too: mostly there is nothing to do.
    if (![...this.policies].some((policy) => !(policy instanceof ReduceReplicas) || policy.needed(this)))
      return;
    for (const peer of cluster.workers.values()) this.#bytes.set(peer, memory.of(peer)[measure]);
    try {
      for (const policy of [...this.policies]) this.#consult(policy);
      this.#enact();
    } finally {
      this.pending.clear();
      this.#bytes.clear();
    }
  }

  #consult(policy: MemoryPolicy): void {
    const wishes = policy.run(this);
    for (let wish = wishes.next(); wish.done !== true; ) {
      const { op, task, candidates } = wish.value;
      const pending = this.pending.get(task) ?? { copies: new Set(), drops: new Set() };
      this.pending.set(task, pending);
      const nbytes = Math.max(0, this.parts.inspector.books.tasks.nbytes[task]!);
      const choice =
        op === "replicate"
          ? this.#recipient(task, candidates, pending)
          : this.#dropper(task, candidates, pending);
      if (choice !== null) {
        (op === "replicate" ? pending.copies : pending.drops).add(choice);
        const bytes = this.#bytes.get(choice) ?? 0;
        this.#bytes.set(choice, op === "replicate" ? bytes + nbytes : Math.max(0, bytes - nbytes));
      }
      wish = wishes.next(choice);
    }
  }

  /** The running worker with the least memory in use that has no copy and is to get none. */
  #recipient(
    task: TaskId,
    candidates: ReadonlySet<WorkerPeer> | null,
    { copies }: Pending,
  ): WorkerPeer | null {
    const { books } = this.parts.inspector;
    if (books.tasks.state[task] !== MEMORY || books.isActor(task)) return null;
    const holders = this.holders(task);
    let best: WorkerPeer | null = null;
    for (const peer of candidates ?? this.parts.cluster.workers.values()) {
      if (peer.status !== "running" || holders.has(peer) || copies.has(peer)) continue;
      if (best === null || this.#bytesOf(peer) < this.#bytesOf(best)) best = peer;
    }
    return best;
  }

  /** The holder with the most memory in use, one that is about to leave first; never the last copy. */
  #dropper(task: TaskId, candidates: ReadonlySet<WorkerPeer> | null, { drops }: Pending): WorkerPeer | null {
    const { inspector } = this.parts;
    const holders = this.holders(task);
    if (holders.size - drops.size < 2 || inspector.books.isActor(task)) return null;
    const able = [...holders]
      .filter((peer) => candidates?.has(peer) ?? true)
      .filter((peer) => !drops.has(peer));
    const computing = new Set(inspector.waiters(task).map((waiter) => inspector.processingOn(waiter)));
    const needed = able.filter((peer) => computing.has(peer.address));
    const free = able.filter((peer) => !computing.has(peer.address));
    const choice = free.reduce<WorkerPeer | null>(
      (best, peer) => (best === null || this.#isFuller(peer, best) ? peer : best),
      null,
    );
    if (choice === null) return null;
    // All other copies are on workers that are about to leave: this one is as good as the last.
    const last_running =
      free.length === 1 &&
      choice.status === "running" &&
      needed.length > 0 &&
      needed.every((peer) => peer.status !== "running");
    return last_running ? null : choice;
  }

  #isFuller(peer: WorkerPeer, than: WorkerPeer): boolean {
    const leaving = Number(peer.status !== "running") - Number(than.status !== "running");
    return leaving === 0 ? this.#bytesOf(peer) > this.#bytesOf(than) : leaving > 0;
  }

  #bytesOf(peer: WorkerPeer): number {
    return this.#bytes.get(peer) ?? 0;
  }

  holders(task: TaskId): Set<WorkerPeer> {
    const { inspector, cluster } = this.parts;
    const peers = inspector.holders(task).map((address) => cluster.workers.get(address));
    return new Set(peers.filter((peer) => peer !== undefined));
  }

  #enact(): void {
    const { inspector, cluster, machine } = this.parts;
    const copies = new Map<WorkerPeer, TaskId[]>();
    const drops = new Map<WorkerPeer, TaskId[]>();
    for (const [task, pending] of this.pending) {
      for (const peer of pending.copies) listOf(copies, peer).push(task);
      for (const peer of pending.drops) listOf(drops, peer).push(task);
    }
    const stimulus_id = `active_memory_manager-${machine.wall_ms() / 1000}`;
    for (const [peer, tasks] of copies) {
      const who_has = keyMap(tasks.map((task) => [inspector.key(task), inspector.holders(task)] as const));
      const sizes = tasks.map((task) => [inspector.key(task), inspector.books.tasks.nbytes[task]!] as const);
      const message = WireMap.of({ op: "acquire-replicas", who_has, nbytes: keyMap(sizes), stimulus_id });
      cluster.sendToWorker(peer, message);
    }
    for (const [peer, tasks] of drops) {
      // The worker says so if it keeps one after all.
      const keys = tasks.map((task) => inspector.key(task)).filter((key) => cluster.dropReplica(key, peer));
      if (keys.length === 0) continue;
      cluster.sendToWorker(peer, WireMap.of({ op: "remove-replicas", keys: keyList(keys), stimulus_id }));
    }
  }
}

/** Drops copies that no waiting task could use (`ReduceReplicas`, Dask's default policy). */
export class ReduceReplicas implements MemoryPolicy {
  /** Every task in memory has at least one copy: equal counts mean that none has more. */
  needed({ parts }: MemoryManager): boolean {
    const { replicas, state_counts } = parts.inspector.books;
    return replicas.live > state_counts[MEMORY]!;
  }

  *run(manager: MemoryManager): Generator<Suggestion, void, WorkerPeer | null> {
    if (!this.needed(manager)) return;
    const { inspector } = manager.parts;
    const { replicas, tasks } = inspector.books;
    for (let task = 0; task < tasks.top; task++) {
      if (tasks.state[task] !== MEMORY || replicas.isSingle(task)) continue;
      const pending = manager.pending.get(task);
      const granted = (pending?.copies.size ?? 0) - (pending?.drops.size ?? 0);
      const extra = replicas.countOfTask(task) - Math.max(1, this.#readers(inspector, task)) + granted;
      for (let i = 0; i < extra; i++) yield { op: "drop", task, candidates: null };
    }
  }

  /** So many workers will read the result. */
  #readers(inspector: Inspector, task: TaskId): number {
    const waiters = inspector.waiters(task);
    if (waiters.length <= 1 || waiters.length >= WAITERS_MAX) return waiters.length;
    return new Set(waiters.map((waiter) => inspector.processingOn(waiter) ?? waiter)).size;
  }
}

/** Copies what lies on one worker alone elsewhere, until it can go (`RetireWorker`). */
export class RetireWorker implements MemoryPolicy {
  readonly peer: WorkerPeer;
  /** Set where something on it can go nowhere: then it stays. */
  no_recipients = false;
  over = false;

  constructor(peer: WorkerPeer) {
    this.peer = peer;
  }

  *run(manager: MemoryManager): Generator<Suggestion, void, WorkerPeer | null> {
    const { inspector, cluster, log } = manager.parts;
    if (cluster.workers.get(this.peer.address) !== this.peer) {
      this.#end(manager);
      return;
    }
    const held = cluster.hasWhat(this.peer).map((key) => inspector.find(key));
    if (held.some((task) => inspector.actorHome(task) === this.peer.address)) {
      log.write(
        "WARNING",
        `Worker ${this.peer.address} holds actors, which cannot be moved: it is not retired`,
      );
      this.no_recipients = true;
      this.#end(manager);
      return;
    }
    let moving = 0;
    let stuck = 0;
    for (const task of held) {
      // Only what refers to an actor: it goes with the worker.
      if (inspector.books.isActor(task)) continue;
      const holders = manager.holders(task);
      if (holders.size > 1) {
        const dropped = yield { op: "drop", task, candidates: new Set([this.peer]) };
        if (dropped !== null || [...holders].some((peer) => peer.status === "running")) continue;
      }
      moving++;
      if ((manager.pending.get(task)?.copies.size ?? 0) > 0) continue;
      if ((yield { op: "replicate", task, candidates: null }) === null) stuck++;
    }
    if (stuck > 0) {
      const text = `Worker ${this.peer.address} is not retired: ${stuck} of its results can go to no other worker`;
      log.write("WARNING", text);
      this.no_recipients = true;
    }
    if (stuck > 0 || moving === 0) this.#end(manager);
  }

  #end(manager: MemoryManager): void {
    this.over = true;
    manager.policies.delete(this);
  }

  /** All that it holds has a copy elsewhere, or it is gone. */
  done(manager: MemoryManager): boolean {
    const { cluster, inspector } = manager.parts;
    if (this.over || cluster.workers.get(this.peer.address) !== this.peer) return true;
    const { replicas } = inspector.books;
    return cluster.hasWhat(this.peer).every((key) => !replicas.isSingle(inspector.find(key)));
  }
}
