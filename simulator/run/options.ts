import type { FlushMode } from "../fleet/fleet-context.ts";
import type { Release } from "../fleet/release.ts";

type TransportName = "tcp" | "memory" | "direct";
type TraceMode = "off" | "phases" | "tasks";

/** One pure overhead run: CONTRACT.md's run options. */
export interface ZeroRunOptions {
  readonly zero_workers: number;
  readonly workload: string;
  readonly scheduler: string;
  readonly transport: TransportName;
  readonly release: Release;
  readonly flush: FlushMode;
  /** Leave ordering to the scheduler. */
  readonly order: boolean;
  readonly repeats: number;
  readonly seed: number;
  readonly trace: TraceMode;
  /** The scheduler's code is compiled before the first run; absent: true. */
  readonly training?: boolean;
  /** Take V8's own profile of the timed repeats too. */
  readonly cpu_profile?: boolean;
}

/** What the caller does with progress; nothing of it is a result. */
export interface Progress {
  say(text: string): void;
}
