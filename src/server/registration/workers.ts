import type { Connection } from "../../comm/connection.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import { isOrdinaryEnd } from "../peers/endings.ts";
import { distributedVersion, unsupportedRelease } from "../peers/release.ts";
import { HANDED_OVER, NO_REPLY, type Reply } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue, heartbeatInterval_s } from "../rpc/wire-shapes.ts";
import { Addresses } from "./addresses.ts";
import { DenseIds } from "./ids.ts";
import type { RegistrationParts } from "./registration.ts";
import { versionWarning } from "./version-warning.ts";
import { numbersOf, workerPeer } from "./worker-record.ts";

/** A worker that was told to close is given so long to end its stream itself. */
const CLOSE_GRACE_MS = 10_000;

/** Whoever follows which workers come and go (`subscribe_worker_status`). */
export interface WorkerWatcher {
  onWorkerAdded?(peer: WorkerPeer): void;
  /** Before the cluster is told. */
  onWorkerRemoving?(peer: WorkerPeer): void;
  onWorkerRemoved(peer: WorkerPeer): void;
}

export interface RemovalReason {
  /** Its tasks did not kill it: none becomes suspicious. */
  readonly expected: boolean;
  readonly stimulus_id: string;
  /** It may still be there, and is told to close. */
  readonly close: boolean;
  /** For the log. */
  readonly why?: string;
  /** It, or we, did something wrong: a warning. */
  readonly fault?: boolean;
}

/** Registers workers, keeps what they say of themselves, and removes them. */
export class Workers {
  readonly addresses = new Addresses();
  readonly watchers = new Set<WorkerWatcher>();
  /** Told of each heartbeat, once the peer shows what it brought. */
  readonly heartbeat_followers = new Set<(peer: WorkerPeer, request: Request) => void>();
  readonly #parts: RegistrationParts;
  readonly #ids = new DenseIds();
  /** Registrations and removals so far. */
  added = 0;
  removed = 0;

  constructor(parts: RegistrationParts) {
    this.#parts = parts;
  }

  /** `register-worker`: the reply, after which the connection is the worker's stream. */
  async register(request: Request, channel: Channel): Promise<Reply> {
    const { cluster, log, now_ms, plugins } = this.#parts;
    const address = await this.addresses.resolve(request.string("address"));
    if (channel.closed !== null) return NO_REPLY;
    const refusal = this.#refusal(request, address);
    if (refusal !== null) {
      log.writeLimited("WARNING", `register ${address}`, `Refused worker ${address}: ${refusal}`);
      channel.write(WireMap.of({ status: "error", message: refusal, time: floatValue(now_ms() / 1000) }));
      return NO_REPLY;
    }
    const stream = channel.connection;
    stream.pending_bytes_max = this.#parts.limits.stream_pending_bytes_max;
    const peer = this.#peer(request, address, stream);
    this.#parts.software.add(peer.versions);
    // Before anything else that is written to this stream: the worker takes the first message as its reply.
    channel.write(
      WireMap.of({
        status: "OK",
        time: floatValue(now_ms() / 1000),
        "heartbeat-interval": heartbeatInterval_s(cluster.workers.size + 1),
        "worker-plugins": plugins.workerPlugins(peer.release),
        warning: this.#versionWarning(peer),
        error: "",
      }),
    );
    this.#add(peer);
    stream.onClose = (reason) => this.#ended(peer, reason);
    channel.handOver((message) => {
      if (peer.status === "closed") return;
      try {
        this.#parts.streams.onWorkerMessage(peer, message);
      } catch (error) {
        this.#fault(peer, error);
      }
    });
    return HANDED_OVER;
  }

  /** `heartbeat_worker`. A worker that is told "missing" closes itself. */
  async heartbeat(request: Request): Promise<Reply> {
    const { cluster, log, now_ms } = this.#parts;
    const address = await this.addresses.resolve(request.string("address"));
    const peer = cluster.workers.get(address);
    if (peer === undefined) {
      const text = `Received heartbeat from unregistered worker ${address}.`;
      log.writeLimited("WARNING", `heartbeat ${address}`, text);
      return WireMap.of({ status: "missing" });
    }
    const local_ms = now_ms();
    peer.last_seen_ms = local_ms;
    peer.metrics = request.map("metrics");
    const executing = request.value("executing");
    peer.executing = executing instanceof WireMap ? executing : null;
    const now_s = request.optionalNumber("now");
    if (now_s !== null) peer.time_delay_s = local_ms / 1000 - now_s;
    this.setResources(peer, request.value("resources"));
    for (const follower of this.heartbeat_followers) follower(peer, request);
    return WireMap.of({
      status: "OK",
      time: floatValue(local_ms / 1000),
      "heartbeat-interval": heartbeatInterval_s(cluster.workers.size),
    });
  }

  /** `set_resources`, and part of a heartbeat: adds to what the worker offers. */
  setResources(peer: WorkerPeer, value: WireValue): void {
    const resources = numbersOf(value);
    if (resources.size === 0) return;
    const merged = WireMap.from(peer.resources.keys.map((key, i) => [key, peer.resources.values[i] ?? null]));
    for (let i = 0; i < resources.size; i++)
      merged.set(String(resources.keys[i]), resources.values[i] ?? null);
    peer.resources = merged;
    this.#parts.cluster.setResources(peer, merged);
  }

