import type { Clock } from "../../base/clock.ts";
import { type ClientId, NONE, type TaskId } from "../../base/ids.ts";
import type { TaskError } from "../../core/books.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { GraphCycleError, orderGraph } from "../../ordering/index.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import type { FramedMessage } from "../../protocol/frames.ts";
import { type KeyBytes, keyBytes, keyText, keyValue } from "../../protocol/keys.ts";
import { packValue, skipValue } from "../../protocol/msgpack.ts";
import { Serialized, toNumber, WireMap, WireSet } from "../../protocol/values.ts";
import { HOP, PHASE } from "../../trace/phases.ts";
import type { Probe } from "../../trace/tracer.ts";
import type { UnpackError, UnpackRequest } from "../../unpacker/graph.ts";
import type { UnpackerPool } from "../../unpacker/unpacker.ts";
import { type CoreCluster, cancelledMessage, serializedException } from "../core-cluster.ts";
import type { TurnLoop } from "../loop.ts";
import type { ClientPeer } from "../peers/cluster.ts";
import type { Log } from "../peers/log.ts";
import type { StreamOutbox } from "../stream/outbox.ts";
import { annotateActors } from "./annotations.ts";
import { Generations } from "./generation.ts";
import { type GraphLog, type GraphRecord, newRecord } from "./graph-log.ts";
import { HlgReader, NeedsPythonError, readKeys, readPacked } from "./hlg.ts";
import { pickledFrames, UnpackedGraph } from "./unpacked.ts";

export interface GraphIntakeParts {
  readonly scheduler: Scheduler;
  readonly cluster: CoreCluster;
  readonly outbox: StreamOutbox;
  readonly loop: TurnLoop;
  readonly unpacker: () => UnpackerPool;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now_ms: () => number;
}

/** A client's graph is in the books. */
export interface GraphNews {
  readonly client: string;
  /** Keys that the client asked for; decoded only when somebody wants them. To be called within the follower. */
  readonly wanted: () => readonly KeyBytes[];
  /** All its tasks. */
  readonly tasks: Int32Array;
  /** The fields of its message; null for 2022.12's, which are not decoded. */
  readonly fields: WireMap | null;
  /** When its message was taken up, and when it was in the books, ns. */
  readonly submitted_ns: number;
  readonly known_ns: number;
}

/** Takes clients' graphs in, in all forms; whatever is wrong with one costs its own keys. */
export class GraphIntake {
  readonly #parts: GraphIntakeParts;
  readonly #generations = new Generations();
  /** Whoever wants to know what becomes of graphs; null: nobody. */
  graphs: GraphLog | null = null;
  /** Told of each graph, before anything of it runs. */
  readonly followers = new Set<(news: GraphNews) => void>();
  /** Told of each graph that Python is to open, as it comes. */
  readonly arrivals = new Set<() => void>();
  /** Graphs whose structure is not there yet. */
  readonly #open = new Set<{ yes: boolean }>();

  constructor(parts: GraphIntakeParts) {
    this.#parts = parts;
  }

  /** Those that Python is still opening will not be taken in. */
  forgetOpen(): void {
    for (const awaited of this.#open) awaited.yes = false;
  }

  #record(bytes: number, submitted_ns: number): GraphRecord {
    return this.graphs?.add(bytes, submitted_ns) ?? newRecord(bytes, submitted_ns);
  }

  // ---- 2022.12: materialized layers, read here

