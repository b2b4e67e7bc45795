import type { Clock } from "../base/clock.ts";
import { NONE } from "../base/ids.ts";
import type { Scheduler } from "../core/scheduler.ts";
import type { WorkerBook } from "../core/worker-book.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { FramedMessage } from "../protocol/frames.ts";
import { keyBytes } from "../protocol/keys.ts";
import { decodeMessage, decodeMessagePart, PartDecoder } from "../protocol/message.ts";
import { skipValue, unpackValue } from "../protocol/msgpack.ts";
import { WireMap, type WireValue } from "../protocol/values.ts";
import { PHASE } from "../trace/phases.ts";
import { LARGE_MESSAGE_BYTES, type Probe, type Tracer } from "../trace/tracer.ts";
import type { CoreCluster } from "./core-cluster.ts";
import type { Reports } from "./diagnostics/reports.ts";
import type { GraphIntake } from "./graphs/intake.ts";
import type { HopBook } from "./hops.ts";
import type { TurnLoop } from "./loop.ts";
import type { ClientPeer, StreamHandler, WorkerPeer } from "./peers/cluster.ts";
import { onClientOp, onWorkerOp } from "./registration/stream-ops.ts";
import type { RpcContext } from "./rpc/context.ts";
import { keyId } from "./rpc/request.ts";
import type { StreamOutbox } from "./stream/outbox.ts";
import { onTaskOp } from "./stream/task-ops.ts";
import type { TypeTable } from "./stream/type-table.ts";
import { arrayCount, firstItem, mapCount, startsWith } from "./stream/walk.ts";
import { ADDED, DROPPED, FINISHED, OTHER, WorkerReader } from "./stream/worker-reader.ts";

/** Bytes, packets and messages that came in on streams. */
export interface InCounts {
  bytes: number;
  messages: number;
  batches: number;
}

export interface StreamsParts {
  readonly scheduler: Scheduler;
  readonly cluster: CoreCluster;
  readonly outbox: StreamOutbox;
  readonly loop: TurnLoop;
  readonly intake: GraphIntake;
  readonly types: TypeTable;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly hops: HopBook;
  readonly reports: Reports;
}

/** What waits of a client's stream while a graph of its is being opened. */
interface ClientStream {
  busy: boolean;
  /** `stale`: all was forgotten since it came; graphs in it are of before. */
  readonly waiting: { message: FramedMessage; at: number; left: number; stale: boolean }[];
}

const OP_NAME = Buffer.from("\xa2op", "latin1");
/** Packets of one client that wait for its graph before we stop reading it. */
const WAITING_MAX = 64;

/** The streams of registered peers: bytes to events of the core. The hot half of the server. */
export class Streams implements StreamHandler {
  readonly counts: InCounts = { bytes: 0, messages: 0, batches: 0 };
  /** Set once the cold half is made: operations that are not about tasks go there. */
  context!: RpcContext;
  readonly #parts: StreamsParts;
  readonly #reader: WorkerReader;
  readonly #clients = new Map<ClientPeer, ClientStream>();
  /** Operations that nobody knows, by name. */
  readonly unknown_ops = new Map<string, number>();

  constructor(parts: StreamsParts) {
    this.#parts = parts;
    this.#reader = new WorkerReader(parts.scheduler.books, parts.types);
    parts.cluster.onForgetAll = () => this.#forgetGraphs();
  }

  // ---- workers

  onWorkerMessage(peer: WorkerPeer, message: FramedMessage): void {
    const { probe, loop, cluster, clock, scheduler } = this.#parts;
    const { tracer } = probe;
    const reader = this.#reader;
    const worker = cluster.book(peer);
    if (tracer !== null) tellLarge(tracer, "worker", message);
    const read_ns = tracer === null ? clock.now() : tracer.enter(PHASE.decode);
    scheduler.now_ns = read_ns;
    let decoded = false;
    try {
      reader.read(message, worker);
      decoded = true;
      this.counts.bytes += message.end - message.start;
      this.counts.messages += reader.messages;
      this.counts.batches++;
      if (tracer !== null) tracer.swap(PHASE.transition);
      this.#apply(peer, worker, message, read_ns, tracer);
    } finally {
      if (tracer !== null) {
        const finished_ns = tracer.exit();
        if (decoded) this.#parts.hops.finished(tracer, reader, finished_ns - read_ns, finished_ns);
      }
    }
    loop.touch("read");
  }

