import type { Hop, Phase } from "../../src/trace/phases.ts";
import type { Cause, LargeMessage, Tracer } from "../../src/trace/tracer.ts";

/** Delays that can be remembered; further spans of the phase are left alone. */
const DELAYS_MAX = 1 << 16;

/** What was planted within a window. */
export interface Planted {
  readonly delays: number;
  /** From the beginning of each delay to its end, as the clock had it; the waits for a core are in it. */
  readonly measured_ns: number;
}

/** Where delays are planted at the moment, and those that were. */
export class Plant {
  #phase: Phase | null = null;
  #delay_ns = 0;
  #delays = 0;
  #delays_max = 0;
  /** Beginning and end of each delay, ns. */
  readonly #moments = new Float64Array(2 * DELAYS_MAX);

  /** From here on, each span of `phase` is delayed by `delay_ns`, up to `delays_max` of them. */
  arm(phase: Phase, delay_ns: number, delays_max: number): void {
    this.#delay_ns = delay_ns;
    this.#delays = 0;
    this.#delays_max = Math.min(delays_max, DELAYS_MAX);
    this.#phase = phase;
  }

  /** No more delays; those that were are remembered until the next are armed. */
  disarm(): void {
    this.#phase = null;
  }

  /** The delay that a span of this phase is due, in ns; 0 for none. */
  dueNs(phase: Phase): number {
    return this.#phase === phase && this.#delays < this.#delays_max ? this.#delay_ns : 0;
  }

  record(start_ns: number, end_ns: number): void {
    this.#moments[2 * this.#delays] = start_ns;
    this.#moments[2 * this.#delays + 1] = end_ns;
    this.#delays++;
  }

  /** Beginning and end of each delay since the plant was armed, ns; a copy. */
  moments(): Float64Array {
    return this.#moments.slice(0, 2 * this.#delays);
  }

  /** What began and ended between the two moments. */
  within(from_ns: number, to_ns: number): Planted {
    return plantedWithin(this.moments(), from_ns, to_ns);
  }
}

/** Which of the delays (see {@link Plant.moments}) began and ended between the two moments. */
export function plantedWithin(moments: Float64Array, from_ns: number, to_ns: number): Planted {
  let delays = 0;
  let measured_ns = 0;
  for (let i = 0; i < moments.length; i += 2) {
    if (moments[i]! < from_ns || moments[i + 1]! > to_ns) continue;
    delays++;
    measured_ns += moments[i + 1]! - moments[i]!;
  }
  return { delays, measured_ns };
}

/** What is done in a planted span. */
export type Delay = (tracer: Tracer, delay_ns: number) => void;

/** Some tenths of a microsecond: a reading of the clock allocates, and collections are not what is planted. */
const STEPS_BETWEEN_READINGS = 300;

/** Computes until the time is over, as slow code would. */
function spin(tracer: Tracer, delay_ns: number): void {
  const until_ns = tracer.now() + delay_ns;
  let lot = 1;
  do {
    for (let i = 0; i < STEPS_BETWEEN_READINGS; i++) lot = (Math.imul(lot, 1_103_515_245) + 12_345) | 0;
    // `lot` is asked for, so that the loop above cannot be left out.
  } while (tracer.now() < until_ns || lot === until_ns);
}

/**
 * Hands everything on to the tracer that records, and delays the spans that the plant names, right after they were
 * entered: the code that is measured knows nothing of it.
 */
export class PlantingTracer implements Tracer {
  readonly #tracer: Tracer;
  readonly #plant: Plant;
  readonly #delay: Delay;

  constructor(tracer: Tracer, plant: Plant, delay: Delay = spin) {
    this.#tracer = tracer;
    this.#plant = plant;
    this.#delay = delay;
  }

  now(): number {
    return this.#tracer.now();
  }

  largeMessage(message: LargeMessage): void {
    this.#tracer.largeMessage(message);
  }

  begin(cause: Cause, phase?: Phase): number {
    const begun_ns = this.#tracer.begin(cause, phase);
    if (phase !== undefined) this.#plantIn(phase);
    return begun_ns;
  }

  end(): number {
    return this.#tracer.end();
  }

  enter(phase: Phase): number {
    const entered_ns = this.#tracer.enter(phase);
    this.#plantIn(phase);
    return entered_ns;
  }

  swap(phase: Phase): number {
    const swapped_ns = this.#tracer.swap(phase);
    this.#plantIn(phase);
    return swapped_ns;
  }

  #plantIn(phase: Phase): void {
    const delay_ns = this.#plant.dueNs(phase);
    if (delay_ns > 0) this.#pause(delay_ns);
  }

  #pause(delay_ns: number): void {
    const start_ns = this.#tracer.now();
    this.#delay(this.#tracer, delay_ns);
    this.#plant.record(start_ns, this.#tracer.now());
  }

  exit(): number {
    return this.#tracer.exit();
  }

  hop(hop: Hop, ns: number): void {
    this.#tracer.hop(hop, ns);
  }

  hops(hop: Hop, ns: number, count: number): void {
    this.#tracer.hops(hop, ns, count);
  }
}
