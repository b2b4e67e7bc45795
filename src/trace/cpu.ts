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
  return threadTimes()?.cpu_ns ?? null;
}

/** The kernel's account of a thread. */
interface ThreadTimes {
  readonly cpu_ns: number;
  /** Ready to run, with no core free: the second field of schedstat. */
  readonly core_wait_ns: number;
}

function threadTimes(): ThreadTimes | null {
  if (schedstat === undefined) schedstat = openSchedstat();
  if (schedstat === null) return null;
  // The kernel brings a running thread's figure up to date at its ticks only (4 ms); getrusage makes it do so.
  process.cpuUsage();
  const length = readSync(schedstat, line, 0, line.length, 0);
  const [cpu_ns, core_wait_ns] = line.toString("latin1", 0, length).split(" ").map(Number);
  if (cpu_ns === undefined || core_wait_ns === undefined || Number.isNaN(cpu_ns + core_wait_ns)) return null;
  return { cpu_ns, core_wait_ns };
}

/** User and system CPU time of the whole process in microseconds: all its threads, V8's helpers included. */
export function processCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** CPU time that passed, in microseconds. */
export interface CpuUsed {
  /** Of all threads of the process. */
  readonly process_us: number;
  /** Of the calling thread; null where the system does not tell. */
  readonly thread_us: number | null;
  /** How long the calling thread was ready to run and had no core, likewise. */
  readonly core_wait_us: number | null;
}

/** Answers the CPU time that this process and this thread used since. */
export function startCpuWatch(): () => CpuUsed {
  const before = threadTimes();
  const process_us = processCpuUs();
  return () => {
    const used_us = processCpuUs() - process_us;
    const now = threadTimes();
    if (now === null || before === null) return { process_us: used_us, thread_us: null, core_wait_us: null };
    return {
      process_us: used_us,
      thread_us: (now.cpu_ns - before.cpu_ns) / 1e3,
      core_wait_us: (now.core_wait_ns - before.core_wait_ns) / 1e3,
    };
  };
}

/** The scheduler's part of what was used. */
interface SchedulerCpu {
  readonly scheduler_cpu_us: number;
  readonly scheduler_thread_cpu_us?: number;
  readonly thread_account?: { readonly cpu_us: number; readonly core_wait_us: number };
}

/** The scheduler's part of it, where a fleet used `fleet_us` in this thread. */
export function schedulerCpu(
  { process_us, thread_us, core_wait_us }: CpuUsed,
  fleet_us: number,
): SchedulerCpu {
  const scheduler_cpu_us = Math.max(0, process_us - fleet_us);
  if (thread_us === null || core_wait_us === null) return { scheduler_cpu_us };
  const own_us = Math.max(0, thread_us - fleet_us);
  // Two clocks of the kernel: they may differ by a tick.
  return {
    scheduler_cpu_us,
    scheduler_thread_cpu_us: Math.min(own_us, scheduler_cpu_us),
    thread_account: { cpu_us: thread_us, core_wait_us },
  };
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
