import type { Movement, PlantRow, ProfileAgreement, Subtraction } from "../../src/results/calibration.ts";
import type { RunFacts } from "../../src/results/summary.ts";
import { PHASE } from "../../src/trace/phases.ts";
import type { FlushMode } from "../fleet/fleet-context.ts";
import type { Release } from "../fleet/release.ts";
import type { Runner } from "../run/measure.ts";
import type { ZeroRunOptions } from "../run/options.ts";
import { WireRunner } from "../run/wire-run.ts";
import { runFacts, zeroRun } from "../run/zero-run.ts";
import { parseWorkload } from "../workloads/index.ts";
import { ERROR_MAX, isWithinNoise, LEAK_MAX } from "./bounds.ts";
import { profileAgreement } from "./profile-phases.ts";
import { type Dose, Garden, isOfFleet, type Observation, type Site } from "./repeats.ts";
import { median, spread } from "./statistics.ts";
import { subtractTransports } from "./subtract.ts";

/** So that what the machine does meanwhile is in both. */
const SITES_BETWEEN_CONTROLS = 3;

/** Repeats that are held against the samples: enough for some thousands; those before warm up what is hot. */
const PROFILED_REPEATS = 15;

/** Before anything counts: V8 has compiled what is hot by then. */
const WARM_UPS = 12;

/** What a repeat's plants add up to at least. */
const PLANTED_MS_MIN = 200;
/**
 * … and by how much they exceed the phase and its noise. A delay makes the batches that follow larger, so that the
 * phase itself shrinks a little: it must be too small against what was planted for that to count.
 */
const PHASE_FACTOR = 40;
const NOISE_FACTOR = 10;
const PLANTED_MS_MAX = 800;
const DELAY_NS_MIN = 2000;
/** Forced collections in a repeat: each takes some milliseconds. */
const COLLECTIONS_MAX = 20;

/** Phases of the scheduler's thread that depend on how long it waited for the plants of another. */
const WOKEN: Readonly<Record<Site["plot"], readonly string[]>> = {
  scheduler: [],
  gc: [],
  fleet: ["read", "write"],
};

const SCHEDULER_SITES: readonly Site[] = (
  ["graph", "transition", "placement", "encode", "decode", "read", "write"] as const
).map((name) => ({ name, phase: PHASE[name], plot: "scheduler", grows: name }));

/** The collections interrupt transitions: they must not be found there. */
const GC_SITE: Site = { name: "gc", phase: PHASE.transition, plot: "gc", grows: "gc" };

/** What can be planted in over a transport. */
function sitesOf(transport: "tcp" | "memory"): readonly Site[] {
  const fleet: Site =
    transport === "tcp"
      ? { name: "fleet", phase: PHASE.worker, plot: "fleet", grows: "fleet work" }
      : { name: "fleet", phase: PHASE.worker, plot: "scheduler", grows: "worker" };
  return [...SCHEDULER_SITES, fleet, GC_SITE];
}

interface Rounds {
  readonly controls: Observation[];
  readonly planted: Map<Site, Observation[]>;
}

/** Plants in each site in turn, `rounds` times, with repeats without plants between. */
async function plantAll(
  runner: Runner,
  garden: Garden,
  sites: readonly Site[],
  rounds: number,
  progress: { say(text: string): void; readonly signal: AbortSignal },
): Promise<PlantRow[]> {
  let repeat = 0;
  const observe = async (dose: Dose | null): Promise<Observation> => {
    // An interrupted calibration has no result.
    progress.signal.throwIfAborted();
    return garden.observe(runner, repeat++, dose);
  };
  const warm: Observation[] = [];
  for (let i = 0; i < WARM_UPS; i++) warm.push(await observe(null));
  const doses = new Map<Site, Dose>();
  for (const site of sites) {
    const dose = firstDose(site, warm.slice(WARM_UPS / 2));
    if (dose !== null) doses.set(site, adjusted(dose, await observe(dose)));
  }
  const { controls, planted }: Rounds = { controls: [], planted: new Map() };
  for (let round = 1; round <= rounds; round++) {
    let since_control = 0;
    for (const [site, dose] of doses) {
      if (since_control++ % SITES_BETWEEN_CONTROLS === 0) controls.push(await observe(null));
      const list = planted.get(site) ?? [];
      planted.set(site, list);
      list.push(await observe(dose));
    }
    controls.push(await observe(null));
    progress.say(`  round ${round} of ${rounds}: ${doses.size} phases planted in`);
  }
  return [...doses].map(([site, dose]) => rowOf(dose, planted.get(site)!, controls));
}

/** Null where the run has no such span. */
function firstDose(site: Site, warm: readonly Observation[]): Dose | null {
  const spans = median(warm.map((one) => one.spans(site)));
  if (spans === 0) return null;
  if (site.plot === "gc") return { site, delay_ns: 1, delays_max: COLLECTIONS_MAX };
  const times = warm.map(({ times }) => times.get(site.grows)!);
  const wanted_ms = Math.max(PLANTED_MS_MIN, PHASE_FACTOR * median(times), NOISE_FACTOR * spread(times));
  const total_ns = Math.min(PLANTED_MS_MAX, wanted_ms) * 1e6;
  return doseOf(site, total_ns, spans);
}

