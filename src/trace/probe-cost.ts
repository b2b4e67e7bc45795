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
/** More, since a hop is cheaper: the compiler comes by the number of calls. */
const HOPS_PER_ROUND = 3000;

/**
 * Lower quartiles over rounds: neither interruptions nor the rounds before the code is compiled count, which are more
 * than half of them where the compiler's thread has to wait for a core. About 15 ms.
 */
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
    for (let i = 0; i < HOPS_PER_ROUND; i++) tracer.hop(HOP.submitKnown, 1000 + i);
    costs.hop_ns.push((tracer.end() - last) / HOPS_PER_ROUND);
  }
  return {
    span_ns: lowerQuartile(costs.span_ns),
    callback_ns: lowerQuartile(costs.callback_ns),
    hop_ns: lowerQuartile(costs.hop_ns),
  };
}

function lowerQuartile(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 2]!;
}
