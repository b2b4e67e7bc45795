// What the system says of other processes' CPU: Linux' /proc, nothing elsewhere.
import { readdirSync, readFileSync } from "node:fs";

/**
 * CPU time of each thread of a process that is alive now, in nanoseconds by thread id; null without /proc. The first
 * field of schedstat is exact but for the tick under way (4 ms); stat counts whole ticks of 10 ms.
 */
export function threadsCpuNs(pid) {
  let ids;
  try {
    ids = readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
  const threads = new Map();
  for (const id of ids) {
    const text = readOrNull(`/proc/${pid}/task/${id}/schedstat`);
    if (text !== null) threads.set(Number(id), Number.parseInt(text, 10));
  }
  return threads;
}

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
