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

const ROUNDS = 61;
const PROBES_PER_ROUND = 300;

/** Medians over rounds, so that neither an interruption nor the uncompiled first rounds count. About 15 ms. */
export function measureProbeCosts(tracer: Tracer): ProbeCosts {
  const costs = { span_ns: [] as number[], callback_ns: [] as number[], hop_ns: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    // Three loops, not one with a function for its body: the call would cost as much as a cheap probe.
    let last = tracer.begin("other");
    for (let i = 0; i < PROBES_PER_ROUND; i++) {
      tracer.enter(PHASE.transition);
      tracer.exit();
    }
    let now = tracer.enter(PHASE.transition);
    costs.span_ns.push((now - last) / PROBES_PER_ROUND);
    last = now;
    for (let i = 0; i < PROBES_PER_ROUND; i++) {
      tracer.begin("other");
      tracer.end();
    }
    now = tracer.exit();
    costs.callback_ns.push((now - last) / PROBES_PER_ROUND);
    last = now;
    for (let i = 0; i < PROBES_PER_ROUND; i++) tracer.hop(HOP.submitKnown, 1000 + i);
    costs.hop_ns.push((tracer.end() - last) / PROBES_PER_ROUND);
  }
  return {
    span_ns: median(costs.span_ns),
    callback_ns: median(costs.callback_ns),
    hop_ns: median(costs.hop_ns),
  };
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}
