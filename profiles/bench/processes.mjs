// Starting, awaiting and ending the processes that a measurement needs. Whatever was started is ended with this one.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const START_MS_MAX = 60_000;
/** A million tasks, five times, take minutes on a slow machine; what takes longer hangs. */
const RUN_MS_MAX = 900_000;
const END_MS_MAX = 10_000;
const POLL_MS = 20;
const LINE_POLL_MS = 2;
const STDERR_CHARS_KEPT = 4_000;

/** One thread for the numeric libraries too, or workers would fight over the cores. */
const SINGLE = { ...process.env, OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1", MKL_NUM_THREADS: "1" };

const running = new Set();
const folders = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const folder of folders) removeFolder(folder);
});
for (const [signal, number] of [
  ["SIGINT", 2],
  ["SIGTERM", 15],
])
  process.once(signal, () => process.exit(128 + number));

/** The command's script in the build of a checkout. */
export function rsdsBin(root = ROOT) {
  const bin = join(root, "dist", "src", "cli", "main.js");
  if (!existsSync(bin)) throw new Error(`${bin} is not there: run npm run build first`);
  return bin;
}

/**
 * Starts a process; its stdout and the end of its stderr are kept. `ended` resolves with both and its status; `over` is
 * the same once it has ended, null before.
 */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  running.add(child);
  const result = { child, stdout: "", stderr: "", over: null };
  child.stdout.setEncoding("utf8").on("data", (text) => {
    result.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    result.stderr = (result.stderr + text).slice(-STDERR_CHARS_KEPT);
  });
  result.ended = new Promise((resolve, reject) => {
    child.once("error", (error) => {
      running.delete(child);
      result.over = { status: error.message, stdout: "", stderr: "" };
      reject(new Error(`${command} does not start: ${error.message}`));
    });
    child.once("close", (status, signal) => {
      running.delete(child);
      result.over = { status: status ?? signal, stdout: result.stdout, stderr: result.stderr };
      resolve(result.over);
    });
  });
  // Whoever awaits it hears of a failure; nobody has to.
  result.ended.catch(() => undefined);
  return result;
}

/**
 * Runs a process to its end and answers its stdout; rejects, with the last of its stderr, where it failed or took too
 * long.
 */
export async function output(command, args, options) {
  const { status, stdout, stderr } = await start(command, args, { timeout: RUN_MS_MAX, ...options }).ended;
  if (status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ended with ${status}: ${lastLine(stderr)}`);
  return stdout;
}

/** Runs `rsds` and answers the document that it prints. */
export async function rsdsJson(args, { root = ROOT, node_args = [], env = process.env } = {}) {
  const out = temporaryFolder();
  try {
    const all = [...node_args, rsdsBin(root), ...args.map(String), "--json", "--quiet", "--out", out];
    return JSON.parse(await output(process.execPath, all, { env }));
  } finally {
    removeFolder(out);
  }
}

/** Ends a process as a terminal does, and by force where that takes too long. */
export async function end(started) {
  started.child.kill("SIGINT");
  const timer = setTimeout(() => started.child.kill("SIGKILL"), END_MS_MAX);
  await started.ended.catch(() => undefined);
  clearTimeout(timer);
}

/**
 * Starts a scheduler, ours or Dask's, that writes `--scheduler-file`; `command` is without that option. Answers its
 * address and the process.
 */
export async function startScheduler([command, ...args]) {
  const folder = temporaryFolder();
  const file = join(folder, "scheduler.json");
  try {
    const started = start(command, [...args, "--scheduler-file", file]);
    await until(() => existsSync(file), `the scheduler ${command}`, started);
    started.address = JSON.parse(readFileSync(file, "utf8")).address;
    return started;
  } finally {
    removeFolder(folder);
  }
}

/** Attaches `rsds fleet` and waits until all of its workers are registered. */
export async function startFleet(address, { workers, flush = "turn" }) {
  const args = [rsdsBin(), "fleet", address, "--workers", String(workers), "--flush", flush, "--json"];
  const fleet = start(process.execPath, args);
  await said(fleet, "are attached", "rsds fleet");
  return fleet;
}

/** Starts so many `dask worker`s of one thread each, and waits until all are registered. */
export async function startWorkers(address, python, count) {
  const args = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"];
  const workers = Array.from({ length: count }, () =>
    start(join(dirname(python), "dask"), args, { env: SINGLE }),
  );
  await Promise.all(workers.map((worker) => said(worker, "Registered to:", "a worker")));
  return workers;
}

/** Starts a client's script, which takes its orders from stdin. */
export function startClient(python, args) {
  return start(python, args, { env: SINGLE, stdio: ["pipe", "pipe", "pipe"] });
}

/** Until a process, which errors call `what`, has said so on stderr. */
export async function said(started, text, what) {
  await until(() => started.stderr.includes(text), what, started);
}

/** Polls: `what` is to be ready before its process ends or too much time is over. */
async function until(ready, what, started) {
  const deadline = performance.now() + START_MS_MAX;
  while (!ready()) {
    const { over } = started;
    if (over !== null) throw new Error(`${what} ended with ${over.status}: ${lastLine(over.stderr)}`);
    if (performance.now() > deadline) throw new Error(`${what} did not start within ${START_MS_MAX / 1e3} s`);
    await delay(POLL_MS);
  }
}

/** The next line of a process's stdout that was not read yet; rejects where it ends without one. */
export async function nextLine(started, what) {
  started.lines_read ??= 0;
  let line;
  const read = () => {
    const lines = started.stdout.split("\n");
    // What is behind the last newline is not a line yet.
    line = lines.length > started.lines_read + 1 ? lines[started.lines_read] : undefined;
    return line !== undefined;
  };
  while (!read()) {
    const { over } = started;
    if (over !== null) throw new Error(`${what} ended with ${over.status}: ${lastLine(over.stderr)}`);
    await delay(LINE_POLL_MS);
  }
  started.lines_read++;
  return line;
}

function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "rsds-bench-"));
  folders.add(folder);
  return folder;
}

function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

function delay(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function lastLine(text) {
  return text.trim().split("\n").at(-1) ?? "";
}
