import type { Machine, RunFacts } from "./summary.ts";

/** The document of `rsds calibrate --json`, `rsds.calibration/1`. */
export interface Calibration {
  readonly schema: "rsds.calibration/1";
  readonly rsds: { readonly version: string };
  readonly machine: Machine;
  /** ISO 8601, UTC. */
  readonly started_at: string;
  readonly run: RunFacts;
  /** How far attributed may be from planted, as a share of it. */
  readonly bound: number;
  readonly plants: readonly PlantRow[];
  /** What was not planted, and why. */
  readonly left_out: readonly { readonly planted_in: string; readonly reason: string }[];
  readonly subtract?: readonly Subtraction[];
  readonly cpu_profile?: ProfileAgreement;
  /** Every figure is within its bound. */
  readonly ok: boolean;
}

/** Known delays in one phase. Times are medians over the repeats, of one repeat each. */
export interface PlantRow {
  readonly planted_in: string;
  readonly delays: number;
  readonly delay_us: number;
  /** delays × delay. */
  readonly planted_ms: number;
  /** The same by the clock: a thread that waits for a core in the middle of a delay is delayed for longer. */
  readonly clocked_ms: number;
  /** Growth of the phase against the repeats without plants. */
  readonly attributed_ms: number;
  /** attributed / clocked − 1. */
  readonly error: number;
  /**
   * The other phases of the scheduler's thread; idle is not among them, since waiting is no work. For a plant in the
   * fleet, read and write are not either: whoever waits is sent more and smaller packets, and has to be woken.
   */
  readonly moved: readonly Movement[];
  /** The fleet's phases: shown, not judged. A thread that is waited for is woken by dearer system calls, for example. */
  readonly moved_in_fleet: readonly Movement[];
  readonly ok: boolean;
}

export interface Movement {
  readonly phase: string;
  /** Median with the plant less the median without. */
  readonly moved_ms: number;
  /** Highest less lowest of the repeats without plants, and at least 2 % of what was planted. */
  readonly noise_ms: number;
}

/** Two transports' difference against the phase that one of them lacks. Microseconds a task. */
export interface Subtraction {
  /** Such as "tcp − memory". */
  readonly difference: string;
  /** Difference of CPU and waits for a core of the scheduler's thread, less the fleet's work on it, by the kernel. */
  readonly kernel_us_per_task: number;
  /** The waits for a core in it: what other programs did to the difference. */
  readonly core_wait_us_per_task: number;
  readonly phase: string;
  /** What the phase takes in the one less what it takes in the other. */
  readonly phase_us_per_task: number;
  /** What else differs between the two, by name. */
  readonly side_effects: readonly { readonly name: string; readonly us_per_task: number }[];
  /** The kernel's difference less phase and side effects: what the phases cannot name. */
  readonly unexplained_us_per_task: number;
  /** (phase + side effects) / the kernel's difference − 1. */
  readonly error: number;
  readonly bound: number;
  readonly ok: boolean;
}

/** The phases against V8's own sampling profile of the same repeats. */
export interface ProfileAgreement {
  readonly samples: number;
  readonly rows: readonly ProfileRow[];
  /** Largest difference in points. */
  readonly points_max: number;
  readonly bound_points: number;
  readonly ok: boolean;
}

export interface ProfileRow {
  readonly phase: string;
  /** Shares of the thread's time in the repeats' windows. */
  readonly recorded_share: number;
  readonly sampled_share: number;
}
