import type { Subtraction } from "../../src/results/calibration.ts";
import type { RepeatInput } from "../../src/results/input.ts";
import { PHASE, SPAN_PHASES, type TopPhase } from "../../src/trace/phases.ts";
import type { ZeroRunOptions } from "../run/options.ts";
import { zeroRun } from "../run/zero-run.ts";

/** How far phase and side effects together may be from the difference. */
const ERROR_MAX = 0.15;

const TRANSPORTS = ["tcp", "memory", "direct"] as const;
type Transport = (typeof TRANSPORTS)[number];

/** What one transport costs the scheduler's thread; means over the quieter repeats, in microseconds a task. */
interface Costs {
  /** CPU and waits for a core, by the kernel, less the fleet's work where it is on this thread. */
  readonly kernel: number;
  /** The waits for a core in it. */
  readonly core_wait: number;
  readonly phases: Readonly<Record<Layer, number>>;
}

type Layer = Exclude<TopPhase, "idle" | "worker"> | "unattributed";

const LAYERS: readonly Layer[] = ["scheduling", "encoding", "network", "gc", "unattributed"];

/**
 * The same work over each transport: what one costs more than the next by the kernel's account of the thread, against
 * what the phases say of the layer that the next has not. The other layers' differences are its side effects. Phases
 * are wall time, and on a busy machine a thread waits for a core in the middle of them: the kernel counts that too.
 */
export async function subtractTransports(
  options: Omit<ZeroRunOptions, "transport">,
  warm_ups: number,
  progress: { say(text: string): void; readonly signal: AbortSignal },
): Promise<Subtraction[]> {
  const costs = new Map<Transport, Costs>();
  for (const transport of TRANSPORTS) {
    const run = { ...options, transport, repeats: warm_ups + options.repeats };
    const { input } = await zeroRun(run, progress, progress.signal);
    progress.signal.throwIfAborted();
    costs.set(transport, costsOf(input.repeats.slice(warm_ups), input.run.tasks));
  }
  return [difference(costs, "tcp", "memory", "network"), difference(costs, "memory", "direct", "encoding")];
}

/** Means, since the parts must add up; of the half of the repeats in which the thread waited least for a core. */
function costsOf(repeats: readonly RepeatInput[], tasks: number): Costs {
  const quieter = repeats
    .toSorted((a, b) => accountOf(a).core_wait_us - accountOf(b).core_wait_us)
    .slice(0, Math.ceil(repeats.length / 2));
  const each = (value: (repeat: RepeatInput) => number): number =>
    quieter.reduce((sum, repeat) => sum + value(repeat), 0) / quieter.length / tasks;
  const phases = Object.fromEntries(
    LAYERS.map((layer) => [layer, each((repeat) => layerUs(repeat, layer))]),
  ) as Record<Layer, number>;
  return {
    kernel: each((repeat) => accountOf(repeat).cpu_us + accountOf(repeat).core_wait_us - workerUs(repeat)),
    core_wait: each((repeat) => accountOf(repeat).core_wait_us),
    phases,
  };
}

function accountOf({ thread_account }: RepeatInput): {
  readonly cpu_us: number;
  readonly core_wait_us: number;
} {
  if (thread_account === undefined)
    throw new Error("this system does not tell a thread's CPU: --subtract needs Linux' schedstat");
  return thread_account;
}

function workerUs({ figures }: RepeatInput): number {
  return (figures?.phase_ns[PHASE.worker] ?? 0) / 1e3;
}

function layerUs({ figures }: RepeatInput, layer: Layer): number {
  if (figures === null) throw new Error("a calibration needs traced repeats");
  if (layer === "gc") return figures.gc_ns / 1e3;
  if (layer === "unattributed") return figures.unattributed_ns / 1e3;
  return SPAN_PHASES.reduce(
    (sum, { top }, id) => (top === layer ? sum + figures.phase_ns[id]! / 1e3 : sum),
    0,
  );
}

function difference(
  costs: ReadonlyMap<Transport, Costs>,
  more: Transport,
  less: Transport,
  phase: Layer,
): Subtraction {
  const a = costs.get(more)!;
  const b = costs.get(less)!;
  const kernel_us_per_task = a.kernel - b.kernel;
  const grown = (layer: Layer): number => a.phases[layer] - b.phases[layer];
  const side_effects = LAYERS.filter((layer) => layer !== phase).map((name) => ({
    name,
    us_per_task: grown(name),
  }));
  const explained = LAYERS.reduce((sum, layer) => sum + grown(layer), 0);
  const error = explained / kernel_us_per_task - 1;
  return {
    difference: `${more} − ${less}`,
    kernel_us_per_task,
    core_wait_us_per_task: a.core_wait - b.core_wait,
    phase,
    phase_us_per_task: grown(phase),
    side_effects,
    unexplained_us_per_task: kernel_us_per_task - explained,
    error,
    bound: ERROR_MAX,
    ok: Math.abs(error) <= ERROR_MAX,
  };
}
