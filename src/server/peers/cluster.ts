import type { Connection } from "../../comm/connection.ts";
import type { FramedMessage } from "../../protocol/frames.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import type { WireMap, WireValue } from "../../protocol/values.ts";
import type { LogLevel } from "./log.ts";
import type { Release } from "./release.ts";

/** A worker's status as Dask names it; only a `running` worker is given tasks. */
export type WorkerStatus = "init" | "running" | "paused" | "closing_gracefully" | "closing" | "closed";

/** A registered worker. What may change while it is registered is writable. */
export interface WorkerPeer {
  readonly kind: "worker";
  /** Small and dense: the smallest id free at registration, and free again once the worker is removed. */
  readonly id: number;
  /** Where it listens, `tcp://host:port`; unique among the registered. */
  readonly address: string;
  /** A string or a number, unique among the registered. */
  readonly name: WireValue;
  readonly nthreads: number;
  /** 0: none given. */
  readonly memory_limit_bytes: number;
  readonly release: Release;
  readonly server_id: string;
  readonly pid: number;
  readonly services: WireValue;
  readonly local_directory: string;
  readonly nanny: string | null;
  readonly extra: WireMap;
  readonly versions: WireValue;
  readonly stream: Connection;
  /** Written by {@link Cluster.setWorkerStatus}, and `closed` once it is removed. */
  status: WorkerStatus;
  resources: WireMap;
  metrics: WireMap;
  /** Tasks that run for long and their seconds so far, as the last heartbeat had them. */
  executing: WireMap | null;
  /** Of the last heartbeat, in milliseconds since the epoch. */
  last_seen_ms: number;
  /** How far its clock is behind ours, in seconds, as the last heartbeat showed. */
  time_delay_s: number;
}

/** A registered client. */
export interface ClientPeer {
  readonly kind: "client";
  /** Small and dense, as {@link WorkerPeer.id}, counted apart from the workers. */
  readonly id: number;
  /** The client's own unique name, `Client-…`. */
  readonly name: string;
  readonly release: Release;
  readonly versions: WireValue;
  readonly stream: Connection;
  last_seen_ms: number;
  /** Set once it is removed: what still arrives from it is dropped. */
  gone: boolean;
}

/** One key that was put into workers' memory from outside, by scatter or by a client itself. */
export interface OutsideData {
  readonly key: KeyBytes;
  /** Addresses of registered workers, at least one. */
  readonly holders: readonly string[];
  /** -1: not known. */
  readonly nbytes: number;
}

/** What a failed task left behind: opaque, as its worker sent it. */
export interface TaskError {
  readonly exception: WireValue;
  readonly traceback: WireValue;
  readonly exception_text: string;
  /** The task that failed itself, of which this one may only be a dependent. */
  readonly cause: KeyBytes;
}

/**
 * What the cold part of the server (registration, RPC handlers) may see and do of the cluster.
 * Keys are canonical bytes. No method waits. Each throws only on our own bugs: an unknown key is an answer.
 */
export interface Cluster {
  /** By address. Registration alone writes it, before addWorker and after removeWorker. */
  readonly workers: Map<string, WorkerPeer>;
  /** By name. Registration alone writes it. */
  readonly clients: Map<string, ClientPeer>;

  addWorker(peer: WorkerPeer): void;
  /** Its tasks go back to where they can run again. What was sent to the peer before is still written. */
  removeWorker(peer: WorkerPeer, reason: { expected: boolean; stimulus_id: string }): void;
  /** Writes `peer.status`. */
  setWorkerStatus(peer: WorkerPeer, status: WorkerStatus, stimulus_id: string): void;
  /** What a worker offers of each named resource: a map of names to numbers. */
  setResources(peer: WorkerPeer, resources: WireMap): void;
  addClient(peer: ClientPeer): void;
  /** Lets go of everything that the client wanted. */
  removeClient(peer: ClientPeer, stimulus_id: string): void;

