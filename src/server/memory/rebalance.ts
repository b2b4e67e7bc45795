import { grouped } from "../../base/grouped.ts";
import type { TaskId } from "../../base/ids.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Inspector } from "../diagnostics/inspector.ts";
import type { WorkerMemory } from "../diagnostics/memory.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import type { RpcContext } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import { gatherOnWorker } from "../rpc/replicate.ts";
import { keyId, type Request } from "../rpc/request.ts";
import { keyList, keyMap } from "../rpc/wire-shapes.ts";
import { UnreachableError } from "../rpc/worker-pool.ts";
import type { RebalanceSettings } from "./settings.ts";

interface Sender {
  readonly peer: WorkerPeer;
  /** Bytes that it may lose, and those from which on it has lost enough: both negative, more negative first. */
  most: number;
  least: number;
  /** What it holds, longest held first; those before `next` have been looked at. */
  readonly tasks: readonly TaskId[];
  next: number;
}

interface Recipient {
  readonly peer: WorkerPeer;
  most: number;
  least: number;
}

interface Move {
  readonly from: WorkerPeer;
  readonly to: WorkerPeer;
  readonly task: TaskId;
}

/** Moves results between workers until they use about as much memory each (`Scheduler.rebalance`). */
export class Rebalance {
  readonly #inspector: Inspector;
  readonly #cluster: CoreCluster;
  readonly #memory: WorkerMemory;
  readonly #settings: RebalanceSettings;

  constructor(inspector: Inspector, cluster: CoreCluster, memory: WorkerMemory, settings: RebalanceSettings) {
    this.#inspector = inspector;
    this.#cluster = cluster;
    this.#memory = memory;
    this.#settings = settings;
  }

