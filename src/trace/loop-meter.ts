import { type IntervalHistogram, monitorEventLoopDelay, performance } from "node:perf_hooks";

/** The loop's turns in a window. */
export interface LoopFigures {
  readonly turns: number;
  readonly turn_max_ms: number;
  readonly turn_p999_ms: number;
}

const RESOLUTION_MS = 1;

/**
 * The loop's turns where no tracer counts them (`--trace off`): libuv's own count of turns, and how late a timer
 * of 1 ms was, which is how long the turn before it lasted at least.
 */
export class LoopMeter {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #turns_before = 0;

  start(): void {
    this.#delay.reset();
    this.#turns_before = loopCount();
    this.#delay.enable();
  }

  stop(): LoopFigures {
    this.#delay.disable();
    return {
      turns: loopCount() - this.#turns_before,
      turn_max_ms: lateness(this.#delay.count === 0 ? 0 : this.#delay.max),
      turn_p999_ms: lateness(this.#delay.count === 0 ? 0 : this.#delay.percentile(99.9)),
    };
  }
}

function lateness(interval_ns: number): number {
  return Math.max(0, interval_ns / 1e6 - RESOLUTION_MS);
}

/** Turns of this thread's loop so far; 0 on a Node before 20.18, which does not tell. */
function loopCount(): number {
  const timing: { readonly uvMetricsInfo?: { readonly loopCount: number } } = performance.nodeTiming;
  return timing.uvMetricsInfo?.loopCount ?? 0;
}
