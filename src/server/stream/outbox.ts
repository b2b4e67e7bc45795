import type { Clock } from "../../base/clock.ts";
import type { ClientId, TaskId, WorkerId } from "../../base/ids.ts";
import { IntStack } from "../../base/typed-arrays.ts";
import type { Connection } from "../../comm/connection.ts";
import type { Books } from "../../core/books.ts";
import type { CancelReason, Outbox } from "../../core/outbox.ts";
import { MEMORY } from "../../core/states.ts";
import { encodeMessagePart } from "../../protocol/message.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { RawValue, WireMap, type WireValue } from "../../protocol/values.ts";
import { HOP, PHASE, STAMP } from "../../trace/phases.ts";
import { LARGE_MESSAGE_BYTES, type Probe, type Tracer } from "../../trace/tracer.ts";
import type { GraphLog } from "../graphs/graph-log.ts";
import type { Release } from "../peers/release.ts";
import { ComputeTaskWriter } from "./compute-task.ts";
import { PacketWriter } from "./packet-writer.ts";
import type { TypeTable } from "./type-table.ts";

/** What an entry of a peer's queue says. */
const COMPUTE = 0;
const FREE = 1;
const REMOVE_REPLICA = 2;
const STEAL = 3;
const IN_MEMORY = 4;
const ERRED = 5;
const LOST = 6;
const CANCELLED = 7;
const RETRIED = 8;
const MESSAGE = 9;
const FREE_UNKNOWN = 10;
const REMOVE_UNKNOWN = 11;

/** Numbers an entry takes: what, task, run_id or steal_id (low 32 bits). */
const ENTRY = 3;

/** A peer that has this much unread gets nothing encoded until it has read: ids wait cheaper than bytes. */
const PENDING_BYTES_MAX = 1 << 20;
/** A packet is closed when it has grown to this. */
const PACKET_BYTES_MAX = 1 << 20;

/** A packet of so many entries is worth its write, whatever they are. */
const ENTRIES_WORTH_A_PACKET = 256;

/** What an entry that waits costs: itself, and the id that it keeps from being used again, with its key. */
const ENTRY_BYTES = 64;
/** Keys in one message: a packet is only looked at between its messages. */
const KEYS_MAX = 4096;

const text = (value: string): Uint8Array => packValue(value);

/** One stream's queue. Entries are ids until the packet is written. */
class PeerQueue {
  readonly connection: Connection;
  readonly release: Release;
  readonly worker: WorkerId;
  readonly entries = new IntStack(96);
  /** Ready messages (MESSAGE) and keys (FREE_UNKNOWN), by the number in their entry. */
  readonly extras: (WireValue | Uint8Array)[] = [];
  touched = false;
  /** Has nothing but what may wait. */
  lazy = false;
  /** compute-tasks written so far: the number of the next one on this stream. */
  computes = 0;

  constructor(connection: Connection, release: Release, worker: WorkerId) {
    this.connection = connection;
    this.release = release;
    this.worker = worker;
  }
}

/** Bytes, packets and messages that went out on streams. */
export interface OutCounts {
  bytes: number;
  messages: number;
  batches: number;
}

/**
 * The core's effects, queued by peer and encoded late: once a turn of the loop, and only for peers that take what
 * they were sent. One packet for each touched peer.
 */
export class StreamOutbox implements Outbox {
  readonly counts: OutCounts = { bytes: 0, messages: 0, batches: 0 };
  #books!: Books;
  #compute!: ComputeTaskWriter;
  readonly #types: TypeTable;
  readonly #probe: Probe;
  readonly #packet = new PacketWriter();
  readonly #workers: (PeerQueue | null)[] = [];
  readonly #clients: (PeerQueue | null)[] = [];
  #touched: PeerQueue[] = [];
  /** Queues that were lazy when they came here. */
  #lazy: PeerQueue[] = [];
  /** msgpack of the stimulus_id that this turn's messages carry. */
  #stimulus = text("rsds-0");
  /** As Dask names the cause of each compute-task, whatever led to it. */
  #compute_stimulus = text("compute-task-0");
  #turn = 0;
  readonly #written = new IntStack(1024);

  /** When the first compute-task went out since this was set to 0; ns. */
  first_compute_ns = 0;
  /** key-in-memory messages that were written. */
  keys_told = 0;
  /** Called when packets were written, at the end of a turn's; null: nobody wants to know. */
  onFlushed: (() => void) | null = null;
  /** Who wants to know, while a tracer is on, when each graph's first task goes out; null: nobody. */
  graphs: GraphLog | null = null;
  readonly #clock: Clock;