  /**
   * `message` is owned; the `update-graph-hlg` map begins at `start` of its bytes. Answers where it ends; NONE: nothing
   * was taken, only Python can open it ({@link takePacked}). `alone`: nothing else is in the message, so that its memory is
   * free once the last payload is.
   */
  takeHlg(peer: ClientPeer, message: FramedMessage, start: number, end: number, alone: boolean): number {
    const { scheduler, probe, clock } = this.#parts;
    const { tracer } = probe;
    const begun_ns = tracer === null ? clock.now() : tracer.enter(PHASE.decode);
    const record = this.#record(message.end - message.start, begun_ns);
    scheduler.now_ns = begun_ns;
    const client = this.#parts.cluster.clientId(peer.name);
    const builder = scheduler.graph({
      client,
      buffer: message.bytes,
      onBufferUnused: alone ? (): void => message.giveBack() : null,
      generation: 0,
      user_priority: 0,
    });
    const reader = new HlgReader(message, builder, scheduler.books.keys);
    let after = end;
    try {
      const fields = reader.read(start, end);
      const { wanted, ordered } = fields;
      after = fields.after;
      builder.user_priority = -fields.user_priority;
      builder.generation = this.#generations.next(
        { ...fields, now_ms: this.#parts.now_ms() },
        scheduler.books,
      );
      const decoded_ns = tracer === null ? clock.now() : tracer.swap(PHASE.graph);
      const order = ordered && isTopological(reader) ? null : this.#order(reader, ordered);
      const ordered_ns = clock.now();
      reader.define((i) => (order === null ? reader.orderOf(i) : order[i]!));
      annotateActors(builder, scheduler.books.keys, fields.actors, wanted);
      const result = builder.commit(wanted);
      const known_ns = tracer === null ? clock.now() : tracer.exit();
      record.decode_ns = decoded_ns - begun_ns;
      record.order_ns = ordered_ns - decoded_ns;
      record.insert_ns = known_ns - ordered_ns;
      record.known_ns = known_ns;
      record.tasks = result.tasks;
      if (result.lost.length > 0) this.#lost(peer, client, readKeys(message, start, end));
      else {
        const tasks = reader.tasks.items.subarray(0, reader.count);
        this.#known(record, tasks, reader.dependencies.length);
        if (this.followers.size > 0)
          this.#tell(record, {
            client: peer.name,
            wanted: () => readKeys(message, start, end),
            tasks,
            fields: null,
          });
      }
    } catch (error) {
      if (tracer !== null) tracer.exit();
      builder.abort();
      if (error instanceof ProtocolError) throw error;
      if (error instanceof NeedsPythonError) return NONE;
      if (!(error instanceof GraphCycleError)) throw error;
      after = skipValue(message.bytes, start, end);
      this.#refuse(client, readKeys(message, start, after), error.message, null, null);
    }
    this.#parts.loop.touch();
    return after;
  }

  #order(reader: HlgReader, ordered: boolean): Int32Array {
    const { books } = this.#parts.scheduler;
    const { count } = reader;
    const offsets = new Uint32Array(count + 1);
    const externals = new Map<TaskId, number>();
    const ids: number[] = [];
    for (let i = 0; i < count; i++) {
      const [start, length] = reader.dependencyRange(i);
      for (let d = start; d < start + length; d++) {
        const task = reader.dependencies.items[d]!;
        let id = reader.indexOf(task);
        if (id < 0) {
          id = externals.get(task) ?? count + externals.size;
          externals.set(task, id);
        }
        ids.push(id);
      }
      offsets[i + 1] = ids.length;
    }
    const external_tasks = [...externals.keys()];
    const places = orderGraph({
      count,
      external_count: external_tasks.length,
      dependency_offsets: offsets,
      dependencies: Uint32Array.from(ids),
      text: (id) =>
        keyText(books.keys.bytes(id < count ? reader.tasks.items[id]! : external_tasks[id - count]!)),
    });
    // The client's own order was only doubted: it has no cycle, so it stays.
    return ordered ? Int32Array.from({ length: count }, (_, i) => reader.orderOf(i)) : places;
  }

  #tell(record: GraphRecord, news: Omit<GraphNews, "submitted_ns" | "known_ns">): void {
    const { submitted_ns, known_ns } = record;
    for (const follower of this.followers) follower({ ...news, submitted_ns, known_ns });
  }

  /** submit→known, and the stamp that the next hop starts from. */
  #known(record: GraphRecord, tasks: Int32Array, dependencies: number): void {
    const { probe, scheduler } = this.#parts;
    const { tracer } = probe;
    const { known_ns, submitted_ns } = record;
    if (this.graphs !== null) this.graphs.dependencies += dependencies;
    if (tracer === null) return;
    this.graphs?.known(record, tasks);
    tracer.hops(HOP.submitKnown, known_ns - submitted_ns, tasks.length);
    const { stamp_ns, stamps } = scheduler.books.tasks;
    for (const task of tasks) stamp_ns[task] = known_ns;
    if (stamps !== null) stamps.known(tasks, submitted_ns, known_ns);
  }

  // ---- later releases: pickled graphs, through the unpacker

  /**
   * Resolves when the graph's structure is in, or has failed: until then the client's later messages must wait, or
   * its releases would overtake its graph.
   */
  async takePickled(peer: ClientPeer, fields: WireMap, bytes: number, received_ns: number): Promise<void> {
    const wanted = wantedKeys(fields);
    return this.#unpack(peer, fields, wanted, readRequest(fields, wanted), bytes, received_ns);
  }

  /** As {@link takePickled}, of what {@link takeHlg} could not take: 2022.12's layers, left to their classes' code. */
  async takePacked(
    peer: ClientPeer,
    message: FramedMessage,
    start: number,
    end: number,
    received_ns: number,
  ): Promise<void> {
    const { fields, graph } = readPacked(message, start, end);
    const wanted = wantedKeys(fields);
    const request = { kind: "packed", graph, annotations: null, keys: packedKeys(wanted) } as const;
    return this.#unpack(peer, fields, wanted, request, message.end - message.start, received_ns);
  }

  async #unpack(
    peer: ClientPeer,
    fields: WireMap,
    wanted: readonly KeyBytes[],
    request: UnpackRequest,
    bytes: number,
    received_ns: number,
  ): Promise<void> {
    const { cluster, clock, loop, unpacker } = this.#parts;
    const record = this.#record(bytes, received_ns);
    const asked_ns = clock.now();
    record.decode_ns = asked_ns - received_ns;
    cluster.graphs_open++;
    for (const told of this.arrivals) told();
    // Nobody waits for the graph any more once this is false.
    const awaited = { yes: true };
    this.#open.add(awaited);
    await new Promise<void>((resolve) => {
      let graph: UnpackedGraph | null = null;
      const over = (): void => {
        cluster.graphs_open--;
        resolve();
        loop.touch();
      };
      const pool = unpacker();
      pool.unpack(request, {
        onStructure: (structure, id) => {
          record.unpack_ns = Object.values(structure.cpu_seconds).reduce((a, b) => a + b, 0) * 1e9;
          record.wait_ns = Math.max(0, clock.now() - asked_ns - record.unpack_ns);
          this.#open.delete(awaited);
          graph = new UnpackedGraph(this.#parts.scheduler, structure, request.kind);
          const order = awaited.yes ? this.#insert(peer, graph, fields, wanted, record) : null;
          if (order === null) {
            pool.cancel(id);
            over();
          } else {
            pool.sendOrder(id, order);
            resolve();
          }
          loop.touch();
        },
        onSpecs: (chunk) => {
          this.#traced(PHASE.decode, () => graph?.payloads(chunk));
          loop.touch();
        },
        onDone: () => {
          record.complete_ns = clock.now();
          graph?.end(null);
          over();
        },
        onError: (error) => {
          this.#open.delete(awaited);
          if (graph === null && awaited.yes) this.#unpackFailed(peer, wanted, error);
          else graph?.end(taskError(error));
          over();
        },
      });
    });
  }

  #traced(phase: 0 | 5, work: () => void): number {
    const { probe, clock } = this.#parts;
    const { tracer } = probe;
    if (tracer !== null) tracer.enter(phase);
    try {
      work();
    } finally {
      if (tracer !== null) tracer.exit();
    }
    return clock.now();
  }

  /** Null: nothing of it was kept, and the client was told. */
  #insert(
    peer: ClientPeer,
    graph: UnpackedGraph,
    fields: WireMap,
    wanted: readonly KeyBytes[],
    record: GraphRecord,
  ): Uint32Array | null {
    const { scheduler, cluster, clock } = this.#parts;
    // The client may have left while Python was at work: then nobody wants any of it.
    if (peer.gone) return null;
    const client = cluster.clientId(peer.name);
    const begun_ns = clock.now();
    scheduler.now_ns = begun_ns;
    let order: Uint32Array | null = null;
    const known_ns = this.#traced(PHASE.graph, () => {
      order = this.#defineAndCommit(peer, client, graph, fields, wanted, record);
    });
    record.insert_ns = known_ns - begun_ns - record.order_ns;
    record.known_ns = known_ns;
    record.tasks = graph.task_count;
    if (order !== null) {
      this.#known(record, graph.taskIds(), graph.dependency_count);
      this.#tell(record, { client: peer.name, wanted: () => wanted, tasks: graph.taskIds(), fields });
    }
    return order;
  }

  #defineAndCommit(
    peer: ClientPeer,
    client: ClientId,
    graph: UnpackedGraph,
    fields: WireMap,
    wanted: readonly KeyBytes[],
    record: GraphRecord,
  ): Uint32Array | null {
    const { scheduler, clock } = this.#parts;
    const builder = scheduler.graph({
      client,
      buffer: null,
      generation: this.#generations.next(
        {
          submitting_task: fields.get("submitting_task") ?? null,
          fifo_timeout: fields.get("fifo_timeout") ?? null,
          now_ms: this.#parts.now_ms(),
        },
        scheduler.books,
      ),
      user_priority: -(toNumber(fields.get("user_priority")) ?? 0),
    });
    try {
      const tasks = wanted.map((key) => builder.internKey(key));
      const begun_ns = clock.now();
      const places = graph.places(fields.get("internal_priority") ?? null);
      record.order_ns = clock.now() - begun_ns;
      const order = graph.define(builder, {
        wanted: tasks,
        places,
        actors: fields.get("actors") ?? null,
      });
      const result = builder.commit(tasks);
      if (result.lost.length === 0) return order;
      graph.end(null);
      this.#lost(peer, client, wanted);
      return null;
    } catch (error) {
      graph.end(null);
      builder.abort();
      if (!(error instanceof GraphCycleError)) throw error;
      this.#refuse(client, wanted, error.message, null, null);
      return null;
    }
  }

  #unpackFailed(peer: ClientPeer, wanted: readonly KeyBytes[], error: UnpackError): void {
    this.#parts.log.write(
      "ERROR",
      `A graph of ${peer.name} could not be opened (${error.code}): ${error.message}`,
    );
    if (peer.gone) return;
    const client = this.#parts.cluster.clientId(peer.name);
    this.#refuse(client, wanted, error.message, error.exception, error.traceback);
  }

  // ---- answers

  /** Tasks depend on keys that nobody can provide: all keys of the request are cancelled, as in Dask. */
  #lost(peer: ClientPeer, client: ClientId, wanted: readonly KeyBytes[]): void {
    const { outbox, loop } = this.#parts;
    if (peer.release === "2022.12")
      for (const key of wanted)
        outbox.messageToClient(client, WireMap.of({ op: "cancelled-key", key: keyValue(key) }));
    else outbox.messageToClient(client, cancelledMessage(peer, wanted, "lost dependencies"));
    loop.touch();
  }

  /** The wanted keys are erred for this client; the scheduler keeps nothing of the graph. */
  #refuse(
    client: ClientId,
    wanted: readonly KeyBytes[],
    text: string,
    exception: Uint8Array | null,
    traceback: Uint8Array | null,
  ): void {
    const { outbox, loop } = this.#parts;
    for (const key of wanted)
      outbox.messageToClient(
        client,
        WireMap.of({
          op: "task-erred",
          key: keyValue(key),
          exception: exception ?? serializedException(text),
          traceback,
        }),
      );
    loop.touch();
  }
}