  #apply(
    peer: WorkerPeer,
    worker: WorkerBook,
    message: FramedMessage,
    read_ns: number,
    tracer: Tracer | null,
  ): void {
    const reader = this.#reader;
    const { scheduler, hops, reports } = this.#parts;
    let decoder: PartDecoder | null = null;
    let others = 0;
    if (reports.wanted) {
      reports.read(decodeMessage(message), peer, worker);
    }
    for (let row = 0; row < reader.count; row++) {
      const what = reader.what[row]!;
      const task = reader.task[row]!;
      if (what === OTHER) {
        decoder ??= new PartDecoder(message);
        const [start, end] = [reader.bounds.items[others++]!, reader.bounds.items[others++]!];
        this.#workerOp(peer, worker, decoder.decode(start, end));
      } else if (task === NONE) this.#unknownKey(worker, what, reader.unknownKey(row));
      else if (what === ADDED) scheduler.keyAdded(worker, task);
      else if (what === DROPPED) scheduler.keyReleased(worker, task);
      else {
        if (tracer !== null) hops.read(tracer, reader, row, worker.id, read_ns);
        const { run_id, nbytes, type, start_s, stop_s } = reader;
        const duration_s = stop_s[row]! - start_s[row]!;
        const taken = scheduler.taskFinished(
          worker,
          task,
          run_id[row]!,
          nbytes[row]!,
          type[row]!,
          duration_s,
        );
        // A stale report finishes nothing: no hop ends here.
        if (!taken) reader.what[row] = DROPPED;
      }
    }
  }

  /** The worker has something that was forgotten here, or never known. */
  #unknownKey(worker: WorkerBook, what: number, key: Uint8Array): void {
    if (what === FINISHED) this.#parts.outbox.freeUnknownKey(worker.id, key);
    else if (what === ADDED && !this.#parts.cluster.scattering.has(keyId(key)))
      this.#parts.outbox.removeUnknownReplica(worker.id, key);
  }

  /** A message that is not hot, decoded. */
  #workerOp(peer: WorkerPeer, worker: WorkerBook, fields: WireValue): void {
    if (!(fields instanceof WireMap))
      throw new ProtocolError("BAD_STREAM_MESSAGE", "a message that is no map");
    const op = String(fields.get("op"));
    if (onTaskOp(op, fields, worker, this.#parts.scheduler)) return;
    if (!onWorkerOp(op, fields, peer, this.context)) this.#unknown(op, peer.address);
  }

  #unknown(op: string, from: string): void {
    const count = this.unknown_ops.get(op) ?? 0;
    if (this.unknown_ops.size < 1000 || count > 0) this.unknown_ops.set(op, count + 1);
    if (count === 0)
      this.#parts.cluster.log("WARNING", `Stream operation '${op}' (first from ${from}) is not known`);
  }

  // ---- clients

  onClientMessage(peer: ClientPeer, message: FramedMessage): void {
    this.counts.bytes += message.end - message.start;
    this.counts.batches++;
    if (this.#parts.probe.tracer !== null) tellLarge(this.#parts.probe.tracer, "client", message);
    const at = message.frameStart(0);
    const left = arrayCount(message.bytes, at, message.frameEnd(0));
    if (left < 0) throw new ProtocolError("BAD_STREAM_MESSAGE", "a stream message that is not a list");
    this.counts.messages += left;
    const stream = this.#stream(peer);
    if (stream.busy) {
      stream.waiting.push({ message: message.own(), at: -1, left, stale: false });
      if (stream.waiting.length >= WAITING_MAX) peer.stream.pause();
      return;
    }
    this.#clientMessages(peer, stream, message, firstItem(message.bytes, at), left);
  }

  #stream(peer: ClientPeer): ClientStream {
    let stream = this.#clients.get(peer);
    if (stream === undefined) {
      stream = { busy: false, waiting: [] };
      this.#clients.set(peer, stream);
    }
    return stream;
  }

  /** The messages from `at` on, until one of them makes the rest wait. */
  #clientMessages(
    peer: ClientPeer,
    stream: ClientStream,
    packet: FramedMessage,
    from: number,
    count: number,
    stale = false,
  ): void {
    let message = packet;
    let at = from;
    const alone = count === 1 && from === firstItem(packet.bytes, packet.frameStart(0));
    for (let left = count; left > 0; left--) {
      const op = readOp(message.bytes, at, message.frameEnd(0));
      if (op !== "update-graph" && op !== "update-graph-hlg") {
        const end = skipValue(message.bytes, at, message.frameEnd(0));
        this.#clientOp(peer, op, message, at, end);
        at = end;
        continue;
      }
      if (stale) {
        at = skipValue(message.bytes, at, message.frameEnd(0));
        continue;
      }
      // Payloads are slices of the message from here on.
      const owned = message.own();
      at += owned.start - message.start;
      message = owned;
      const whole = owned.frameEnd(0);
      const after =
        op === "update-graph-hlg" ? this.#parts.intake.takeHlg(peer, owned, at, whole, alone) : NONE;
      if (after !== NONE) at = after;
      else {
        const end = skipValue(owned.bytes, at, whole);
        const taken = this.#updateGraph(peer, stream, owned, { op, start: at, end, left: left - 1 });
        if (!taken) return;
        at = end;
      }
    }
  }

  #clientOp(peer: ClientPeer, op: string, message: FramedMessage, start: number, end: number): void {
    const { cluster, probe } = this.#parts;
    const { tracer } = probe;
    const fields = this.#decode(message, start, end);
    if (tracer !== null) tracer.enter(PHASE.transition);
    try {
      if (op === "client-releases-keys")
        cluster.releaseKeys(peer.name, keysOf(fields), "client-releases-keys");
      else if (op === "client-desires-keys") cluster.desireKeys(peer.name, keysOf(fields));
      else if (!onClientOp(op, fields, peer, this.context)) this.#unknown(op, peer.name);
    } finally {
      if (tracer !== null) tracer.exit();
    }
  }

  #decode(message: FramedMessage, start: number, end: number): WireMap {
    const { tracer } = this.#parts.probe;
    if (tracer !== null) tracer.enter(PHASE.decode);
    try {
      const fields = decodeMessagePart(message, start, end);
      if (fields instanceof WireMap) return fields;
      throw new ProtocolError("BAD_STREAM_MESSAGE", "a message that is no map");
    } finally {
      if (tracer !== null) tracer.exit();
    }
  }

  /** False: it is with Python, and the client's further messages wait. */
  #updateGraph(
    peer: ClientPeer,
    stream: ClientStream,
    message: FramedMessage,
    { op, start, end, left }: { op: string; start: number; end: number; left: number },
  ): boolean {
    const { cluster, intake, clock } = this.#parts;
    const received_ns = clock.now();
    let taken: Promise<void>;
    if (op === "update-graph-hlg") taken = intake.takePacked(peer, message, start, end, received_ns);
    else {
      const fields = this.#decode(message, start, end);
      // A future that 2022.12 binds to a client anew: a graph without tasks.
      const tasks = fields.get("tasks");
      if (tasks instanceof WireMap && tasks.size === 0) {
        cluster.desireKeys(peer.name, keysOf(fields));
        return true;
      }
      taken = intake.takePickled(peer, fields, message.end - message.start, received_ns);
    }
    stream.busy = true;
    if (left > 0) stream.waiting.push({ message, at: end, left, stale: false });
    taken.catch((error: unknown) => this.#fault(peer, error)).finally(() => this.#goOn(peer, stream));
    return false;
  }

  /** Graphs that are with Python, or wait for one that is, come too late: all was forgotten. */
  #forgetGraphs(): void {
    this.#parts.intake.forgetOpen();
    for (const { waiting } of this.#clients.values()) for (const one of waiting) one.stale = true;
  }

  /** What waited for the graph, in its order. */
  #goOn(peer: ClientPeer, stream: ClientStream): void {
    stream.busy = false;
    try {
      while (!stream.busy && !peer.gone) {
        const next = stream.waiting.shift();
        if (next === undefined) break;
        const at = next.at >= 0 ? next.at : firstItem(next.message.bytes, next.message.frameStart(0));
        // What is left of this packet must come before the packets that wait behind it.
        const behind = stream.waiting.splice(0);
        this.#clientMessages(peer, stream, next.message, at, next.left, next.stale);
        stream.waiting.push(...behind);
      }
      peer.stream.resume();
    } catch (error) {
      this.#fault(peer, error);
    }
  }

  /** What a client's message did wrong costs that client's stream; a bug of ours shows its stack. */
  #fault(peer: ClientPeer, error: unknown): void {
    if (!(error instanceof ProtocolError)) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#parts.cluster.log("ERROR", `A message of client ${peer.name} met a bug: ${text}`);
    }
    peer.stream.destroy(error instanceof ProtocolError ? `bad message, ${error.message}` : "a bug of ours");
  }

  onGone(peer: WorkerPeer | ClientPeer): void {
    if (peer.kind === "client") this.#clients.delete(peer);
  }
}

function keysOf(fields: WireMap): Uint8Array[] {
  const keys = fields.get("keys");
  if (!Array.isArray(keys)) throw new ProtocolError("BAD_STREAM_MESSAGE", "a message without a list of keys");
  return keys.map(keyBytes);
}

/** The value of `op`, which Dask writes first: fields behind it are not looked at. */
function readOp(bytes: Buffer, start: number, end: number): string {
  const count = mapCount(bytes, start, end);
  let at = firstItem(bytes, start);
  for (let i = 0; i < count; i++) {
    const value = skipValue(bytes, at, end);
    if (startsWith(bytes, at, OP_NAME)) {
      const op = unpackValue(bytes, value, skipValue(bytes, value, end));
      if (typeof op === "string") return op;
      break;
    }
    at = skipValue(bytes, value, end);
  }
  throw new ProtocolError("BAD_STREAM_MESSAGE", "a message without op");
}

function tellLarge(tracer: Tracer, peer: "client" | "worker", message: FramedMessage): void {
  const bytes = message.end - message.start;
  if (bytes >= LARGE_MESSAGE_BYTES) tracer.largeMessage({ direction: "in", peer, bytes });
}
