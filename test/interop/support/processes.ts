import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const RELEASES = ["2026.8.0", "2024.12.1"] as const;
/** With the oldest one, whose users do the same but for what it does not have. */
export const ALL_RELEASES = [...RELEASES, "2022.12.1"] as const;

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const SUPPORT = fileURLToPath(new URL(".", import.meta.url));
const RSDS = join(ROOT, "dist", "src", "cli", "main.js");
const OUTPUT_CHARACTERS_MAX = 200_000;
const END_MS_MAX = 30_000;

/** A program of the environment that `npm run venvs` makes for this release. */
function venvProgram(release: string, name: string): string {
  return join(ROOT, ".venvs", `dask-${release}`, "bin", name);
}

function againstByDefault(): "rsds" | "dask" {
  const { RSDS_INTEROP_AGAINST } = process.env;
  return RSDS_INTEROP_AGAINST === "dask" ? "dask" : "rsds";
}

/** A real process whose output is kept for the report of a failure. */
export class Program {
  readonly name: string;
  readonly process: ChildProcess;
  readonly ended: Promise<number | string>;
  #output = "";
  #stdout = "";

  constructor(name: string, command: string, args: readonly string[], env: Record<string, string> = {}) {
    this.name = name;
    this.process = spawn(command, args, {
      cwd: tmpdir(),
      env: { ...process.env, PYTHONUNBUFFERED: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const { stdout, stderr } = this.process;
    stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
      this.#keep(text);
    });
    stderr?.setEncoding("utf8").on("data", (text: string) => this.#keep(text));
    this.ended = new Promise((resolve) => {
      this.process.on("error", (error) => resolve(error.message));
      this.process.on("close", (code, signal) => resolve(code ?? signal ?? "?"));
    });
  }

  get pid(): number {
    if (this.process.pid === undefined) throw new Error(`${this.name} did not start`);
    return this.process.pid;
  }

  /** stdout and stderr, the last part of it. */
  get output(): string {
    return this.#output;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get running(): boolean {
    return (
      this.process.exitCode === null && this.process.signalCode === null && this.process.pid !== undefined
    );
  }

  async waitFor(what: string, condition: () => boolean, ms_max: number): Promise<void> {
    const end = Date.now() + ms_max;
    while (!condition()) {
      if (!this.running) throw new Error(`${this.name} ended before ${what}:\n${this.#output}`);
      if (Date.now() > end)
        throw new Error(`${this.name}: not ${what} within ${ms_max} ms:\n${this.#output}`);
      await sleep(20);
    }
  }

  /** Asks it to end, and after a while makes it. Answers with its exit code, or the signal. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | string> {
    if (this.running) this.process.kill(signal);
    const timer = setTimeout(() => this.process.kill("SIGKILL"), END_MS_MAX);
    const result = await this.ended;
    clearTimeout(timer);
    return result;
  }

  #keep(text: string): void {
    this.#output = (this.#output + text).slice(-OUTPUT_CHARACTERS_MAX);
  }
}

export interface WorkerSettings {
  readonly name: string;
  readonly nanny?: boolean;
  readonly args?: readonly string[];
  /** Another address of the scheduler than its own. */
  readonly scheduler?: string;
}

/**
 * A scheduler, real workers and clients on 127.0.0.1, with a folder of their own. `close` ends all of it.
 * RSDS_INTEROP_AGAINST=dask puts Dask's own scheduler in place of rsds: so the scripts themselves are checked.
 */
export class RealCluster {
  readonly release: string;
  readonly folder = mkdtempSync(join(tmpdir(), "rsds-interop-"));
  readonly workers: Program[] = [];
  address = "";
  #scheduler: Program | null = null;
  readonly #programs: Program[] = [];

  readonly #env: Record<string, string>;

  /** `env`: of all its processes, beside this one's. */
  constructor(release: string, env: Record<string, string> = {}) {
    this.#env = env;
    this.release = release;
  }

  get scheduler(): Program {
    if (this.#scheduler === null) throw new Error("no scheduler was started");
    return this.#scheduler;
  }

  async startScheduler(
    args: readonly string[] = [],
    whose: "rsds" | "dask" = againstByDefault(),
    node_args: readonly string[] = [],
  ): Promise<void> {
    const file = join(this.folder, "scheduler.json");
    const common = [
      "scheduler",
      "--host",
      "127.0.0.1",
      "--port",
      "0",
      "--dashboard-address",
      "127.0.0.1:0",
      "--scheduler-file",
      file,
    ];
    if (whose === "dask")
      this.#scheduler = this.start("dask scheduler", venvProgram(this.release, "dask"), [...common, ...args]);
    else {
      const python = ["--python", venvProgram(this.release, "python")];
      this.#scheduler = this.start("rsds scheduler", process.execPath, [
        ...node_args,
        RSDS,
        ...common,
        ...python,
        ...args,
      ]);
    }
    let address = "";
    const isUp = (): boolean => {
      // Written while it is read: half a file is not JSON yet.
      const text = existsSync(file) ? readFileSync(file, "utf8") : "";
      address = text.trimEnd().endsWith("}") ? (JSON.parse(text) as { address: string }).address : "";
      return address !== "";
    };
    await this.#scheduler.waitFor("listening", isUp, 60_000);
    this.address = address;
  }

  /** The process is started; clients wait for it with `wait_for_workers`. */
  startWorker({ name, nanny = false, args = [], scheduler = this.address }: WorkerSettings): Program {
    const worker = this.start(`worker ${name}`, venvProgram(this.release, "dask"), [
      "worker",
      scheduler,
      ...["--name", name, "--nthreads", "2", "--host", "127.0.0.1", "--no-dashboard"],
      ...["--memory-limit", "2GB", "--local-directory", this.folder],
      nanny ? "--nanny" : "--no-nanny",
      ...args,
    ]);
    this.workers.push(worker);
    return worker;
  }

  /** Zero workers in a process of their own. */
  startFleet(workers: number): Program {
    return this.start("rsds fleet", process.execPath, [
      RSDS,
      "fleet",
      this.address,
      "--workers",
      `${workers}`,
    ]);
  }

  /** A script of this folder (or a full path) as a client. */
  startClient(script: string, args: readonly string[] = []): Program {
    const path = resolve(SUPPORT, script);
    return this.start(script, venvProgram(this.release, "python"), [path, this.address, ...args]);
  }

  /** As {@link startClient}, to its end. Rejects if it fails or takes longer. */
  async runClient(script: string, args: readonly string[] = [], ms_max = 120_000): Promise<string> {
    const client = this.startClient(script, args);
    const timer = setTimeout(() => client.process.kill("SIGKILL"), ms_max);
    const code = await client.ended;
    clearTimeout(timer);
    if (code === 0) return client.stdout;
    throw new Error(`${script} ended with ${code}:\n${client.output}\nscheduler:\n${this.scheduler.output}`);
  }

  start(name: string, command: string, args: readonly string[], env: Record<string, string> = {}): Program {
    const program = new Program(name, command, args, { ...this.#env, ...env });
    this.#programs.push(program);
    return program;
  }

  async close(): Promise<void> {
    // Clients and workers first: a scheduler that ends before them makes them wait for it to come back.
    const others = this.#programs.filter((program) => program !== this.#scheduler);
    await Promise.all(others.map((program) => program.end()));
    await this.#scheduler?.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
