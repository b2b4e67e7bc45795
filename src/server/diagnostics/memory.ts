import { toNumber, WireMap } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { WorkerPeer } from "../peers/cluster.ts";

/** Bytes of memory, of one worker or of all (the measures of `distributed.scheduler.MemoryState`). */
export interface MemoryState {
  /** The processes' resident memory. */
  readonly process: number;
  /** Results held in memory. */
  readonly managed: number;
  /** Results held on disk. */
  readonly spilled: number;
  readonly managed_total: number;
  readonly unmanaged: number;
  /** The part of `unmanaged` that has been there for half a minute. */
  readonly unmanaged_old: number;
  readonly unmanaged_recent: number;
  /** What will be in use if all recent unmanaged memory goes away again. */
  readonly optimistic: number;
}

export const MEMORY_MEASURES: readonly (keyof MemoryState)[] = [
  "process",
  "managed",
  "spilled",
  "managed_total",
  "unmanaged",
  "unmanaged_old",
  "unmanaged_recent",
  "optimistic",
];

/** A reading as data for Python, by measure. */
export function memoryMap(state: MemoryState): WireMap {
  return WireMap.from(MEMORY_MEASURES.map((measure) => [measure, state[measure]] as const));
}

interface Reading {
  readonly at_ms: number;
  readonly bytes: number;
}

/** What workers' heartbeats say of their memory, with half a minute of history. */
export class WorkerMemory {
  readonly #cluster: CoreCluster;
  readonly #unmanaged = new WeakMap<WorkerPeer, Reading[]>();

  readonly #old_ms: number;

  /** Unmanaged memory that has been there for `old_ms` is no passing spike. */
  constructor(cluster: CoreCluster, old_ms: number) {
    this.#cluster = cluster;
    this.#old_ms = old_ms;
  }

  /** A heartbeat has brought new metrics. */
  onHeartbeat(peer: WorkerPeer): void {
    const at_ms = peer.last_seen_ms;
    const { process, spilled_memory } = metricsOf(peer);
    const bytes = Math.max(0, process - this.#cluster.book(peer).nbytes + spilled_memory);
    const history = (this.#unmanaged.get(peer) ?? []).filter(
      (reading) => reading.at_ms >= at_ms - this.#old_ms,
    );
    history.push({ at_ms, bytes });
    this.#unmanaged.set(peer, history);
  }

  of(peer: WorkerPeer): MemoryState {
    const { process, spilled_memory, spilled_disk } = metricsOf(peer);
    const held = Math.max(0, this.#cluster.book(peer).nbytes - spilled_memory);
    const history = this.#unmanaged.get(peer);
    const old = history === undefined ? 0 : Math.min(...history.map((reading) => reading.bytes));
    return stateOf(process, Math.min(process, held), spilled_disk, old);
  }

  total(): MemoryState {
    let [process, managed, spilled, unmanaged_old] = [0, 0, 0, 0];
    for (const peer of this.#cluster.workers.values()) {
      const state = this.of(peer);
      process += state.process;
      managed += state.managed;
      spilled += state.spilled;
      unmanaged_old += state.unmanaged_old;
    }
    return stateOf(process, managed, spilled, unmanaged_old);
  }
}

/** The parts always add up: some are reported with heartbeats, others at once, and `sizeof` may be wrong. */
function stateOf(process: number, managed: number, spilled: number, old: number): MemoryState {
  const unmanaged = process - managed;
  const unmanaged_old = Math.min(old, unmanaged);
  return {
    process,
    managed,
    spilled,
    managed_total: managed + spilled,
    unmanaged,
    unmanaged_old,
    unmanaged_recent: unmanaged - unmanaged_old,
    optimistic: managed + unmanaged_old,
  };
}

function metricsOf(peer: WorkerPeer): { process: number; spilled_memory: number; spilled_disk: number } {
  const spilled = peer.metrics.get("spilled_bytes");
  const part = (name: string): number =>
    spilled instanceof WireMap ? (toNumber(spilled.get(name)) ?? 0) : 0;
  return {
    process: toNumber(peer.metrics.get("memory")) ?? 0,
    spilled_memory: part("memory"),
    spilled_disk: part("disk"),
  };
}
