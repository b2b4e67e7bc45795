import type { Machine } from "../../base/machine.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Diagnostics } from "../diagnostics/diagnostics.ts";
import type { Reports } from "../diagnostics/reports.ts";
import type { WorkerPeer } from "../peers/cluster.ts";
import type { Log } from "../peers/log.ts";
import { workerIdentity } from "../registration/worker-record.ts";
import type { Handler, RpcContext } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { MemoryManager, ReduceReplicas, RetireWorker } from "./memory-manager.ts";
import { Rebalance } from "./rebalance.ts";
import { ReplicaLock } from "./replica-lock.ts";
import { closeOptions, Scaling, type ScalingParts } from "./scaling.ts";
import type { MemorySettings } from "./settings.ts";

export interface MemoryControlParts {
  readonly cluster: CoreCluster;
  readonly reports: Reports;
  readonly diagnostics: Diagnostics;
  readonly settings: MemorySettings;
  readonly group: ScalingParts["group"];
  readonly shuffling: ScalingParts["shuffling"];
  readonly log: Log;
  readonly machine: Machine;
}

/** While a worker retires without a manager that runs anyway, one runs so often. */
const RETIRE_INTERVAL_MS = 2_000;
const RETIRE_POLL_MS_MIN = 10;
const RETIRE_POLL_MS_MAX = 500;