function taskError(error: UnpackError): TaskError {
  return {
    blame: NONE,
    exception: error.exception ?? serializedException(error.message),
    traceback: error.traceback,
    exception_text: error.message,
    traceback_text: error.traceback_text,
    worker: "",
  };
}

/** True when every dependency within the graph has a lower place: then there is no cycle. */
function isTopological(reader: HlgReader): boolean {
  for (let i = 0; i < reader.count; i++) {
    const [start, count] = reader.dependencyRange(i);
    const place = reader.orderOf(i);
    for (let d = start; d < start + count; d++) {
      const index = reader.indexOf(reader.dependencies.items[d]!);
      if (index >= 0 && reader.orderOf(index) >= place) return false;
    }
  }
  return true;
}

function wantedKeys(fields: WireMap): KeyBytes[] {
  const keys = fields.get("keys");
  const items = keys instanceof WireSet ? keys.items : Array.isArray(keys) ? keys : [];
  return items.map(keyBytes);
}

/** A msgpack array of keys that are msgpack already. */
function packedKeys(keys: readonly KeyBytes[]): Uint8Array {
  const count = Buffer.alloc(5);
  count[0] = 0xdd;
  count.writeUInt32BE(keys.length, 1);
  return Buffer.concat([count, ...keys]);
}

function readRequest(fields: WireMap, wanted: readonly KeyBytes[]): UnpackRequest {
  const keys = packedKeys(wanted);
  const annotations = pickledFrames(fields.get("annotations"));
  const expression = fields.get("expr_ser");
  if (expression instanceof Serialized)
    return {
      kind: "expr",
      graph: { header: expression.header, frames: expression.frames },
      annotations,
      keys,
    };
  const header = fields.get("graph_header");
  const frames = fields.get("graph_frames");
  if (header === undefined || !Array.isArray(frames) || !frames.every((frame) => frame instanceof Uint8Array))
    throw new ProtocolError("BAD_GRAPH", "update-graph without expr_ser or graph_header and graph_frames");
  return { kind: "hlg", graph: { header: packValue(header), frames }, annotations, keys };
}
