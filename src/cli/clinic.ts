import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { RunArguments } from "./run-options.ts";

export type ClinicTool = "doctor" | "flame" | "bubbleprof";

/** What a run under clinic left behind; whoever has read it calls `remove`. */
export interface ClinicRun {
  /** The result folder of the run. */
  readonly folder: string;
  /** There is a summary in it. */
  readonly complete: boolean;
  /** clinic's page; null if it made none. */
  readonly page: string | null;
  /** What was last said to stderr or stdout: why there is no result. */
  readonly said: string;
  remove(): Promise<void>;
}

const MAIN = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "main.ts" : "main.js", import.meta.url));
const SAID_CHARACTERS_MAX = 2000;

/** No clinic, or one of another build than 13. */
const NOT_THERE = new Set<unknown>(["MODULE_NOT_FOUND", "ERR_PACKAGE_PATH_NOT_EXPORTED"]);

/** Where clinic is installed: beside this package, or in the project of the working directory; null: nowhere. */
export function findClinic(): string | null {
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return createRequire(from).resolve("clinic/bin.js");
    } catch (error) {
      if (!(error instanceof Error && "code" in error && NOT_THERE.has(error.code))) throw error;
    }
  }
  return null;
}

/**
 * One zero run as a process of its own under clinic, in a temporary folder. When `signal` aborts, clinic is told and
 * tells the run, which ends in order; what was measured is then still shown. Ends with this process, if that is ended.
 */
export async function runUnderClinic(
  tool: ClinicTool,
  clinic: string,
  args: RunArguments,
  workload: string,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<ClinicRun> {
  const place = await mkdtemp(join(tmpdir(), "rsds-clinic-"));
  const folder = join(place, "run");
  const remove = (): Promise<void> => rm(place, { recursive: true, force: true });
  try {
    const run = [process.execPath, MAIN, ...argumentsOf(args, workload), "--out", folder];
    const command = [clinic, tool, "--open=false", "--dest", join(place, "clinic"), "--", ...run];
    const said = await untilEnd(tool, command, place, say, signal);
    const made = await readdir(join(place, "clinic")).catch(absent);
    const name = made.find((file) => file.endsWith(".html"));
    const page = name === undefined ? null : join(place, "clinic", name);
    return { folder, complete: existsSync(join(folder, "summary.json")), page, said, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function absent(error: unknown): string[] {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
  throw error;
}

/** The options of the same run without clinic. */
function argumentsOf(args: RunArguments, workload: string): string[] {
  return [
    ...["--zero-workers", String(args.zeroWorkers)],
    // A recorded graph's path is from this process's folder, and the run's is another.
    ...["--workload", existsSync(workload) ? resolve(workload) : workload],
    ...["--scheduler", args.scheduler, "--transport", args.transport, "--release", args.release],
    ...["--flush", args.flush, "--repeat", String(args.repeat), "--seed", String(args.seed)],
    ...["--trace", args.trace, "--training", args.training, "--json"],
    ...(args.order ? ["--order"] : []),
    ...(args.cpuProfile ? ["--cpu-profile"] : []),
  ];
}

/** Resolves with the last of what was said. */
async function untilEnd(
  tool: ClinicTool,
  command: readonly string[],
  cwd: string,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<string> {
  // A group of its own: a terminal's Ctrl-C would reach the run beside being relayed by clinic, and the second ends it.
  const child = spawn(process.execPath, command, {
    cwd,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    // Without these clinic asks a person whether it may report its use, and waits for the answer.
    env: { ...process.env, NO_INSIGHT: "1", NO_UPDATE_NOTIFIER: "1" },
  });
  const ended = new Promise<void>((done, fail) => {
    child.on("error", fail);
    child.on("close", () => done());
  });
  let said = "";
  const keep = (text: string): void => {
    said = (said + text).slice(-SAID_CHARACTERS_MAX);
  };
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    keep(text);
    say(text.trimEnd());
  });
  const leave = endWith(child.pid, cwd);
  const interrupt = (): void => {
    // flame leaves it to the terminal to tell the run, the others relay what they are told.
    if (tool === "flame" && child.pid !== undefined) process.kill(-child.pid, "SIGINT");
    else child.kill("SIGINT");
  };
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    await ended;
  } finally {
    signal.removeEventListener("abort", interrupt);
    leave();
  }
  return said.trim();
}

/** This process's end is that of the whole group: the second Ctrl-C too. Answers how to stop watching for it. */
function endWith(pid: number | undefined, place: string): () => void {
  let interrupts = 0;
  const end = (status: number): void => {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
    rmSync(place, { recursive: true, force: true });
    process.exit(status);
  };
  const onInterrupt = (): void => {
    if (++interrupts > 1) end(130);
  };
  const onTerminate = (): void => end(143);
  process.on("SIGINT", onInterrupt).on("SIGTERM", onTerminate).on("SIGHUP", onTerminate);
  return () => {
    process.off("SIGINT", onInterrupt).off("SIGTERM", onTerminate).off("SIGHUP", onTerminate);
  };
}