  /** `rebalance {keys?, workers?}`: only these keys, only between these workers. */
  async run(request: Request, context: RpcContext): Promise<WireValue> {
    const keys = request.optionalKeys("keys");
    const peers = this.#peers(request.optionalList("workers"), context);
    const nothing = peers.length === 0 || keys?.length === 0;
    if (nothing) return WireMap.of({ status: "OK" });
    const missing = keys?.filter((key) => (this.#cluster.holders(key)?.length ?? 0) === 0) ?? [];
    if (missing.length > 0) return WireMap.of({ status: "partial-fail", keys: keyList(missing) });
    const moves = this.#plan(keys, peers, context);
    const failed = await this.#move(moves, context);
    // Keys that nobody asked for by name may have gone while they were to move.
    if (failed.length === 0 || keys === null) return WireMap.of({ status: "OK" });
    return WireMap.of({ status: "partial-fail", keys: keyList(failed) });
  }

  #peers(asked: readonly WireValue[] | null, context: RpcContext): WorkerPeer[] {
    if (asked === null) return [...context.cluster.workers.values()];
    return asked.map((worker) => {
      const address = context.registration.workers.addresses.coerce(worker);
      const peer = context.cluster.workers.get(address);
      if (peer === undefined) throw new PythonError("KeyError", address);
      return peer;
    });
  }

  #plan(keys: readonly KeyBytes[] | null, peers: readonly WorkerPeer[], context: RpcContext): Move[] {
    const wanted = keys === null ? null : new Set(keys.map((key) => this.#inspector.find(key)));
    const { senders, recipients } = this.#sides(peers);
    const counts = { senders: senders.length, recipients: recipients.length };
    const moves: Move[] = [];
    // What each recipient will hold, too.
    const coming = new Set<string>();
    while (senders.length > 0 && recipients.length > 0) {
      senders.sort((a, b) => a.most - b.most);
      const sender = senders[0]!;
      const move = this.#nextMove(sender, recipients, wanted, coming);
      if (move === null) {
        senders.shift();
        continue;
      }
      moves.push({ from: sender.peer, to: move.to.peer, task: move.task });
      coming.add(`${move.task} ${move.to.peer.address}`);
      const nbytes = this.#nbytes(move.task);
      for (const side of [sender, move.to]) {
        side.most += nbytes;
        side.least += nbytes;
      }
      if (sender.least >= 0) senders.shift();
      if (move.to.least >= 0) recipients.splice(recipients.indexOf(move.to), 1);
    }
    if (moves.length === 0)
      context.events.publish(["all"], WireMap.of({ action: "rebalance", ...counts, moved_keys: 0 }));
    return moves;
  }

  /** Workers above the mean that have something to give, and those below that may take it. */
  #sides(peers: readonly WorkerPeer[]): { senders: Sender[]; recipients: Recipient[] } {
    const { measure, sender_min, recipient_max, gap } = this.#settings;
    const bytes = new Map(peers.map((peer) => [peer, this.#memory.of(peer)[measure]]));
    const mean = Math.floor([...bytes.values()].reduce((sum, used) => sum + used, 0) / bytes.size);
    const senders: Sender[] = [];
    const recipients: Recipient[] = [];
    for (const [peer, used] of bytes) {
      const limit = peer.memory_limit_bytes;
      const half_gap = Math.floor((gap / 2) * limit);
      const most_used = limit > 0 ? recipient_max * limit : Number.POSITIVE_INFINITY;
      if (used >= mean + half_gap && used >= sender_min * limit) {
        // Its list begins with what it got last.
        const tasks = this.#cluster
          .hasWhat(peer)
          .map((key) => this.#inspector.find(key))
          .reverse();
        if (tasks.length > 0)
          senders.push({ peer, most: mean - used, least: mean - used + half_gap, tasks, next: 0 });
      } else if (used < mean - half_gap && used < most_used)
        recipients.push({ peer, most: used - mean, least: used - mean + half_gap });
    }
    return { senders, recipients };
  }

  /** The task that the sender has held for longest and that some recipient can take without changing sides. */
  #nextMove(
    sender: Sender,
    recipients: readonly Recipient[],
    wanted: ReadonlySet<TaskId> | null,
    coming: ReadonlySet<string>,
  ): { task: TaskId; to: Recipient } | null {
    while (sender.next < sender.tasks.length) {
      const task = sender.tasks[sender.next++]!;
      const nbytes = this.#nbytes(task);
      if (wanted?.has(task) === false || nbytes + sender.most > 0) continue;
      const holders = new Set(this.#inspector.holders(task));
      let to: Recipient | null = null;
      for (const recipient of recipients) {
        if (nbytes + recipient.most > 0 || holders.has(recipient.peer.address)) continue;
        if (coming.has(`${task} ${recipient.peer.address}`)) continue;
        if (to === null || recipient.most < to.most) to = recipient;
      }
      if (to !== null) return { task, to };
    }
    return null;
  }

  #nbytes(task: TaskId): number {
    return Math.max(0, this.#inspector.books.tasks.nbytes[task]!);
  }

  /** Copies, then drops at the senders what has arrived. Answers the keys that did not. */
  async #move(moves: readonly Move[], context: RpcContext): Promise<KeyBytes[]> {
    if (moves.length === 0) return [];
    const keyed = moves.map((move) => ({ ...move, key: this.#inspector.key(move.task) }));
    const arriving = grouped(keyed, (move) => move.to);
    const failed = new Map<string, KeyBytes>();
    await Promise.all(
      [...arriving].map(async ([peer, list]) => {
        const keys = list.map((move) => move.key);
        for (const key of await gatherOnWorker(peer, keys, context)) failed.set(keyId(key), key);
      }),
    );
    const leaving = grouped(
      keyed.filter((move) => !failed.has(keyId(move.key))),
      (move) => move.from,
    );
    await Promise.all([...leaving].map(([peer, list]) => this.#drop(peer, list, context)));
    this.#tell(arriving, leaving, moves.length, context);
    return [...failed.values()];
  }

  async #drop(peer: WorkerPeer, moves: readonly { key: KeyBytes }[], context: RpcContext): Promise<void> {
    const keys = moves.map((move) => move.key);
    const stimulus_id = context.registration.workers.stimulus("delete-data");
    const message = WireMap.of({ op: "free_keys", keys: keyList(keys), stimulus_id, reply: true });
    try {
      await context.pool.request(peer.address, message);
    } catch (error) {
      if (!(error instanceof UnreachableError || error instanceof PythonError)) throw error;
      context.log.write("WARNING", `Worker ${peer.address} did not drop what was moved: ${error.message}`);
      return;
    }
    if (peer.status === "closed") return;
    for (const key of keys) context.cluster.dropReplica(key, peer);
  }

  #tell(
    arriving: ReadonlyMap<WorkerPeer, readonly { key: KeyBytes; from: WorkerPeer }[]>,
    leaving: ReadonlyMap<WorkerPeer, readonly unknown[]>,
    moved_keys: number,
    context: RpcContext,
  ): void {
    for (const [peer, list] of arriving) {
      const who_has = keyMap(list.map((move) => [move.key, [move.from.address]] as const));
      context.events.publish([peer.address], WireMap.of({ action: "rebalance", who_has }));
    }
    const counts = (side: ReadonlyMap<WorkerPeer, readonly unknown[]>): WireMap =>
      WireMap.from([...side].map(([peer, list]) => [peer.address, list.length] as const));
    const [senders, recipients] = [counts(leaving), counts(arriving)];
    context.events.publish(["all"], WireMap.of({ action: "rebalance", senders, recipients, moved_keys }));
  }
}
