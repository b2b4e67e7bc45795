import { randomBytes, randomUUID } from "node:crypto";
import type { Machine, Timer } from "../base/machine.ts";

/** The machine that this process runs on. */
export const REAL_MACHINE: Machine = {
  wall_ms: () => Date.now(),
  now_ms: () => performance.now(),
  after: (delay_ms, callback) => setTimeout(callback, delay_ms),
  every: (interval_ms, callback) => setInterval(callback, interval_ms),
  cancel: (timer: Timer | null) => clearTimeout(timer as NodeJS.Timeout | undefined),
  soon: (callback) => void setImmediate(callback),
  sleep: (delay_ms) => new Promise((resolve) => setTimeout(resolve, delay_ms)),
  uuid: () => randomUUID(),
  secret: () => randomBytes(4).readInt32LE(),
};
