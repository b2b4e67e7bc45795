import { createHash } from "node:crypto";
import { STATE_NAMES, TRANSITIONS } from "../../src/core/states.ts";
import type { Witness } from "./fault-world.ts";
import { planWorld, type WorldPlan } from "./plan.ts";
import { runWorld, type Verdict } from "./run-world.ts";
import { shrink } from "./shrink.ts";

export interface FaultOptions {
  /** The first seed, and how many. */
  readonly seed: number;
  readonly count: number;
  /** Positions of the only steps that are taken; null: all. */
  readonly steps: readonly number[] | null;
  /** Other numbers of workers and clients at the beginning than the seed says; null: those. */
  readonly workers: number | null;
  readonly clients: number | null;
  /** The first world that fails is the last one. */
  readonly bail: boolean;
  /** Failed worlds are made smaller. */
  readonly shrink: boolean;
}

export interface FaultProgress {
  say(text: string): void;
  readonly signal: AbortSignal;
  /** Told everything that happens; null: nobody wants to know. */
  readonly witness: Witness | null;
}

/** A world that failed, and the smallest part of it that still does. */
interface FaultFailure {
  readonly seed: number;
  readonly message: string;
  readonly command: string;
}

/** What many worlds came to: `rsds simulate --faults --json`. */
export interface FaultReport {
  readonly schema: "rsds.faults/1";
  readonly rsds: { readonly version: string };
  readonly first_seed: number;
  /** Worlds that were run: fewer than asked for where the run was interrupted. */
  readonly seeds: number;
  readonly failures: readonly FaultFailure[];
  /** Messages that servers were handed, and turns that they took. */
  readonly stimuli: number;
  readonly virtual_seconds: number;
  readonly cpu_s: number;
  readonly seeds_per_s: number;
  readonly stimuli_per_s: number;
  /** How often each kind of thing happened, the commonest first. */
  readonly happened: Readonly<Record<string, number>>;
  /** How often each edge of the state machine was taken. */
  readonly edges: Readonly<Record<string, number>>;
  /** Messages that strangers sent: kind, operation, and before, during or after its natural place. */
  readonly sent: Readonly<Record<string, number>>;
  /** Of the digests of all worlds: equal runs have equal ones. */
  readonly digest: string;
}

const PROGRESS_MS = 2_000;

/** Runs the worlds of consecutive seeds, each to its end or to its first failure. */
export async function runSeeds(
  options: FaultOptions,
  version: string,
  { say, signal, witness }: FaultProgress,
): Promise<FaultReport> {
  const begun = process.cpuUsage();
  const totals = new Totals();
  const failures: FaultFailure[] = [];
  const kept = options.steps === null ? null : new Set(options.steps);
  let said_ms = Date.now();
  for (let i = 0; i < options.count && !signal.aborted; i++) {
    const plan = planOf(options.seed + i, options);
    const verdict = await runWorld(plan, kept, witness);
    totals.add(verdict);
    if (verdict.failure !== null) {
      say(`seed ${plan.seed}: ${verdict.failure}`);
      const whole = options.shrink && kept === null;
      failures.push(await failureOf(plan, verdict.failure, whole ? signal : null, options, say));
      if (options.bail) break;
    }
    if (Date.now() - said_ms < PROGRESS_MS) continue;
    said_ms = Date.now();
    say(`${i + 1} of ${options.count} seeds, ${failures.length} failed`);
  }
  const used = process.cpuUsage(begun);
  const cpu_s = (used.user + used.system) / 1e6;
  return {
    schema: "rsds.faults/1",
    rsds: { version },
    first_seed: options.seed,
    ...totals.report(cpu_s),
    failures,
  };
}

function planOf(seed: number, { workers, clients }: FaultOptions): WorldPlan {
  const plan = planWorld(seed);
  return { ...plan, workers: workers ?? plan.workers, clients: clients ?? plan.clients };
}

