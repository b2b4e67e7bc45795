import type { FramedMessage } from "../../../src/protocol/frames.ts";
import { frameMessage } from "../../../src/protocol/frames.ts";
import type { KeyBytes } from "../../../src/protocol/keys.ts";
import { keyBytes, keyText } from "../../../src/protocol/keys.ts";
import { decodeMessage, encodeMessage } from "../../../src/protocol/message.ts";
import { RawValue, WireMap, type WireValue } from "../../../src/protocol/values.ts";
import type {
  CancelReason,
  ClientPeer,
  Cluster,
  OutsideData,
  StreamHandler,
  TaskError,
  WorkerPeer,
  WorkerStatus,
} from "../../../src/server/peers/cluster.ts";
import { onClientOp, onWorkerOp } from "../../../src/server/registration/stream-ops.ts";
import type { RpcContext } from "../../../src/server/rpc/context.ts";
import { keyId } from "../../../src/server/rpc/request.ts";

interface TinyTask {
  readonly key: KeyBytes;
  readonly holders: Set<WorkerPeer>;
  readonly wanted_by: Set<string>;
  nbytes: number;
}

/**
 * A cluster of plain data: keys that were put into workers, who holds and who wants them. No tasks are computed.
 * Every message is written at once. It keeps the promises of the interface for what it can hold.
 */
export class TinyCluster implements Cluster {
  readonly workers = new Map<string, WorkerPeer>();
  readonly clients = new Map<string, ClientPeer>();
  readonly tasks = new Map<string, TinyTask>();
  readonly errors = new Map<string, TaskError>();
  /** Ids that are in use, to catch one that is given out twice. */
  readonly worker_ids = new Set<number>();
  transition_count = 0;
  busy = false;

  addWorker(peer: WorkerPeer): void {
    if (this.worker_ids.has(peer.id)) throw new Error(`id ${peer.id} is taken`);
    this.worker_ids.add(peer.id);
    this.transition_count++;
  }

  removeWorker(peer: WorkerPeer, _reason: { expected: boolean; stimulus_id: string }): void {
    if (!this.worker_ids.delete(peer.id)) throw new Error(`worker ${peer.id} is not there`);
    for (const [id, task] of this.tasks) {
      if (task.holders.delete(peer) && task.holders.size === 0) this.tasks.delete(id);
    }
    this.transition_count++;
  }

  setWorkerStatus(peer: WorkerPeer, status: WorkerStatus): void {
    peer.status = status;
  }

  setResources(_peer: WorkerPeer, _resources: WireMap): void {
    this.transition_count++;
  }

  addClient(_peer: ClientPeer): void {
    this.transition_count++;
  }

  removeClient(peer: ClientPeer, stimulus_id: string): void {
    const keys = [...this.tasks.values()]
      .filter((task) => task.wanted_by.has(peer.name))
      .map((task) => task.key);
    this.releaseKeys(peer.name, keys, stimulus_id);
  }

  forgetWants(client: string): void {
    const wanted = [...this.tasks.values()].filter((task) => task.wanted_by.has(client));
    this.releaseKeys(
      client,
      wanted.map((task) => task.key),
      "forget",
    );
  }

  holders(key: KeyBytes): string[] | null {
    const task = this.tasks.get(keyId(key));
    return task === undefined ? null : [...task.holders].map((peer) => peer.address);
  }

  hasWhat(peer: WorkerPeer): KeyBytes[] {
    return [...this.tasks.values()].filter((task) => task.holders.has(peer)).map((task) => task.key);
  }

  processing(_peer: WorkerPeer): KeyBytes[] {
    return [];
  }

  nbytes(key: KeyBytes): number {
    return this.tasks.get(keyId(key))?.nbytes ?? -1;
  }

  taskState(key: KeyBytes): string | null {
    return this.tasks.has(keyId(key)) ? "memory" : null;
  }

  taskError(key: KeyBytes): TaskError | null {
    return this.errors.get(keyId(key)) ?? null;
  }

  runSpec(_key: KeyBytes): WireValue {
    return null;
  }

  prefix(key: KeyBytes): string {
    return keyText(key).split("-")[0] ?? "";
  }

  *keysInMemory(): Iterable<KeyBytes> {
    for (const task of this.tasks.values()) yield task.key;
  }

  taskKeys(): Iterable<KeyBytes> {
    return this.keysInMemory();
  }

  readonly scattering = new Map<string, number>();

  registerData(entries: readonly OutsideData[], client: string | null): void {
    for (const { key, holders, nbytes } of entries) {
      const known = this.tasks.get(keyId(key));
      const task = known ?? { key, holders: new Set<WorkerPeer>(), wanted_by: new Set<string>(), nbytes };
      this.tasks.set(keyId(key), task);
      for (const address of holders) {
        const peer = this.workers.get(address);
        if (peer === undefined) throw new Error(`${address} is not registered`);
        task.holders.add(peer);
      }
      if (client !== null) task.wanted_by.add(client);
      const message = WireMap.of({ op: "key-in-memory", key: new RawValue(key), workers: [...holders] });
      for (const name of task.wanted_by) this.#tell(name, message);
    }
    this.transition_count++;
  }