  #collected: Map<ClientId, TaskId[]> | null = null;
  readonly #waiting_max: number;

  /** A peer that has `waiting_bytes_max` of entries waiting, because it does not read, is dropped. */
  constructor(types: TypeTable, clock: Clock, probe: Probe, waiting_bytes_max = 1 << 29) {
    this.#waiting_max = waiting_bytes_max / ENTRY_BYTES;
    this.#types = types;
    this.#clock = clock;
    this.#probe = probe;
  }

  /** The books come after the outbox: each needs the other. Called once. */
  attach(books: Books): void {
    this.#books = books;
    this.#compute = new ComputeTaskWriter(books);
  }

  addWorker(worker: WorkerId, address: string, connection: Connection, release: Release): void {
    this.#compute.addresses[worker] = text(address);
    const queue = new PeerQueue(connection, release, worker);
    this.#workers[worker] = queue;
  }

  addClient(client: ClientId, connection: Connection, release: Release): void {
    const queue = new PeerQueue(connection, release, -1);
    this.#clients[client] = queue;
  }

  dropWorker(worker: WorkerId): void {
    this.#drop(this.#workers[worker]);
    this.#workers[worker] = null;
  }

  dropClient(client: ClientId): void {
    this.#drop(this.#clients[client]);
    this.#clients[client] = null;
  }

