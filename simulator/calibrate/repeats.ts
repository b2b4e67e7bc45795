import { PHASE, type Phase, SPAN_PHASES } from "../../src/trace/phases.ts";
import type { Tracer } from "../../src/trace/tracer.ts";
import type { FleetDose } from "../fleet/process-protocol.ts";
import type { Measured, Probes, Runner } from "../run/measure.ts";
import { garbageCollector } from "../run/memory.ts";
import { Plant, PlantingTracer, plantedWithin } from "./plant.ts";

/** Where delays are planted. */
export interface Site {
  readonly name: string;
  /** The spans that are delayed. */
  readonly phase: Phase;
  /** Whose spans: the scheduler's thread, the fleet's process, or the scheduler's with a collection for a delay. */
  readonly plot: "scheduler" | "fleet" | "gc";
  /** Row of {@link PhaseTimes} that the delays must show in. */
  readonly grows: string;
}

/** Milliseconds of one repeat by phase. */
type PhaseTimes = ReadonlyMap<string, number>;

/** One repeat: what was planted in it, and where its time went. */
export interface Observation {
  readonly times: PhaseTimes;
  readonly delays: number;
  readonly clocked_ms: number;
  /** Spans of each phase of the scheduler's thread. */
  readonly spans: (site: Site) => number;
}

/** What is armed for one repeat. */
export interface Dose {
  readonly site: Site;
  readonly delay_ns: number;
  readonly delays_max: number;
}

/** The plots of one run: the plants of both sides, and the wrapping of their tracers. */
export class Garden implements Probes {
  readonly #scheduler = new Plant();
  readonly #gc = new Plant();
  #fleet_dose: Dose | null = null;
  #fleet_moments = new Float64Array();
  readonly #collect = garbageCollector();

  fleetDose(): FleetDose | null {
    const dose = this.#fleet_dose;
    return dose === null ? null : { ...dose, phase: dose.site.phase };
  }

  fleetPlanted(moments: Float64Array<ArrayBuffer>): void {
    this.#fleet_moments = moments;
  }

  wrap(recorder: Tracer): Tracer {
    const collecting = new PlantingTracer(recorder, this.#gc, () => this.#collect());
    return new PlantingTracer(collecting, this.#scheduler);
  }

  /** One repeat of the run, with a dose or without any. */
  async observe(runner: Runner, repeat: number, dose: Dose | null): Promise<Observation> {
    this.#fleet_dose = dose?.site.plot === "fleet" ? dose : null;
    const plant = dose === null ? null : this.#plantOf(dose.site);
    if (dose !== null) plant?.arm(dose.site.phase, dose.delay_ns, dose.delays_max);
    let measured: Measured;
    try {
      measured = await runner.run(repeat);
    } finally {
      plant?.disarm();
    }
    const figures = windowOf(measured, dose?.site.plot === "fleet");
    const moments = plant?.moments() ?? this.#fleet_moments;
    const planted = dose === null ? null : plantedWithin(moments, figures.start_ns, figures.end_ns);
    return {
      times: phaseTimes(measured),
      delays: planted?.delays ?? 0,
      clocked_ms: (planted?.measured_ns ?? 0) / 1e6,
      spans: (site) => windowOf(measured, site.plot === "fleet").phase_histograms[site.phase]!.count,
    };
  }

  /** null: the fleet's process has its own. */
  #plantOf(site: Site): Plant | null {
    if (site.plot === "fleet") return null;
    return site.plot === "gc" ? this.#gc : this.#scheduler;
  }
}

function windowOf(measured: Measured, of_fleet: boolean) {
  const figures = of_fleet ? measured.fleet[0]?.figures : measured.figures;
  if (figures === null || figures === undefined) throw new Error("a calibration needs traced repeats");
  return figures;
}

/** Names of the fleet's phases, where it has a thread of its own. */
const FLEET_PHASES = [
  ["fleet read", PHASE.read],
  ["fleet decode", PHASE.decode],
  ["fleet work", PHASE.worker],
  ["fleet encode", PHASE.encode],
  ["fleet write", PHASE.write],
] as const;

/** A row of the fleet's own thread. */
export function isOfFleet(phase: string): boolean {
  return phase.startsWith("fleet ");
}

function phaseTimes(measured: Measured): PhaseTimes {
  const { phase_ns, gc_ns, idle_ns, unattributed_ns } = windowOf(measured, false);
  const times = new Map<string, number>();
  for (const [id, { name }] of SPAN_PHASES.entries()) times.set(name, phase_ns[id]! / 1e6);
  times.set("gc", gc_ns / 1e6);
  times.set("idle", idle_ns / 1e6);
  times.set("unattributed", unattributed_ns / 1e6);
  const fleet = measured.fleet[0]?.figures;
  if (fleet === null || fleet === undefined) return times;
  for (const [name, id] of FLEET_PHASES) times.set(name, fleet.phase_ns[id]! / 1e6);
  times.set("fleet gc", fleet.gc_ns / 1e6);
  return times;
}