  /** `unregister`, which a worker asks for on its way out. */
  async unregister(request: Request): Promise<Reply> {
    const address = await this.addresses.resolve(request.value("address"));
    const peer = this.#parts.cluster.workers.get(address);
    if (peer === undefined) return "already-removed";
    this.remove(peer, {
      // 2022 calls it `safe`.
      expected: request.boolean("expected", request.boolean("safe", false)),
      stimulus_id: request.optionalString("stimulus_id") ?? this.stimulus("unregister"),
      close: request.boolean("close", true),
    });
    return "OK";
  }

  /** Takes a worker out of the cluster. A second call for the same one does nothing. */
  remove(peer: WorkerPeer, reason: RemovalReason): void {
    const { cluster, events, log, pool, streams } = this.#parts;
    if (peer.status === "closed" || cluster.workers.get(peer.address) !== peer) return;
    const why = reason.why === undefined ? "" : `: ${reason.why}`;
    log.write(
      reason.fault === true ? "WARNING" : "INFO",
      `Remove worker addr: ${peer.address} name: ${String(peer.name)} (stimulus_id='${reason.stimulus_id}')${why}`,
    );
    if (reason.close) {
      cluster.sendToWorker(peer, WireMap.of({ op: "close", reason: "scheduler-remove-worker" }));
    }
    for (const watcher of this.watchers) watcher.onWorkerRemoving?.(peer);
    cluster.removeWorker(peer, { expected: reason.expected, stimulus_id: reason.stimulus_id });
    peer.status = "closed";
    this.removed++;
    cluster.workers.delete(peer.address);
    this.addresses.remove(peer);
    this.#parts.software.remove(peer.versions);
    this.#ids.giveBack(peer.id);
    pool.forget(peer.address);
    streams.onGone(peer);
    if (cluster.workers.size === 0) log.write("INFO", "Lost all workers");
    const event = WireMap.of({
      action: "remove-worker",
      stimulus_id: reason.stimulus_id,
      expected: reason.expected,
      worker: peer.address,
    });
    events.publish(["all", peer.address], event);
    for (const watcher of this.watchers) watcher.onWorkerRemoved(peer);
    this.#tellOthers(peer, reason.stimulus_id);
    const timer = this.#parts.machine.after(CLOSE_GRACE_MS, () =>
      peer.stream.destroy("the worker was removed"),
    );
    timer.unref();
  }

  #versionWarning(peer: WorkerPeer): string {
    const { knownPackages, software } = this.#parts;
    const source = { name: peer.server_id, versions: peer.versions };
    return versionWarning(source, knownPackages(), software.packages);
  }

  /** Dask's form of a stimulus: what, and when. */
  stimulus(what: string): string {
    return `${what}-${this.#parts.now_ms() / 1000}`;
  }

  /** An id is taken only by a worker whose fields are right. */
  #peer(request: Request, address: string, stream: Connection): WorkerPeer {
    const id = this.#ids.take();
    try {
      return workerPeer(request, { id, address, stream, now_ms: this.#parts.now_ms() });
    } catch (error) {
      this.#ids.giveBack(id);
      throw error;
    }
  }

  #refusal(request: Request, address: string): string | null {
    if (this.#parts.cluster.workers.has(address)) return `Worker already exists ${address}`;
    const release = unsupportedRelease(request.value("versions"));
    if (release !== null) return release;
    const name = request.value("name") ?? address;
    return this.addresses.workerNamed(name) === undefined ? null : `name taken, ${String(name)}`;
  }

  #add(peer: WorkerPeer): void {
    const { cluster, events, log } = this.#parts;
    this.added++;
    cluster.workers.set(peer.address, peer);
    this.addresses.add(peer);
    cluster.addWorker(peer);
    if (peer.resources.size > 0) cluster.setResources(peer, peer.resources);
    const version = distributedVersion(peer.versions) ?? "no version given";
    const dialect = version.startsWith(peer.release) ? "" : `, spoken to as ${peer.release}`;
    log.write(
      "INFO",
      `Register worker addr: ${peer.address} name: ${String(peer.name)} (distributed ${version}${dialect})`,
    );
    events.publish([peer.address], WireMap.of({ action: "add-worker" }));
    events.publish(["all"], WireMap.of({ action: "add-worker", worker: peer.address }));
    for (const watcher of this.watchers) watcher.onWorkerAdded?.(peer);
  }

  /** The worker said that its stream ends here. */
  leave(peer: WorkerPeer): void {
    this.#ended(peer, "closed by the peer");
  }

  #ended(peer: WorkerPeer, reason: string): void {
    this.remove(peer, {
      expected: false,
      stimulus_id: this.stimulus("handle-worker-cleanup"),
      close: false,
      why: `its stream ended, ${reason}`,
      fault: !isOrdinaryEnd(reason),
    });
  }

  /** What a worker's message did wrong costs that worker; a bug of ours shows its stack. */
  #fault(peer: WorkerPeer, error: unknown): void {
    const known = error instanceof ProtocolError || error instanceof PythonError;
    if (!known)
      this.#parts.log.write("ERROR", `A message of worker ${peer.address} met a bug: ${stackOf(error)}`);
    peer.stream.destroy(known ? `bad message, ${error.message}` : "a bug of the scheduler's own");
  }

  /** 2022's workers know no such message. */
  #tellOthers(gone: WorkerPeer, stimulus_id: string): void {
    const message = WireMap.of({ op: "remove-worker", worker: gone.address, stimulus_id });
    for (const peer of this.#parts.cluster.workers.values()) {
      if (peer.release !== "2022.12") this.#parts.cluster.sendToWorker(peer, message);
    }
  }
}

export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
