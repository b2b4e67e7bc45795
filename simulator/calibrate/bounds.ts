import type { Movement } from "../../src/results/calibration.ts";

/** How far attributed may be from planted. */
export const ERROR_MAX = 0.05;

/**
 * A phase that moved by less than this share of what was planted elsewhere has not taken any of it: a longer repeat
 * alone has more timers, interruptions and cold caches in it.
 */
export const LEAK_MAX = 0.02;

export function isWithinNoise({ moved_ms, noise_ms }: Movement): boolean {
  return Math.abs(moved_ms) <= noise_ms;
}
