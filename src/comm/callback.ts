import type { Phase } from "../trace/phases.ts";
import type { Cause, Probe } from "../trace/tracer.ts";

/**
 * Does `work` as a callback of the event loop that `cause` has woken. `phase`: what its time belongs to where no span
 * within says otherwise; absent: to nothing.
 */
export function inCallback(probe: Probe, cause: Cause, phase: Phase | undefined, work: () => void): void {
  const { tracer } = probe;
  tracer?.begin(cause, phase);
  try {
    work();
  } finally {
    tracer?.end();
  }
}
