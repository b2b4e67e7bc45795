import { type ClientId, NONE, type TaskId } from "../base/ids.ts";
import { keySplit } from "../base/key-split.ts";
import type { TaskError as CoreTaskError } from "../core/books.ts";
import { PAYLOAD_INLINE, PAYLOAD_PENDING, PAYLOAD_PICKLED } from "../core/payloads.ts";
import type { Scheduler } from "../core/scheduler.ts";
import { ERRED, MEMORY, NO_WORKER, PROCESSING, QUEUED, STATE_NAMES, WAITING } from "../core/states.ts";
import { FLAG_RUNNABLE } from "../core/task-table.ts";
import type { WorkerBook } from "../core/worker-book.ts";
import { type KeyBytes, keyText, keyValue } from "../protocol/keys.ts";
import { unpackValue } from "../protocol/msgpack.ts";
import { pythonRepr } from "../protocol/python-repr.ts";
import { Pickled, Serialized, toNumber, WireMap, type WireValue } from "../protocol/values.ts";
import { bytesText } from "./html.ts";
import type { TurnLoop } from "./loop.ts";
import type {
  CancelReason,
  ClientPeer,
  Cluster,
  OutsideData,
  TaskError,
  WorkerPeer,
  WorkerStatus,
} from "./peers/cluster.ts";
import type { Log, LogLevel } from "./peers/log.ts";
import { pickledException } from "./rpc/python-error.ts";
import { killedWorker } from "./rpc/python-pickle.ts";
import { keyId } from "./rpc/request.ts";
import type { StreamOutbox } from "./stream/outbox.ts";

/** What the cold part of the server sees of the core: keys instead of ids, peers instead of books. */
export class CoreCluster implements Cluster {
  readonly workers = new Map<string, WorkerPeer>();
  readonly clients = new Map<string, ClientPeer>();
  readonly #scheduler: Scheduler;
  readonly #outbox: StreamOutbox;
  readonly #loop: TurnLoop;
  readonly #log: Log;
  readonly #books = new Map<WorkerPeer, WorkerBook>();
  /** By name, also those that no connection stands behind (`published-…`, `fire-and-forget`). */
  readonly #client_ids = new Map<string, ClientId>();
  readonly scattering = new Map<string, number>();
  readonly #drop_followers = new Set<{ readonly peer: WorkerPeer; readonly keys: Set<string> }>();
  /** Graphs that wait for the unpacker. */
  graphs_open = 0;
  /** Called before all is forgotten, by whoever has graphs that are on their way. */
  onForgetAll: () => void = () => undefined;

  readonly #limits_memory: boolean;

  /** `limits_memory`: a task whose inputs are larger than its worker's memory limit is not sent there. */
  constructor(scheduler: Scheduler, outbox: StreamOutbox, loop: TurnLoop, log: Log, limits_memory: boolean) {
    this.#limits_memory = limits_memory;
    this.#scheduler = scheduler;
    this.#outbox = outbox;
    this.#loop = loop;
    this.#log = log;
  }

  book(peer: WorkerPeer): WorkerBook {
    return this.#books.get(peer)!;
  }

  /** The core's id of a client's name; made for a name that no client has. */
  clientId(name: string): ClientId {
    let id = this.#client_ids.get(name);
    if (id === undefined) {
      id = this.#scheduler.clientJoined(name);
      this.#client_ids.set(name, id);
    }
    return id;
  }

  // ---- peers

