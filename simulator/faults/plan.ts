import { Prng } from "../../src/base/prng.ts";
import { POLICY_NAMES } from "../../src/schedulers/index.ts";
import type { Release } from "../fleet/release.ts";

/**
 * What becomes of a task that runs: it is done; it fails whenever it runs; it fails so often and has as many
 * retries; or the worker that runs it dies.
 */
type TaskFate = "done" | "fails" | "flaky" | "kills";

export interface PlannedTask {
  readonly key: string;
  /** Keys of tasks before it, and perhaps of data that some client scatters: no two graphs can make a cycle. */
  readonly inputs: readonly string[];
  readonly fate: TaskFate;
  /** How often a flaky one fails at most, and how many retries it is given. */
  readonly failures: number;
  readonly duration_ns: number;
  readonly nbytes: number;
  readonly annotations: Readonly<Record<string, unknown>> | null;
  /** It lives on the worker that made it: it is lost with that, whatever is left of it elsewhere. */
  readonly actor: boolean;
}

/** One thing that happens to the world. What `a` and `b` mean, the move says; any two numbers are right for any world. */
interface Step {
  readonly at_ns: number;
  /** Which of the moves that there are, modulo their number. */
  readonly move: number;
  readonly a: number;
  readonly b: number;
}

/** A world and what happens in it, as far as it is decided beforehand: all of it follows from the seed. */
export interface WorldPlan {
  readonly seed: number;
  readonly release: Release;
  readonly scheduler: string;
  readonly allowed_failures: number;
  /** Tasks of fixed names, of which clients submit some. */
  readonly tasks: readonly PlannedTask[];
  readonly workers: number;
  readonly clients: number;
  readonly turn_delay_ns: number;
  readonly latency_ns: number;
  readonly late_in: number;
  readonly late_ns: number;
  readonly buffer_bytes: number;
  readonly worker_ttl_ms: number;
  /** Messages of all kinds are sent at any time, whatever they do to the results: only the books are checked then. */
  readonly strangers: boolean;
  /** Tasks that one turn of the server's loop places, or lets go of, at most. */
  readonly turn_tasks_max: number;
  readonly steps: readonly Step[];
}

/** Names that workers have: tasks are restricted to some of them. */
export const ALIASES = ["w0", "w1", "w2", "w3"] as const;

/** Keys of data that clients scatter. */
export const SCATTERED = ["s0", "s1"] as const;

const MS = 1e6;
/** Steps happen within this. */
const FAULTS_NS = 3_000 * MS;

const RELEASES: readonly Release[] = ["2026.8", "2026.8", "2024.12", "2022.12"];

export function planWorld(seed: number): WorldPlan {
  const prng = new Prng(seed);
  const size = 4 + prng.below(24);
  const tasks: PlannedTask[] = [];
  const harmless = prng.below(3) === 0;
  for (let i = 0; i < size; i++) tasks.push(planTask(i, prng, harmless));
  const count = 10 + prng.below(120);
  const steps: Step[] = [];
  for (let i = 0; i < count; i++)
    steps.push({
      at_ns: Math.floor(FAULTS_NS * prng.unit()),
      move: prng.below(1 << 16),
      a: prng.below(1 << 16),
      b: prng.below(1 << 16),
    });
  steps.sort((one, other) => one.at_ns - other.at_ns);
  return {
    seed,
    release: RELEASES[prng.below(RELEASES.length)]!,
    scheduler: POLICY_NAMES[prng.below(POLICY_NAMES.length)]!,
    allowed_failures: prng.below(4),
    tasks,
    workers: 1 + prng.below(5),
    clients: 1 + prng.below(3),
    turn_delay_ns: [0, 0, 0.1 * MS, 5 * MS][prng.below(4)]!,
    latency_ns: [0.01 * MS, 0.2 * MS, 2 * MS, 20 * MS][prng.below(4)]!,
    late_in: [0, 0, 10, 3][prng.below(4)]!,
    late_ns: [10 * MS, 300 * MS][prng.below(2)]!,
    buffer_bytes: [0, 500, 1 << 20][prng.below(3)]!,
    worker_ttl_ms: [2_000, 10_000, 300_000][prng.below(3)]!,
    strangers: prng.below(4) === 0,
    turn_tasks_max: [1000, 1000, 1, 3][prng.below(4)]!,
    steps,
  };
}

function planTask(i: number, prng: Prng, harmless: boolean): PlannedTask {
  const inputs = new Set<string>();
  const wanted = prng.below(4);
  for (let k = 0; k < wanted && i > 0; k++) inputs.add(`g${Math.max(0, i - 1 - prng.below(8))}`);
  if (prng.below(10) === 0) inputs.add(SCATTERED[prng.below(SCATTERED.length)]!);
  const lot = prng.below(24);
  const fate: TaskFate = harmless || lot > 3 ? "done" : lot === 0 ? "kills" : lot === 1 ? "fails" : "flaky";
  const failures = fate === "flaky" ? 1 + prng.below(3) : 0;
  return {
    key: `g${i}`,
    inputs: [...inputs].sort(),
    fate,
    failures,
    duration_ns: [0.01, 1, 20, 200][prng.below(4)]! * MS * (0.5 + prng.unit()),
    nbytes: [0, 20, 1_000, 1_000_000][prng.below(4)]!,
    annotations: planAnnotations(failures, prng),
    actor: prng.below(12) === 0,
  };
}

/** What `dask.annotate` says of a task; null: nothing. */
function planAnnotations(failures: number, prng: Prng): Readonly<Record<string, unknown>> | null {
  const restricted = prng.below(12);
  const annotations = {
    ...(failures > 0 ? { retries: failures } : {}),
    ...(restricted < 2 ? { workers: [ALIASES[prng.below(ALIASES.length)]!] } : {}),
    ...(restricted === 1 ? { allow_other_workers: true } : {}),
    ...(restricted === 2 ? { resources: { GPU: 1 } } : {}),
    ...(prng.below(6) === 0 ? { priority: prng.below(3) } : {}),
  };
  return Object.keys(annotations).length > 0 ? annotations : null;
}
