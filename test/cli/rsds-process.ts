import { type ChildProcess, execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export const ROOT = join(import.meta.dirname, "..", "..");
/** The built command, as users have it: `npm test` builds it first. */
export const MAIN = join(ROOT, "dist", "src", "cli", "main.js");
const PYTHON = join(ROOT, ".venvs", "dask-2026.8.0", "bin", "python");
const CHECK = join(ROOT, "test", "results", "check-result-folder.py");
export const GRAPHS = join(ROOT, "profiles", "graphs");

/** Nothing here takes longer, however busy the machine. */
const RUN_MS_MAX = 200_000;

export interface Ended {
  /** null: a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RsdsProcessOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** How many files and sockets the system lets it open. */
  readonly files_max?: number;
  /** Another program than the built command. */
  readonly main?: string;
}

/** A process of `rsds` whose output is kept. */
export class RsdsProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #stdout = "";
  #stderr = "";
  #look: () => void = () => undefined;

  constructor(args: readonly string[], options: RsdsProcessOptions = {}) {
    const env = { ...process.env, ...options.env };
    const limit = options.files_max === undefined ? "" : `ulimit -n ${options.files_max}; `;
    const command = ["-c", `${limit}exec "$@"`, "sh", process.execPath, options.main ?? MAIN, ...args];
    const child = spawn("sh", command, { cwd: options.cwd, env, timeout: RUN_MS_MAX });
    this.child = child;
    child.stdout.on("data", (text) => {
      this.#stdout += text;
      this.#look();
    });
    child.stderr.on("data", (text) => {
      this.#stderr += text;
      this.#look();
    });
    this.ended = new Promise((resolve) => {
      child.on("close", (status) => {
        this.#look();
        resolve({ status, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  /** Resolves with the first match in what was printed to stderr; rejects if the process ends without one. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    let over = false;
    const ended = this.ended.then(() => {
      over = true;
    });
    for (;;) {
      const match = pattern.exec(this.#stderr);
      if (match !== null) return match;
      if (over) throw new Error(`rsds ended without saying ${pattern}: ${this.#stderr}`);
      const news = new Promise<void>((resolve) => {
        this.#look = resolve;
      });
      await Promise.race([news, ended]);
    }
  }

  /** Ends it whatever it does, for a test's cleaning up. */
  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** Runs `rsds` to its end. */
export function rsds(...args: string[]): Promise<Ended> {
  return new RsdsProcess(args).ended;
}

/** The breaches that the acceptance's own script finds in a result folder, and its last line. Throws if it fails. */
export async function checkFolder(folder: string): Promise<string> {
  // Loaded machines preempt us anywhere: how much may be unattributed is judged by runs made for it.
  const args = [CHECK, folder, "--unattributed", "0.5"];
  const { stdout } = await promisify(execFile)(PYTHON, args).catch((error: { stdout?: string }) => {
    throw new Error(`the result folder ${folder} breaks the contract:\n${error.stdout ?? String(error)}`);
  });
  return stdout;
}