/** Delays make larger batches, so fewer spans: what is missing is made up for. */
function adjusted(dose: Dose, tried: Observation): Dose {
  if (dose.site.plot === "gc" || tried.delays === 0) return dose;
  const total_ns = (dose.delay_ns * dose.delays_max) / SPARE;
  return doseOf(dose.site, total_ns, Math.min(tried.delays, dose.delays_max / SPARE));
}

/** More spans than were counted are delayed too, but not without end. */
const SPARE = 2;

function doseOf(site: Site, total_ns: number, spans: number): Dose {
  const delay_ns = Math.max(DELAY_NS_MIN, Math.round(total_ns / spans));
  return { site, delay_ns, delays_max: Math.ceil((SPARE * total_ns) / delay_ns) };
}

function rowOf(dose: Dose, planted: readonly Observation[], controls: readonly Observation[]): PlantRow {
  const { site } = dose;
  const before = (phase: string): number[] => controls.map(({ times }) => times.get(phase)!);
  const base_ms = median(before(site.grows));
  const growths = planted.map(({ times }) => times.get(site.grows)! - base_ms);
  const clocked_ms = median(planted.map((one) => one.clocked_ms));
  const error = median(planted.map(({ clocked_ms }, i) => growths[i]! / clocked_ms - 1));
  const movements = [...controls[0]!.times.keys()]
    .filter((phase) => phase !== site.grows && phase !== "idle")
    .map((phase): Movement => {
      const after = planted.map(({ times }) => times.get(phase)!);
      const noise_ms = Math.max(spread(before(phase)), LEAK_MAX * clocked_ms);
      return { phase, moved_ms: median(after) - median(before(phase)), noise_ms };
    })
    .sort((a, b) => Math.abs(b.moved_ms) - Math.abs(a.moved_ms));
  const moved = movements.filter(({ phase }) => !isOfFleet(phase) && !WOKEN[site.plot].includes(phase));
  const delays = median(planted.map((one) => one.delays));
  // A collection has no length of its own choosing.
  const delay_ns = site.plot === "gc" ? (clocked_ms * 1e6) / delays : dose.delay_ns;
  return {
    planted_in: site.name,
    delays,
    delay_us: delay_ns / 1e3,
    planted_ms: (delays * delay_ns) / 1e6,
    clocked_ms,
    attributed_ms: median(growths),
    error,
    moved,
    moved_in_fleet: movements.filter(({ phase }) => isOfFleet(phase)),
    ok: Math.abs(error) <= ERROR_MAX && moved.every(isWithinNoise),
  };
}

/** What `rsds calibrate` runs on. */
export interface CalibrateOptions {
  readonly zero_workers: number;
  readonly workload: string;
  readonly transport: "tcp" | "memory";
  readonly release: Release;
  readonly flush: FlushMode;
  readonly rounds: number;
  readonly seed: number;
}

/** What a zero run of these options is told. */
function runOptions(options: CalibrateOptions): ZeroRunOptions {
  const { rounds, ...rest } = options;
  return { ...rest, scheduler: "workstealing", order: false, repeats: rounds, trace: "phases" };
}

/** The facts of the run, for the document. Throws WorkloadError. */
export async function calibrationRun(options: CalibrateOptions): Promise<RunFacts> {
  const workload = await parseWorkload(options.workload);
  return runFacts(runOptions(options), workload, options.rounds);
}

/** The same work over each transport: see {@link subtractTransports}. */
export function calibrateLayers(
  options: CalibrateOptions,
  progress: { say(text: string): void; readonly signal: AbortSignal },
): Promise<Subtraction[]> {
  return subtractTransports(runOptions(options), WARM_UPS, progress);
}

/** A zero run under V8's profiler, and its phases against the samples. */
export async function calibrateProfile(
  options: CalibrateOptions,
  progress: { say(text: string): void; readonly signal: AbortSignal },
): Promise<ProfileAgreement> {
  const run = {
    ...runOptions(options),
    repeats: WARM_UPS + PROFILED_REPEATS,
    cpu_profile: true,
  };
  const { input, profile } = await zeroRun(run, progress, progress.signal);
  progress.signal.throwIfAborted();
  if (profile === null) throw new Error("the run ended without a profile");
  return profileAgreement(
    profile,
    input.repeats.slice(WARM_UPS).flatMap(({ figures }) => figures ?? []),
  );
}

/** Zero runs with plants: a row for each phase that the run has, and the names of those that it has not. */
export async function calibratePhases(
  options: CalibrateOptions,
  version: string,
  progress: { say(text: string): void; readonly signal: AbortSignal },
): Promise<{ readonly rows: readonly PlantRow[]; readonly absent: readonly string[] }> {
  const garden = new Garden();
  const parts = {
    options: runOptions(options),
    workload: await parseWorkload(options.workload),
    log: (text: string) => progress.say(text),
    probes: garden,
  };
  const sites = sitesOf(options.transport);
  const runner = await WireRunner.start(parts, version);
  const aborted = new Promise<never>((_, reject) => {
    progress.signal.addEventListener("abort", () => reject(new Error("interrupted")), { once: true });
  });
  try {
    const planting = plantAll(runner, garden, sites, options.rounds, progress);
    // When it is interrupted its peers are taken from under it: how it fails is of no interest.
    planting.catch(() => undefined);
    const rows = await Promise.race([planting, aborted]);
    const absent = sites.filter(({ name }) => !rows.some((row) => row.planted_in === name));
    return { rows, absent: absent.map(({ name }) => name) };
  } finally {
    await (progress.signal.aborted ? runner.abort() : runner.close());
  }
}