  followDrops(): { readonly keys: ReadonlySet<string>; end(): void } {
    return { keys: new Set(), end: () => undefined };
  }

  addReplica(key: KeyBytes, peer: WorkerPeer): boolean {
    const task = this.tasks.get(keyId(key));
    task?.holders.add(peer);
    return task !== undefined;
  }

  dropReplica(key: KeyBytes, peer: WorkerPeer): boolean {
    const task = this.tasks.get(keyId(key));
    return task !== undefined && task.holders.size > 1 && task.holders.delete(peer);
  }

  cancelKeys(client: string, keys: readonly KeyBytes[], force: boolean, _why: CancelReason): void {
    for (const key of keys) {
      const task = this.tasks.get(keyId(key));
      for (const name of force ? [...(task?.wanted_by ?? [])] : [client]) {
        this.#tell(name, WireMap.of({ op: "cancelled-keys", keys: [new RawValue(key)] }));
        this.releaseKeys(name, [key], "cancel");
      }
    }
  }

  retryKeys(keys: readonly KeyBytes[]): KeyBytes[] {
    return keys.filter((key) => this.errors.delete(keyId(key)));
  }

  desireKeys(client: string, keys: readonly KeyBytes[]): void {
    for (const key of keys) this.tasks.get(keyId(key))?.wanted_by.add(client);
  }

  releaseKeys(client: string, keys: readonly KeyBytes[], stimulus_id: string): void {
    for (const key of keys) {
      const task = this.tasks.get(keyId(key));
      if (task === undefined || !task.wanted_by.delete(client) || task.wanted_by.size > 0) continue;
      this.tasks.delete(keyId(key));
      const message = WireMap.of({ op: "free-keys", keys: [new RawValue(key)], stimulus_id });
      for (const peer of task.holders) this.sendToWorker(peer, message);
    }
    this.transition_count++;
  }

  reportKey(key: KeyBytes, client: string): void {
    const op = this.tasks.has(keyId(key)) ? "key-in-memory" : "cancelled-keys";
    const raw = new RawValue(key);
    this.#tell(client, WireMap.of(op === "key-in-memory" ? { op, key: raw } : { op, keys: [raw] }));
  }

  forgetAll(): void {
    this.tasks.clear();
    this.transition_count++;
  }

  sendToWorker(peer: WorkerPeer, message: WireMap): void {
    peer.stream.write(frameMessage(encodeMessage([message])));
  }

  sendToClient(peer: ClientPeer, message: WireMap): void {
    peer.stream.write(frameMessage(encodeMessage([message])));
  }

  log(): void {}

  #tell(name: string, message: WireMap): void {
    const peer = this.clients.get(name);
    if (peer !== undefined) this.sendToClient(peer, message);
  }
}

/** What arrives on the streams: operations of the cold part are carried out, all are kept for the test. */
export class TinyStreams implements StreamHandler {
  readonly messages: { from: string; message: WireMap }[] = [];
  readonly gone: string[] = [];
  context: RpcContext | null = null;
  readonly #cluster: TinyCluster;

  constructor(cluster: TinyCluster) {
    this.#cluster = cluster;
  }

  onWorkerMessage(peer: WorkerPeer, message: FramedMessage): void {
    this.#each(message, peer.address, (op, fields) => {
      if (this.context !== null) onWorkerOp(op, fields, peer, this.context);
    });
  }

  onClientMessage(peer: ClientPeer, message: FramedMessage): void {
    this.#each(message, peer.name, (op, fields) => {
      if (this.context === null || onClientOp(op, fields, peer, this.context)) return;
      const keys = fields.get("keys");
      if (!Array.isArray(keys)) return;
      const wanted = keys.map(keyBytes);
      if (op === "client-releases-keys") this.#cluster.releaseKeys(peer.name, wanted, op);
      if (op !== "client-desires-keys") return;
      this.#cluster.desireKeys(peer.name, wanted);
      for (const key of wanted) this.#cluster.reportKey(key, peer.name);
    });
  }

  onGone(peer: WorkerPeer | ClientPeer): void {
    this.gone.push(peer.kind === "worker" ? peer.address : peer.name);
  }

  #each(message: FramedMessage, from: string, act: (op: string, fields: WireMap) => void): void {
    const batch = decodeMessage(message.own());
    for (const item of Array.isArray(batch) ? batch : [batch]) {
      if (!(item instanceof WireMap)) continue;
      this.messages.push({ from, message: item });
      const op = item.get("op");
      if (typeof op === "string") act(op, item);
    }
  }
}