/** Where results lie and which workers stay: the memory manager, rebalancing, retirement, adaptive scaling. */
export class MemoryControl {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["amm_handler", (request) => this.#manage(request)],
    [
      "rebalance",
      (request, context) =>
        this.#lock.hold(`rebalance ${++this.#rebalances}`, () => this.#rebalance.run(request, context)),
    ],
    ["retire_workers", (request, context) => this.#lock.hold("retire", () => this.#retire(request, context))],
    ["adaptive_target", (request) => this.#scaling.target(request)],
    ["workers_to_close", (request) => this.#scaling.workersToClose(request)],
  ];
  readonly manager: MemoryManager;
  readonly #parts: MemoryControlParts;
  readonly #rebalance: Rebalance;
  readonly #scaling: Scaling;
  readonly #lock = new ReplicaLock();
  /** Each rebalancing is of a kind of its own: none runs beside another. */
  #rebalances = 0;
  readonly #retirements = new Set<MemoryManager>();

  constructor(parts: MemoryControlParts) {
    const { cluster, diagnostics, settings, reports, group, shuffling } = parts;
    const { inspector, memory } = diagnostics;
    this.#parts = parts;
    this.manager = this.#newManager();
    if (settings.manager.reduce_replicas) this.manager.policies.add(new ReduceReplicas());
    this.#rebalance = new Rebalance(inspector, cluster, memory, settings.rebalance);
    this.#scaling = new Scaling({
      inspector,
      cluster,
      reports,
      group,
      shuffling,
      settings: settings.scaling,
    });
  }

  /** Starts the memory manager, unless the configuration has it rest. */
  start(): void {
    const { start, interval_ms } = this.#parts.settings.manager;
    if (start) this.manager.start(interval_ms);
  }

  close(): void {
    this.manager.stop();
    for (const manager of this.#retirements) manager.stop();
  }

  #newManager(): MemoryManager {
    const { cluster, diagnostics, log, machine, settings } = this.#parts;
    const { inspector, memory } = diagnostics;
    return new MemoryManager({ inspector, cluster, memory, log, machine, measure: settings.manager.measure });
  }

  /** `amm_handler {method}`: start, stop, run_once, running. */
  #manage(request: Request): WireValue {
    const method = request.string("method");
    if (method === "running") return this.manager.running;
    if (method === "start") this.manager.start(this.#parts.settings.manager.interval_ms);
    else if (method === "stop") this.manager.stop();
    else if (method === "run_once") this.manager.runOnce();
    else
      throw new PythonError("ValueError", `method must be start, stop, run_once or running; got ${method}`);
    return null;
  }

  /**
   * `retire_workers {workers? | names?, close_workers?, remove?, …}`: moves what only they hold to others, then lets them
   * go. Answers those that could go, by address.
   */
  async #retire(request: Request, context: RpcContext): Promise<WireValue> {
    const stimulus_id =
      request.optionalString("stimulus_id") ?? context.registration.workers.stimulus("retire-workers");
    const peers = await this.#retiring(request, context);
    if (peers.length === 0) return new WireMap();
    context.log.write(
      "INFO",
      `Retire workers ${peers.map((peer) => peer.address).join(", ")} (${stimulus_id})`,
    );
    const manager = this.manager.running ? this.manager : this.#newManager();
    if (manager !== this.manager) {
      manager.start(RETIRE_INTERVAL_MS);
      this.#retirements.add(manager);
    }
    const how = {
      close: request.boolean("close_workers", false),
      remove: request.boolean("remove", true),
      stimulus_id,
    };
    try {
      const tracks = peers.map((peer) => this.#track(peer, manager, how, context));
      // Not to wait for its next turn.
      manager.runOnce();
      return announced(await Promise.all(tracks), stimulus_id, context);
    } finally {
      if (this.#retirements.delete(manager)) manager.stop();
    }
  }

  async #retiring(request: Request, context: RpcContext): Promise<WorkerPeer[]> {
    const names = request.optionalList("names");
    const workers = request.optionalList("workers");
    if (names !== null && workers !== null)
      throw new PythonError("TypeError", "names and workers are mutually exclusive");
    const all = [...context.cluster.workers.values()];
    if (names !== null) {
      const wanted = new Set(names.map(String));
      return all.filter((peer) => wanted.has(String(peer.name)));
    }
    if (workers === null) return this.#scaling.toClose(closeOptions(request));
    const { addresses } = context.registration.workers;
    // SpecCluster writes names here: those are taken, and one that is no worker's is nobody.
    const known = workers.filter((worker) => typeof worker !== "number" || addresses.workerNamed(worker));
    const wanted = new Set(known.map((worker) => addresses.coerce(worker)));
    return all.filter((peer) => wanted.has(peer.address));
  }

  async #track(
    peer: WorkerPeer,
    manager: MemoryManager,
    how: { close: boolean; remove: boolean; stimulus_id: string },
    context: RpcContext,
  ): Promise<{ peer: WorkerPeer; identity: WireMap; retired: boolean }> {
    const { cluster } = context;
    const policy = new RetireWorker(peer);
    manager.policies.add(policy);
    // Told to come back from an earlier attempt, it may not have answered yet: then that one's word must not become ours.
    const before = peer.status === "closing_gracefully" ? "running" : peer.status;
    const say = (status: string): void => {
      const { stimulus_id } = how;
      cluster.sendToWorker(peer, WireMap.of({ op: "worker-status-change", status, stimulus_id }));
    };
    cluster.setWorkerStatus(peer, "closing_gracefully", how.stimulus_id);
    say("closing_gracefully");
    // The first look comes after the manager's first run.
    do {
      const held = cluster.workers.get(peer.address) === peer ? cluster.hasWhat(peer).length : 0;
      const poll_ms = Math.max(RETIRE_POLL_MS_MIN, Math.min(RETIRE_POLL_MS_MAX, (1000 * held) / 400));
      await context.machine.sleep(poll_ms);
    } while (!policy.done(manager));
    manager.policies.delete(policy);
    const identity = workerIdentity(peer);
    if (policy.no_recipients) {
      say(before);
      return { peer, identity, retired: false };
    }
    if (how.remove) {
      const { workers } = context.registration;
      workers.remove(peer, {
        expected: true,
        stimulus_id: how.stimulus_id,
        close: how.close,
        why: "it is retired",
      });
    } else if (how.close) {
      cluster.sendToWorker(peer, WireMap.of({ op: "close", reason: "scheduler-close-worker" }));
    }
    return { peer, identity, retired: true };
  }
}

function announced(
  results: readonly { peer: WorkerPeer; identity: WireMap; retired: boolean }[],
  stimulus_id: string,
  context: RpcContext,
): WireMap {
  const addresses = (retired: boolean): string[] =>
    results.filter((result) => result.retired === retired).map(({ peer }) => peer.address);
  const event = WireMap.of({
    action: "retire-workers",
    retired: addresses(true),
    "could-not-retire": addresses(false),
    stimulus_id,
  });
  context.events.publish(["all"], event);
  context.events.publish(addresses(true), WireMap.of({ action: "retired", stimulus_id }));
  context.events.publish(addresses(false), WireMap.of({ action: "could-not-retire", stimulus_id }));
  const gone = results.filter((result) => result.retired);
  return WireMap.from(gone.map(({ peer, identity }) => [peer.address, identity] as const));
}