  addWorker(peer: WorkerPeer): void {
    const book = this.#scheduler.workerJoined({
      address: peer.address,
      host: hostOf(peer.address),
      alias: String(peer.name),
      threads: peer.nthreads,
      resources: numbers(peer.resources),
      memory_limit_bytes: this.#limits_memory ? peer.memory_limit_bytes : 0,
    });
    this.#books.set(peer, book);
    this.#outbox.addWorker(book.id, peer.address, peer.stream, peer.release);
    this.#scheduler.workerStatusChanged(book, peer.status);
    this.#loop.touch();
  }

  removeWorker(peer: WorkerPeer, reason: { expected: boolean; stimulus_id: string }): void {
    const book = this.#books.get(peer);
    if (book === undefined) return;
    this.#books.delete(peer);
    this.#scheduler.workerLeft(book, reason.expected, (task) => this.#killed(task, peer));
    this.#outbox.dropWorker(book.id);
    this.#loop.touch();
  }

  #killed(task: TaskId, peer: WorkerPeer): CoreTaskError {
    const { tasks, keys } = this.#scheduler.books;
    const bytes = keys.bytes(task);
    const key = keyText(bytes);
    return {
      blame: task,
      exception: killedWorker(keyValue(bytes), peer, this.#scheduler.allowed_failures),
      traceback: null,
      exception_text: `KilledWorker(${key}, ${peer.address}): died ${tasks.suspicious[task]} times under it`,
      traceback_text: "",
      worker: peer.address,
    };
  }

  /** The error of a task whose inputs are larger than all the memory of the worker that it was to run on. */
  oversized(task: TaskId, worker: WorkerBook, inputs_bytes: number): CoreTaskError {
    const { keys, edges } = this.#scheduler.books;
    const inputs = `${pythonRepr(keyValue(keys.bytes(task)))} has ${bytesText(inputs_bytes)} worth of input dependencies`;
    const limit = `worker ${worker.address} has memory_limit set to ${bytesText(worker.memory_limit_bytes)}`;
    const advice =
      edges.dependents[task] === NONE
        ? "; if you called client.compute() on a large collection, write it to storage or reduce it first"
        : "";
    const text = `Task ${inputs}, but ${limit}${advice}`;
    this.#log.write("ERROR", text);
    return {
      blame: task,
      exception: pickledException("MemoryError", text),
      traceback: null,
      exception_text: `MemoryError(${JSON.stringify(text)})`,
      traceback_text: "",
      worker: worker.address,
    };
  }

  setWorkerStatus(peer: WorkerPeer, status: WorkerStatus, _stimulus_id: string): void {
    peer.status = status;
    const book = this.#books.get(peer);
    if (book !== undefined) this.#scheduler.workerStatusChanged(book, status);
    this.#loop.touch();
  }

  setResources(peer: WorkerPeer, resources: WireMap): void {
    peer.resources = resources;
    const book = this.#books.get(peer);
    if (book === undefined) return;
    this.#scheduler.resourcesChanged(book, numbers(resources));
    this.#loop.touch();
  }

  addClient(peer: ClientPeer): void {
    this.#outbox.addClient(this.clientId(peer.name), peer.stream, peer.release);
  }

  removeClient(peer: ClientPeer, _stimulus_id: string): void {
    this.forgetWants(peer.name);
  }

  forgetWants(client: string): void {
    const id = this.#client_ids.get(client);
    if (id === undefined) return;
    this.#client_ids.delete(client);
    this.#outbox.dropClient(id);
    this.#scheduler.clientLeft(id);
    this.#loop.touch();
  }

  // ---- what is known

  #find(key: KeyBytes): TaskId {
    return this.#scheduler.books.keys.findKey(key);
  }

  holders(key: KeyBytes): string[] | null {
    const { books } = this.#scheduler;
    const task = this.#find(key);
    if (task === NONE) return null;
    const addresses: string[] = [];
    for (let r = books.replicas.first_of_task[task]!; r !== NONE; r = books.replicas.next_of_task[r]!)
      addresses.push(books.worker(books.replicas.owner[r]!).address);
    return addresses;
  }

  hasWhat(peer: WorkerPeer): KeyBytes[] {
    const { replicas, keys } = this.#scheduler.books;
    const held: KeyBytes[] = [];
    const first = replicas.first_of_owner[this.book(peer).id]!;
    for (let r = first; r !== NONE; r = replicas.next_of_owner[r]!) held.push(keys.bytes(replicas.task[r]!));
    return held;
  }

  processing(peer: WorkerPeer): KeyBytes[] {
    const { tasks, keys } = this.#scheduler.books;
    const found: KeyBytes[] = [];
    for (let task = this.book(peer).first_processing; task !== NONE; task = tasks.next_processing[task]!)
      found.push(keys.bytes(task));
    return found;
  }

  nbytes(key: KeyBytes): number {
    const task = this.#find(key);
    return task === NONE ? -1 : this.#scheduler.books.tasks.nbytes[task]!;
  }

  taskState(key: KeyBytes): string | null {
    const task = this.#find(key);
    return task === NONE ? null : STATE_NAMES[this.#scheduler.books.tasks.state[task]!]!;
  }

  taskError(key: KeyBytes): TaskError | null {
    const { books } = this.#scheduler;
    const task = this.#find(key);
    const error = task === NONE ? undefined : books.errors.get(task);
    if (error === undefined) return null;
    return {
      exception: error.exception as WireValue,
      traceback: error.traceback as WireValue,
      exception_text: error.exception_text,
      cause: books.keys.bytes(error.blame),
    };
  }

  runSpec(key: KeyBytes): WireValue {
    const { tasks } = this.#scheduler.books;
    const task = this.#find(key);
    if (task === NONE || tasks.payload_segment[task] === NONE) return null;
    const kind = tasks.payload_kind[task]!;
    const segment = tasks.payload_segment[task]!;
    const buffer = tasks.segments.buffer(segment);
    tasks.segments.lend(segment);
    let at = tasks.payload_offset[task]!;
    const take = (length: number): Uint8Array => {
      at += length;
      return buffer.subarray(at - length, at);
    };
    if (kind === PAYLOAD_INLINE) return unpackValue(take(tasks.payload_header_bytes[task]!));
    const lengths = tasks.more_frames.get(task) ?? [
      tasks.payload_header_bytes[task]!,
      ...(tasks.payload_frames[task] === 2 ? [tasks.payload_body_bytes[task]!] : []),
    ];
    const [header, ...frames] = lengths.map(take);
    if (kind === PAYLOAD_PENDING || header === undefined) return null;
    return kind === PAYLOAD_PICKLED ? new Pickled(header, frames) : new Serialized(header, frames);
  }

  prefix(key: KeyBytes): string {
    let value = keyValue(key);
    while (Array.isArray(value)) value = value[0] ?? "";
    return value instanceof Uint8Array ? keySplit(Buffer.from(value).toString()) : keySplit(String(value));
  }

  *keysInMemory(): Iterable<KeyBytes> {
    const { tasks, keys } = this.#scheduler.books;
    for (let task = 0; task < tasks.top; task++) if (tasks.state[task] === MEMORY) yield keys.bytes(task);
  }

  *taskKeys(): Iterable<KeyBytes> {
    const { tasks, keys } = this.#scheduler.books;
    for (let task = 0; task < tasks.top; task++)
      if (STATE_NAMES[tasks.state[task]!] !== "forgotten") yield keys.bytes(task);
  }

  get transition_count(): number {
    return this.#scheduler.books.transition_count;
  }

  get busy(): boolean {
    const { state_counts } = this.#scheduler.books;
    const pending = state_counts[WAITING]! + state_counts[QUEUED]! + state_counts[NO_WORKER]!;
    return pending + state_counts[PROCESSING]! > 0 || this.graphs_open > 0;
  }

  // ---- what may be done

  registerData(entries: readonly OutsideData[], client: string | null): void {
    const id = client === null ? NONE : this.clientId(client);
    for (const { key, holders, nbytes } of entries) {
      const task = this.#scheduler.keyNamed(key);
      for (const address of holders) {
        const peer = this.workers.get(address);
        if (peer !== undefined) this.#scheduler.dataReceived(this.book(peer), task, nbytes, NONE, id);
      }
    }
    this.#loop.touch();
  }

  addReplica(key: KeyBytes, peer: WorkerPeer): boolean {
    const task = this.#find(key);
    if (task === NONE || this.#scheduler.books.tasks.state[task] !== MEMORY) return false;
    this.#scheduler.keyAdded(this.book(peer), task);
    return true;
  }

  followDrops(peer: WorkerPeer): { readonly keys: ReadonlySet<string>; end(): void } {
    const follower = { peer, keys: new Set<string>() };
    this.#drop_followers.add(follower);
    return { keys: follower.keys, end: () => void this.#drop_followers.delete(follower) };
  }

  dropReplica(key: KeyBytes, peer: WorkerPeer): boolean {
    const task = this.#find(key);
    const { replicas } = this.#scheduler.books;
    if (task === NONE || replicas.isSingle(task)) return false;
    this.#scheduler.keyReleased(this.book(peer), task);
    for (const follower of this.#drop_followers) if (follower.peer === peer) follower.keys.add(keyId(key));
    this.#loop.touch();
    return true;
  }

  cancelKeys(client: string, keys: readonly KeyBytes[], force: boolean, why: CancelReason): void {
    const cancelled = this.#outbox.collectCancelled(() => {
      for (const key of keys) {
        const task = this.#find(key);
        if (task !== NONE) this.#scheduler.cancelKey(this.clientId(client), task, force);
      }
    });
    // In the words of the client that cancels.
    for (const [id, tasks] of cancelled) {
      const peer = this.clients.get(this.#scheduler.books.clients[id] ?? "");
      const lost = tasks.map((task) => this.#scheduler.books.keys.bytes(task));
      if (peer?.release === "2022.12")
        for (const key of lost) this.#outbox.messageToClient(id, cancelledMessage(peer, [key], null));
      else this.#outbox.messageToClient(id, cancelledMessage(peer, lost, why.reason, why.msg));
    }
    this.#loop.touch();
  }

  retryKeys(keys: readonly KeyBytes[], _stimulus_id: string): KeyBytes[] {
    const retried = keys.filter((key) => {
      const task = this.#find(key);
      return task !== NONE && this.#scheduler.retryKey(task);
    });
    this.#loop.touch();
    return retried;
  }

  desireKeys(client: string, keys: readonly KeyBytes[]): void {
    const id = this.clientId(client);
    for (const key of keys) this.#scheduler.clientDesiresKey(id, this.#scheduler.keyNamed(key));
    this.#loop.touch();
  }

  releaseKeys(client: string, keys: readonly KeyBytes[], _stimulus_id: string): void {
    const id = this.#client_ids.get(client);
    if (id === undefined) return;
    for (const key of keys) {
      const task = this.#find(key);
      if (task !== NONE) this.#scheduler.clientReleasesKey(id, task);
    }
    this.#loop.touch();
  }

  reportKey(key: KeyBytes, client: string): void {
    const id = this.#client_ids.get(client);
    if (id === undefined) return;
    const task = this.#find(key);
    const { tasks } = this.#scheduler.books;
    if (task === NONE)
      this.#outbox.messageToClient(id, cancelledMessage(this.clients.get(client), [key], null));
    else if (tasks.state[task] === MEMORY) this.#outbox.keyInMemory(id, task);
    else if (tasks.state[task] === ERRED) this.#outbox.taskErred(id, task);
    else if ((tasks.flags[task]! & FLAG_RUNNABLE) === 0) this.#outbox.lostData(id, task);
    this.#loop.touch();
  }

  forgetAll(_stimulus_id: string): void {
    this.onForgetAll();
    const { wants } = this.#scheduler.books;
    for (const id of this.#client_ids.values())
      for (let want = wants.first_of_owner[id]!; want !== NONE; want = wants.first_of_owner[id]!)
        this.#scheduler.clientReleasesKey(id, wants.task[want]!);
    this.#loop.touch();
  }

  sendToWorker(peer: WorkerPeer, message: WireMap): void {
    const book = this.#books.get(peer);
    if (book === undefined) return;
    this.#outbox.messageToWorker(book.id, message);
    this.#loop.touch();
  }

  sendToClient(peer: ClientPeer, message: WireMap): void {
    const id = this.#client_ids.get(peer.name);
    if (id === undefined) return;
    this.#outbox.messageToClient(id, message);
    this.#loop.touch();
  }

  log(level: LogLevel, text: string): void {
    this.#log.write(level, text);
  }
}

/** The message by which a client of some release is told that keys are cancelled. */
export function cancelledMessage(
  peer: ClientPeer | undefined,
  keys: readonly KeyBytes[],
  reason: WireValue,
  msg: WireValue = null,
): WireMap {
  const values = keys.map(keyValue);
  // Those clients know a message for one key alone.
  if (peer?.release === "2022.12") return WireMap.of({ op: "cancelled-key", key: values[0] ?? null });
  const message = WireMap.of({ op: "cancelled-keys", keys: values });
  return peer?.release === "2026.8" ? message.set("reason", reason).set("msg", msg) : message;
}

/** An exception of ours where a worker's would be: bytes that the client unpickles. */
export function serializedException(text: string): Uint8Array {
  return pickledException("RuntimeError", text);
}

function hostOf(address: string): string {
  return address.replace(/^\w+:\/\//, "").replace(/:\d+$/, "");
}

function numbers(map: WireMap): Map<string, number> {
  return new Map(map.keys.map((key, i) => [String(key), toNumber(map.values[i]) ?? 0]));
}
