import { NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import { FreedKeys } from "./freed-keys.ts";

/** Dask's worker states as far as placing is concerned. Only a running worker gets tasks. */
export type WorkerStatus = "init" | "running" | "paused" | "closing_gracefully" | "closing" | "closed";

/** What the scheduler keeps of one worker. */
export class WorkerBook {
  readonly id: WorkerId;
  readonly address: string;
  /** The host part of the address: restrictions may name it, and transfers within it are cheaper. */
  readonly host: string;
  /** Number of the host, reused when its last worker has left. */
  readonly host_id: number;
  /** The name it was started with, as text; restrictions may name it. */
  readonly alias: string;
  readonly threads: number;
  /** Inputs of one task that are more than this would kill it; infinite: no limit is known. */
  readonly memory_limit_bytes: number;
  /** What it offers of each named resource; it may change its mind. */
  readonly resources: Map<string, number>;
  status: WorkerStatus = "init";

  /** Its processing tasks, oldest first, linked through the task table. */
  first_processing: TaskId = NONE;
  last_processing: TaskId = NONE;
  processing = 0;
  long_running = 0;
  /** Tasks on their way by a steal that is not answered yet: to it and from it. */
  steals_in = 0;
  steals_out = 0;
  /** Sum of the sizes of the data that it holds, bytes. */
  nbytes = 0;
  readonly used_resources = new Map<string, number>();
  readonly freed = new FreedKeys();

  constructor(id: WorkerId, host_id: number, facts: WorkerFacts) {
    this.id = id;
    this.address = facts.address;
    this.host = facts.host;
    this.host_id = host_id;
    this.alias = facts.alias;
    this.threads = Math.max(1, facts.threads);
    this.memory_limit_bytes = facts.memory_limit_bytes || Number.POSITIVE_INFINITY;
    this.resources = new Map(facts.resources);
  }

  /** Tasks that take one of its slots or wait for one, steals in flight counted where they go. */
  get load(): number {
    return this.processing - this.long_running + this.steals_in - this.steals_out;
  }
}

/** What a worker says of itself when it registers. */
export interface WorkerFacts {
  readonly address: string;
  readonly host: string;
  readonly alias: string;
  readonly threads: number;
  readonly resources: ReadonlyMap<string, number>;
  /** Absent or 0: none. */
  readonly memory_limit_bytes?: number;
}