  /** What was queued before is written still, whatever the peer has read, then nothing more. */
  #drop(queue: PeerQueue | null | undefined): void {
    if (queue === null || queue === undefined) return;
    this.#encode(queue, Number.POSITIVE_INFINITY);
    queue.connection.onDrain = () => undefined;
  }

  // ---- Outbox

  computeTask(worker: WorkerId, task: TaskId): void {
    this.#push(this.#workers[worker], COMPUTE, task, this.#books.tasks.run_id[task]!);
  }

  freeKeys(worker: WorkerId, task: TaskId): void {
    this.#push(this.#workers[worker], FREE, task, 0);
  }

  freeReplica(worker: WorkerId, task: TaskId): void {
    const queue = this.#workers[worker];
    if (queue === null || queue === undefined) return;
    this.#entry(queue, FREE, task, 0);
    if (queue.touched || queue.lazy) {
      if (queue.entries.length >= ENTRY * ENTRIES_WORTH_A_PACKET) this.#touch(queue);
      return;
    }
    queue.lazy = true;
    this.#lazy.push(queue);
  }

  removeReplicas(worker: WorkerId, task: TaskId): void {
    this.#push(this.#workers[worker], REMOVE_REPLICA, task, 0);
  }

  stealRequest(worker: WorkerId, task: TaskId, steal_id: number): void {
    this.#push(this.#workers[worker], STEAL, task, steal_id);
  }

  keyInMemory(client: ClientId, task: TaskId): void {
    this.#push(this.#clients[client], IN_MEMORY, task, 0);
  }

  taskErred(client: ClientId, task: TaskId): void {
    this.#push(this.#clients[client], ERRED, task, 0);
  }

  lostData(client: ClientId, task: TaskId): void {
    this.#push(this.#clients[client], LOST, task, 0);
  }

  cancelledKeys(client: ClientId, task: TaskId, reason: CancelReason): void {
    if (this.#collected !== null && reason === "cancelled by client") {
      const tasks = this.#collected.get(client);
      if (tasks === undefined) this.#collected.set(client, [task]);
      else tasks.push(task);
      return;
    }
    this.#push(this.#clients[client], CANCELLED, task, REASONS.indexOf(reason));
  }

  taskRetried(client: ClientId, task: TaskId): void {
    this.#push(this.#clients[client], RETRIED, task, 0);
  }

  // ---- what is not the core's

  /** What clients cancel during `work` is not told, but answered: the caller has words of its own for it. */
  collectCancelled(work: () => void): ReadonlyMap<ClientId, readonly TaskId[]> {
    const cancelled = new Map<ClientId, TaskId[]>();
    this.#collected = cancelled;
    try {
      work();
    } finally {
      this.#collected = null;
    }
    return cancelled;
  }

  /** A key that the scheduler does not know: the worker shall drop it. */
  freeUnknownKey(worker: WorkerId, key: Uint8Array): void {
    this.#pushExtra(this.#workers[worker], FREE_UNKNOWN, key);
  }

  /** A replica of a key that the scheduler does not know. */
  removeUnknownReplica(worker: WorkerId, key: Uint8Array): void {
    this.#pushExtra(this.#workers[worker], REMOVE_UNKNOWN, key);
  }

  /** Any other message, in order with the rest. */
  messageToWorker(worker: WorkerId, message: WireValue): void {
    this.#pushExtra(this.#workers[worker], MESSAGE, message);
  }

  messageToClient(client: ClientId, message: WireValue): void {
    this.#pushExtra(this.#clients[client], MESSAGE, message);
  }

  #push(queue: PeerQueue | null | undefined, what: number, task: TaskId, argument: number): void {
    if (queue === null || queue === undefined) return;
    this.#entry(queue, what, task, argument);
    this.#touch(queue);
  }

  #entry(queue: PeerQueue, what: number, task: TaskId, argument: number): void {
    this.#books.tasks.pin(task);
    const { entries } = queue;
    entries.push(what);
    entries.push(task);
    entries.push(argument);
  }

  #pushExtra(queue: PeerQueue | null | undefined, what: number, extra: WireValue | Uint8Array): void {
    if (queue === null || queue === undefined) return;
    queue.entries.push(what);
    queue.entries.push(queue.extras.length);
    queue.entries.push(0);
    queue.extras.push(extra);
    this.#touch(queue);
  }

  #touch(queue: PeerQueue): void {
    if (queue.touched) return;
    queue.touched = true;
    this.#touched.push(queue);
  }

  // ---- writing

  /** The number of the turn at hand: what is queued now carries it in its stimulus_id. */
  get turn(): number {
    return this.#turn + 1;
  }

  get pending(): boolean {
    return this.#touched.length > 0;
  }

  /** There are messages that wait for others to go with: {@link hurry} makes them {@link pending}. */
  get waiting(): boolean {
    return this.#lazy.length > 0;
  }

  hurry(): void {
    for (const queue of this.#lazy) if (queue.lazy) this.#touch(queue);
    this.#lazy = [];
  }

  /**
   * One packet to each touched peer; a peer that has not read the last ones gets its own later. Once more than
   * `bytes_max` were written, those that are left stay for the next call: they are {@link pending}.
   */
  flush(bytes_max = Number.POSITIVE_INFINITY): void {
    if (this.#touched.length === 0) return;
    this.#stimulus = text(`rsds-${++this.#turn}`);
    this.#compute_stimulus = text(`compute-task-${this.#turn}`);
    const touched = this.#touched;
    const bytes_end = this.counts.bytes + bytes_max;
    const { tracer } = this.#probe;
    if (tracer !== null) tracer.enter(PHASE.encode);
    let done = 0;
    while (done < touched.length && this.counts.bytes < bytes_end) {
      const queue = touched[done++]!;
      queue.touched = false;
      this.#encode(queue, PENDING_BYTES_MAX);
    }
    this.#touched = touched.slice(done);
    if (tracer !== null) tracer.exit();
    this.onFlushed?.();
  }

  /** Writes the queue's entries as packets, until it is empty or the peer has `pending_bytes_max` unread. */
  #encode(queue: PeerQueue, pending_bytes_max: number): void {
    const { entries, connection } = queue;
    queue.lazy = false;
    let at = 0;
    while (at < entries.length && connection.pending_bytes <= pending_bytes_max) {
      at = this.#packetFrom(queue, at);
    }
    if (at < entries.length) this.#await(queue);
    if (at === entries.length) {
      entries.clear(1 << 12);
      queue.extras.length = 0;
    } else {
      entries.items.copyWithin(0, at, entries.length);
      entries.length -= at;
    }
    const waiting = entries.length / ENTRY;
    if (waiting > this.#waiting_max)
      connection.destroy(`does not read: ${waiting} messages are waiting for it`);
  }

  /** What is left of the queue follows when the peer has read; whoever owned the connection before may have set this. */
  #await(queue: PeerQueue): void {
    queue.connection.onDrain = () => {
      this.#encode(queue, PENDING_BYTES_MAX);
      // Ids that only waited for these messages become reusable now.
      this.#books.tasks.recycle();
      this.onFlushed?.();
    };
  }

  /** One packet with the entries from `at` on; returns the position behind the last that it took. */
  #packetFrom(queue: PeerQueue, at: number): number {
    const { tracer } = this.#probe;
    const packet = this.#packet;
    this.#written.length = 0;
    packet.start();
    let next = at;
    const computes = queue.computes;
    while (next < queue.entries.length && packet.size < PACKET_BYTES_MAX)
      next = this.#encodeEntry(queue, next);
    if (packet.count === 0) return next;
    // A peer that lags must not hold on to a slab that it has but a few bytes of.
    const shared = queue.connection.pending_bytes === 0;
    const chunks = packet.finish(shared);
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    this.counts.bytes += bytes;
    this.counts.messages += packet.count;
    this.counts.batches++;
    const encoded_ns = tracer === null ? 0 : tracer.now();
    queue.connection.write(chunks);
    if (shared) packet.reuse(queue.connection.pending_bytes === 0);
    if (this.first_compute_ns === 0 && queue.computes > computes) this.first_compute_ns = this.#clock.now();
    if (tracer === null) return next;
    // A packet is closed long before, but for a single message.
    if (bytes >= LARGE_MESSAGE_BYTES)
      tracer.largeMessage({ direction: "out", peer: queue.worker < 0 ? "client" : "worker", bytes });
    const written_ns = tracer.now();
    this.#stamp(tracer, encoded_ns, written_ns);
    this.graphs?.written(this.#written, written_ns);
    return next;
  }

  /** Tasks of compute-task messages stand in `#written` as they are, those of key-in-memory as their complement. */
  #stamp(tracer: Tracer, encoded_ns: number, written_ns: number): void {
    const { stamp_ns, stamps } = this.#books.tasks;
    const { items, length } = this.#written;
    let computes = 0;
    for (let i = 0; i < length; i++) {
      const task = items[i]!;
      if (task < 0) {
        tracer.hop(HOP.finishedClient, written_ns - stamp_ns[~task]!);
        if (stamps !== null) stamps.stamp(~task, STAMP.client, written_ns);
        continue;
      }
      computes++;
      tracer.hop(HOP.placedEncoded, encoded_ns - stamp_ns[task]!);
      stamp_ns[task] = written_ns;
      if (stamps === null) continue;
      stamps.stamp(task, STAMP.encoded, encoded_ns);
      stamps.stamp(task, STAMP.written, written_ns);
    }
    tracer.hops(HOP.encodedWritten, written_ns - encoded_ns, computes);
  }

  /** Appends the entry at `at`, with those after it that fit in one message; returns the position behind. */
  #encodeEntry(queue: PeerQueue, at: number): number {
    const { items } = queue.entries;
    const what = items[at]!;
    if (what === MESSAGE) {
      this.#message(takeExtra(queue, items[at + 1]!) as WireValue);
      return at + ENTRY;
    }
    if (KEYS_MESSAGES.has(what)) return this.#keysMessage(queue, at, what);
    if (what === CANCELLED && queue.release !== "2022.12") return this.#cancelled(queue, at);
    const { tasks } = this.#books;
    const task = items[at + 1]!;
    const argument = items[at + 2]!;
    if (what === COMPUTE) {
      // Taken back or given to another since it was queued: the free-keys behind it does no harm.
      if ((tasks.run_id[task]! | 0) === argument && tasks.processing_on[task] === queue.worker) {
        this.#compute.write(this.#packet, task, queue.release, this.#compute_stimulus);
        tasks.sequence[task] = queue.computes++;
        if (this.#probe.tracer !== null) this.#written.push(task);
      }
    } else this.#single(what, task, argument);
    tasks.unpin(task);
    return at + ENTRY;
  }

  /** free-keys or remove-replicas: neighbouring entries share a message. */
  #keysMessage(queue: PeerQueue, at: number, what: number): number {
    const { items, length } = queue.entries;
    const limit = Math.min(length, at + KEYS_MAX * ENTRY);
    let end = at;
    while (end < limit && items[end] === what) end += ENTRY;
    const packet = this.#packet;
    packet.reserve(128);
    packet.mapHeader(3);
    packet.raw(OP);
    packet.raw(what === REMOVE_REPLICA || what === REMOVE_UNKNOWN ? REMOVE_REPLICAS : FREE_KEYS);
    packet.raw(KEYS);
    packet.arrayHeader((end - at) / ENTRY);
    const freed = this.#books.workers[queue.worker]?.freed;
    for (let i = at; i < end; i += ENTRY) {
      if (what === FREE_UNKNOWN || what === REMOVE_UNKNOWN) {
        const key = takeExtra(queue, items[i + 1]!) as Uint8Array;
        packet.reserve(key.length);
        packet.raw(key);
      } else {
        const task = items[i + 1]!;
        packet.key(this.#books.keys, task);
        if (what === FREE) freed?.push(task);
        this.#books.tasks.unpin(task);
      }
    }
    packet.reserve(64 + this.#stimulus.length);
    packet.raw(STIMULUS);
    packet.raw(this.#stimulus);
    packet.count++;
    return end;
  }

  /** cancelled-keys of 2024.12 and later: keys of one reason in one message. */
  #cancelled(queue: PeerQueue, at: number): number {
    const { items, length } = queue.entries;
    const reason = items[at + 2]!;
    const keys: RawValue[] = [];
    const limit = Math.min(length, at + KEYS_MAX * ENTRY);
    let end = at;
    for (; end < limit && items[end] === CANCELLED && items[end + 2] === reason; end += ENTRY) {
      keys.push(new RawValue(this.#books.keys.bytes(items[end + 1]!)));
      this.#books.tasks.unpin(items[end + 1]!);
    }
    const message = WireMap.of({ op: "cancelled-keys", keys });
    if (queue.release === "2026.8") message.set("reason", REASONS[reason]!).set("msg", null);
    this.#message(message);
    return end;
  }

  /** Messages of one key. */
  #single(what: number, task: TaskId, argument: number): void {
    const { keys, tasks, errors } = this.#books;
    if (what === IN_MEMORY) {
      // Lost or released since: whoever still wants it is told when it is there again.
      if (tasks.state[task] !== MEMORY) return;
      const packet = this.#packet;
      packet.reserve(64);
      packet.raw(KEY_IN_MEMORY);
      packet.key(keys, task);
      const type = this.#types.bytes(tasks.type[task]!);
      packet.reserve(type.length + 16);
      packet.raw(TYPE);
      packet.raw(type);
      packet.count++;
      this.keys_told++;
      if (this.#probe.tracer !== null) this.#written.push(~task);
      return;
    }
    const key = new RawValue(keys.bytes(task));
    if (what === STEAL)
      this.#message(WireMap.of({ op: "steal-request", key, stimulus_id: `steal-${argument}` }));
    else if (what === LOST) this.#message(WireMap.of({ op: "lost-data", key }));
    else if (what === CANCELLED) this.#message(WireMap.of({ op: "cancelled-key", key }));
    else if (what === RETRIED) this.#message(WireMap.of({ op: "task-retried", key }));
    else if (what === ERRED) {
      const error = errors.get(task);
      // Retried or cancelled since: another message about the key follows.
      if (error === undefined) return;
      this.#message(
        WireMap.of({
          op: "task-erred",
          key,
          exception: error.exception as WireValue,
          traceback: error.traceback as WireValue,
        }),
      );
    }
  }

  /** A message through the generic codec, its frames behind those of the packet. */
  #message(message: WireValue): void {
    const packet = this.#packet;
    const first = packet.next_frame;
    const frames = encodeMessagePart(message, first);
    packet.reserve(frames[0]!.length);
    packet.raw(frames[0]!);
    for (let i = 1; i < frames.length; i++) packet.frame(frames[i]!, 0, frames[i]!.length);
    packet.count++;
  }
}

/** An extra is needed once: a peer that never catches up must not keep all that it was ever sent. */
function takeExtra(queue: PeerQueue, index: number): WireValue | Uint8Array {
  const extra = queue.extras[index]!;
  queue.extras[index] = null;
  return extra;
}

/** Entries that share a message with their neighbours of the same kind. */
const KEYS_MESSAGES: ReadonlySet<number> = new Set([FREE, REMOVE_REPLICA, FREE_UNKNOWN, REMOVE_UNKNOWN]);
const REASONS: readonly CancelReason[] = ["cancelled by client", "lost dependencies", "unknown"];
const OP = text("op");
const FREE_KEYS = text("free-keys");
const REMOVE_REPLICAS = text("remove-replicas");
const KEYS = text("keys");
const STIMULUS = text("stimulus_id");
const TYPE = text("type");
const KEY_IN_MEMORY = Buffer.concat([Uint8Array.of(0x83), OP, text("key-in-memory"), text("key")]);