  /** Addresses that hold the key, none while it is not in memory; null: no such key. */
  holders(key: KeyBytes): string[] | null;
  hasWhat(peer: WorkerPeer): KeyBytes[];
  processing(peer: WorkerPeer): KeyBytes[];
  /** -1: unknown key, or a size that is not known. */
  nbytes(key: KeyBytes): number;
  /** Dask's name of the state; null: no such key. */
  taskState(key: KeyBytes): string | null;
  /** Null: not erred. */
  taskError(key: KeyBytes): TaskError | null;
  /** How the task runs, as its graph had it (`Pickled`, or 2022's map); null: no such key, or plain data. */
  runSpec(key: KeyBytes): WireValue;
  /** The name under which Dask counts tasks together (`key_split`). */
  prefix(key: KeyBytes): string;
  keysInMemory(): Iterable<KeyBytes>;
  /** Every task that is known. */
  taskKeys(): Iterable<KeyBytes>;

  /**
   * Keys whose values are being put into workers' memory, as their bytes in latin1, and by how many requests: a worker that reports one
   * before it is registered is not told to drop it.
   */
  readonly scattering: Map<string, number>;
  /** Makes the keys data in memory, reports them to those who want them, and makes `client` want them. */
  registerData(entries: readonly OutsideData[], client: string | null): void;
  /** False: the key is not in memory, so that a replica of it is of no use. */
  addReplica(key: KeyBytes, peer: WorkerPeer): boolean;
  /**
   * Collects the keys, by their bytes in latin1, whose replica on the peer is given up by {@link dropReplica} until `end`: what
   * the peer says of them by another way than its stream may be older than that.
   */
  followDrops(peer: WorkerPeer): { readonly keys: ReadonlySet<string>; end(): void };
  /** Forgets the replica, never the last one of a key: then it answers false. */
  dropReplica(key: KeyBytes, peer: WorkerPeer): boolean;
  /** `force`: also where other clients want the keys. */
  cancelKeys(client: string, keys: readonly KeyBytes[], force: boolean, why: CancelReason): void;
  /** Answers the keys that are tried again. */
  retryKeys(keys: readonly KeyBytes[], stimulus_id: string): KeyBytes[];
  /** A name that no client has (`published-…`) wants keys as a client does, without being told of them. */
  desireKeys(client: string, keys: readonly KeyBytes[]): void;
  releaseKeys(client: string, keys: readonly KeyBytes[], stimulus_id: string): void;
  /** Such a name is of no more use: whatever it still wants, it does not any more. */
  forgetWants(client: string): void;
  /** The state of the key goes to the client, as if it had just got there; unknown: it is told of a cancelled key. */
  reportKey(key: KeyBytes, client: string): void;
  /** Forgets all tasks and wants. Clients are told by the caller. */
  forgetAll(stimulus_id: string): void;

  /** Counts whatever happens to tasks: two equal readings mean that nothing happened between. */
  readonly transition_count: number;
  /** A task is queued, waits for a worker, or runs, or a graph is being taken in. */
  readonly busy: boolean;

  /** One message into the peer's stream, in order with all others. A peer that is gone: dropped. */
  sendToWorker(peer: WorkerPeer, message: WireMap): void;
  sendToClient(peer: ClientPeer, message: WireMap): void;
  log(level: LogLevel, text: string): void;
}

export interface CancelReason {
  readonly reason: WireValue;
  readonly msg: WireValue;
}

/** Takes over what arrives on the streams of registered peers. A ProtocolError that it throws ends that stream. */
export interface StreamHandler {
  onWorkerMessage(peer: WorkerPeer, message: FramedMessage): void;
  onClientMessage(peer: ClientPeer, message: FramedMessage): void;
  /** The last call for this peer, after it was removed from the cluster. */
  onGone(peer: WorkerPeer | ClientPeer): void;
}
