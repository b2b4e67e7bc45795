import { readFileSync } from "node:fs";

/** The unit of /proc's times; Linux has it fixed for programs, whatever the kernel's own. */
const TICK_US = 10_000;
/** Places of utime and stime behind the process's name, which may hold anything and ends with a parenthesis. */
const UTIME = 11;
const STIME = 12;

/** CPU times of other processes by their id, in microseconds, right to a hundredth of a second; only of those known. */
export function processesCpuUs(pids: readonly number[]): Map<number, number> {
  const times = new Map<number, number>();
  for (const pid of pids) {
    const us = processCpuUs(pid);
    if (us !== null) times.set(pid, us);
  }
  return times;
}

function processCpuUs(pid: number): number | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    // Expected where there is no /proc, or the process has just ended.
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES") return null;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[UTIME]) + Number(fields[STIME]);
  return Number.isNaN(ticks) ? null : ticks * TICK_US;
}
