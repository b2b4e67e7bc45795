import type { NetworkName } from "../network/models.ts";
import type { SubmitTimes } from "./submitter.ts";
import type { FetchRule } from "./timed-worker.ts";

/** One question to the simulator: this graph, on these workers, by this policy. */
export interface VirtualOptions {
  readonly workload: string;
  readonly workers: number;
  readonly cores: number;
  readonly scheduler: string;
  readonly network: NetworkName;
  readonly fetch: FetchRule;
  readonly submit: SubmitTimes;
  /** Bytes a second, each way, of each worker. */
  readonly bandwidth: number;
  readonly latency_ns: number;
  /** Between a scheduler and its workers, each way. */
  readonly message_ns: number;
  /** The scheduler is asked no more often than this (ESTEE's minimum scheduling delay). */
  readonly scheduling_delay_ns: number;
  /** So long after it was asked, its decisions leave. */
  readonly decision_delay_ns: number;
  /** Of the policy's lots and of the choice among holders; each repeat has the next. */
  readonly seed: number;
  readonly repeats: number;
}