/** `signal` null: the world is left as it is. */
async function failureOf(
  plan: WorldPlan,
  message: string,
  signal: AbortSignal | null,
  options: FaultOptions,
  say: (text: string) => void,
): Promise<FaultFailure> {
  const small =
    signal === null
      ? { plan, steps: options.steps, failure: message }
      : await shrink(plan, message, () => signal.aborted);
  const steps =
    small.steps === null ? "" : ` --steps ${small.steps.length > 0 ? small.steps.join(",") : "none"}`;
  const command =
    `rsds simulate --faults --seed ${plan.seed}${steps}` +
    ` --workers ${small.plan.workers} --clients ${small.plan.clients} --log`;
  say(`  again: ${command}`);
  return { seed: plan.seed, message: small.failure, command };
}

/** Sums over worlds. */
class Totals {
  #seeds = 0;
  #stimuli = 0;
  #virtual_seconds = 0;
  readonly #happened = new Map<string, number>();
  readonly #sent = new Map<string, number>();
  readonly #edges = new Int32Array(64);
  readonly #digest = createHash("sha256");

  add(verdict: Verdict): void {
    this.#seeds++;
    this.#stimuli += verdict.stimuli;
    this.#virtual_seconds += verdict.seconds;
    for (const [what, count] of verdict.counts) addTo(this.#happened, what, count);
    for (const [what, count] of verdict.ops) addTo(this.#sent, what, count);
    for (let i = 0; i < this.#edges.length; i++) this.#edges[i]! += verdict.edges[i]!;
    this.#digest.update(verdict.digest);
  }

  report(cpu_s: number): Omit<FaultReport, "schema" | "rsds" | "first_seed" | "failures"> {
    const edges: Record<string, number> = {};
    for (const [from, targets] of Object.entries(TRANSITIONS))
      for (const to of targets)
        edges[`${from} → ${to}`] =
          this.#edges[STATE_NAMES.indexOf(from as keyof typeof TRANSITIONS) * 8 + STATE_NAMES.indexOf(to)]!;
    return {
      seeds: this.#seeds,
      stimuli: this.#stimuli,
      virtual_seconds: this.#virtual_seconds,
      cpu_s,
      seeds_per_s: this.#seeds / cpu_s,
      stimuli_per_s: this.#stimuli / cpu_s,
      happened: sorted(this.#happened),
      edges,
      sent: sorted(this.#sent),
      digest: this.#digest.digest("hex"),
    };
  }
}

function addTo(map: Map<string, number>, what: string, count: number): void {
  map.set(what, (map.get(what) ?? 0) + count);
}

function sorted(map: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...map].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)));
}

/** The report as a few lines of text. */
export function renderFaults(report: FaultReport): string {
  const { seeds, failures, stimuli, cpu_s, edges, happened, sent } = report;
  const number = (value: number): string => Math.round(value).toLocaleString("en-US");
  const lines = [
    `${number(seeds)} seeds from ${report.first_seed} on: ${failures.length === 0 ? "none failed" : `${failures.length} FAILED`}`,
    `${number(stimuli)} stimuli in ${cpu_s.toFixed(1)} s of CPU: ${report.seeds_per_s.toFixed(1)} seeds, ${number(report.stimuli_per_s)} stimuli a second`,
    `${number(report.virtual_seconds)} s of virtual time`,
    "",
    "what happened",
    ...Object.entries(happened).map(([what, count]) => `  ${what.padEnd(32)} ${number(count).padStart(10)}`),
    "",
    "edges of the state machine",
    ...Object.entries(edges).map(
      ([edge, count]) =>
        `  ${edge.padEnd(32)} ${number(count).padStart(10)}${count === 0 ? "   not taken" : ""}`,
    ),
    "",
    `messages of strangers: ${number(Object.values(sent).reduce((sum, count) => sum + count, 0))} of ${Object.keys(sent).length} kinds`,
    `digest ${report.digest}`,
  ];
  for (const { seed, message, command } of failures)
    lines.push("", `seed ${seed}: ${message}`, `  ${command}`);
  return `${lines.join("\n")}\n`;
}
