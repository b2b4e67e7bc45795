// What the system says of other processes' CPU: Linux' /proc, nothing elsewhere.
import { readdirSync, readFileSync } from "node:fs";

/** A process that used less than this share of a core for so long has done what it was given. */
const QUIET_SHARE = 0.2;
const QUIET_MS = 200;
const QUIET_MS_MAX = 60_000;

/**
 * CPU seconds of a process, its ended threads and its living descendants included, from stat (whole ticks of 10 ms);
 * null without /proc or without such a process.
 */
export function processCpuS(pid) {
  const own = statOf(pid);
  if (own === null) return null;
  let total_s = own.cpu_s;
  for (const child of childrenOf(pid)) total_s += processCpuS(child) ?? 0;
  return total_s;
}

/** CPU seconds of the process alone, its ended threads included. */
export function ownCpuS(pid) {
  return statOf(pid)?.cpu_s ?? null;
}

/** Waits until a scheduler has worked off the release of the last graph; heartbeats go on. */
export async function untilQuiet(pid) {
  const deadline = performance.now() + QUIET_MS_MAX;
  for (let used_s = processCpuS(pid); performance.now() < deadline; used_s = processCpuS(pid)) {
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    if (processCpuS(pid) - used_s < (QUIET_SHARE * QUIET_MS) / 1e3) return;
  }
  throw new Error(`a scheduler is busy ${QUIET_MS_MAX / 1e3} s after its work was released`);
}

/** Linux has told times in hundredths of a second to programs for as long as there was a /proc. */
const TICKS_A_SECOND = 100;

function statOf(pid) {
  const text = readOrNull(`/proc/${pid}/stat`);
  if (text === null) return null;
  // The name, in parentheses, may hold spaces; the fields behind it are counted from 3.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [user, system, ended_user, ended_system] = [14, 15, 16, 17].map((field) => Number(fields[field - 3]));
  return { cpu_s: (user + system + ended_user + ended_system) / TICKS_A_SECOND };
}

function childrenOf(pid) {
  const children = [];
  let threads;
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    if (error.code === "ENOENT") return children;
    throw error;
  }
  for (const thread of threads) {
    const text = readOrNull(`/proc/${pid}/task/${thread}/children`);
    if (text !== null) children.push(...text.split(" ").filter(Boolean).map(Number));
  }
  return children;
}

/** null where the process or thread is gone, or the system keeps no such file. */
function readOrNull(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ESRCH") return null;
    throw error;
  }
}
