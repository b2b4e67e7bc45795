import { openSync, readSync } from "node:fs";

const SCHEDSTAT = "/proc/thread-self/schedstat";

/** Each thread has its own instance of this module, so the descriptor is that thread's. null: not there. */
let schedstat: number | null | undefined;
const line = Buffer.alloc(96);

/**
 * CPU time of the calling thread in nanoseconds, from the first field of Linux' schedstat; null on other systems
 * (Node 20 has no call of its own for it).
 */
export function threadCpuNs(): number | null {
  if (schedstat === undefined) schedstat = openSchedstat();
  if (schedstat === null) return null;
  // The kernel brings a running thread's figure up to date at its ticks only (4 ms); getrusage makes it do so.
  process.cpuUsage();
  const length = readSync(schedstat, line, 0, line.length, 0);
  const nanos = Number.parseInt(line.toString("latin1", 0, length), 10);
  return Number.isNaN(nanos) ? null : nanos;
}

/** User and system CPU time of the whole process in microseconds: all its threads, V8's helpers included. */
export function processCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function openSchedstat(): number | null {
  try {
    return openSync(SCHEDSTAT, "r");
  } catch (error) {
    // Expected where there is no /proc, or a kernel without schedstat; anything else is worth hearing of.
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "EACCES") return null;
    throw error;
  }
}
