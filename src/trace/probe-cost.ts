import { HOP, PHASE } from "./phases.ts";
import type { Tracer } from "./tracer.ts";

/** What each kind of probe costs on this machine, in nanoseconds. */
export interface ProbeCosts {
  /** An empty span: enter and exit. */
  readonly span_ns: number;
  /** An empty callback: begin and end. */
  readonly callback_ns: number;
  readonly hop_ns: number;
}

const ROUNDS = 101;
const PROBES_PER_ROUND = 200;

/** Medians over rounds, so that neither an interruption nor the cold start of the first rounds counts. */
export function measureProbeCosts(tracer: Tracer): ProbeCosts {
  return {
    span_ns: medianCost(tracer, () => {
      tracer.enter(PHASE.transition);
      tracer.exit();
    }),
    callback_ns: medianCost(tracer, () => {
      tracer.begin("other");
      tracer.end();
    }),
    hop_ns: medianCost(tracer, () => tracer.hop(HOP.submitKnown, 1000)),
  };
}

function medianCost(tracer: Tracer, probe: () => void): number {
  const costs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = tracer.begin("other");
    for (let i = 0; i < PROBES_PER_ROUND; i++) probe();
    costs.push((tracer.end() - start) / PROBES_PER_ROUND);
  }
  costs.sort((a, b) => a - b);
  return costs[ROUNDS >> 1]!;
}
