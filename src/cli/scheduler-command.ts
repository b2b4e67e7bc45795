import { renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { DashboardListenError, type DashboardOptions } from "../dashboard/dashboard.ts";
import { machineAddress } from "../server/peers/contact.ts";
import { LOG_LEVELS, type ServerLog } from "../server/peers/log.ts";
import { DEFAULT_PEER_LIMITS, type RunningServer, type ServerOptions } from "../server/peers/options.ts";
import { PolicyStartError } from "../server/policy/policy-process.ts";
import { InformationRequest, StartError, UsageError } from "./errors.ts";
import { createLog, type LogStream } from "./log.ts";
import { makeFolder } from "./result-place.ts";
import { parseSchedulerOptions, type SchedulerOptions } from "./scheduler-options.ts";
import { type Environment, loadSettings } from "./scheduler-settings.ts";

/** Starts a server; rejects where it cannot listen. */
export type StartServer = (options: ServerOptions, dashboard: DashboardOptions) => Promise<RunningServer>;

/** What the command needs of its process. */
export interface SchedulerProcess {
  readonly stdout: LogStream;
  readonly stderr: LogStream;
  readonly version: string;
  /** Where Dask's configuration is looked for. */
  readonly env: Environment;
}

const LINE = "-".repeat(47);
const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/**
 * `rsds scheduler`: serves until a signal, a client's `terminate` or idleness ends it. Answers the exit status: 0
 * for every orderly end, as `dask scheduler` has it; 1: cannot serve; 2: wrong usage.
 */
export async function schedulerMain(
  argv: readonly string[],
  start: StartServer,
  process_parts: SchedulerProcess,
): Promise<number> {
  const { env, stderr, stdout, version } = process_parts;
  let options: SchedulerOptions;
  try {
    options = parseSchedulerOptions(argv, version, (python) => loadSettings(env, python));
  } catch (error) {
    if (error instanceof InformationRequest) {
      stdout.write(error.message);
      return 0;
    }
    if (!(error instanceof UsageError)) throw error;
    stderr.write(`rsds scheduler: ${error.message}\n`);
    return 2;
  }
  const { log_length, log_level } = options.settings;
  const log = createLog({
    stream: stderr,
    level: LOG_LEVELS.find((level) => level === log_level) ?? "INFO",
    // Dask's name: filters, dashboards and readers of `get_scheduler_logs` look for it.
    logger: "distributed.scheduler",
    records_max: log_length,
  });
  const files = new OwnFiles();
  try {
    return await serve(options, start, log, files, env);
  } finally {
    files.removeAll();
    log.write("INFO", "End scheduler");
  }
}

async function serve(
  options: SchedulerOptions,
  start: StartServer,
  log: ServerLog,
  files: OwnFiles,
  env: Environment,
): Promise<number> {
  const signals = new Signals();
  let server: RunningServer | null = null;
  try {
    if (options.pid_file !== null) files.write(options.pid_file, String(process.pid));
    log.write("INFO", LINE);
    server = await start(await serverOptions(options, log), options.dashboard);
    log.write("INFO", LINE);
    // Deployment tools look for these words on stderr (SSHCluster).
    log.write("INFO", `  Scheduler at: ${server.address.padStart(25)}`);
    log.write("INFO", `  dashboard at:  ${dashboardLink(server, options, env).padStart(25)}`);
    if (options.scheduler_file !== null) {
      files.write(options.scheduler_file, JSON.stringify(server.identityJson(), null, 2));
    }
    const causes: Promise<EndCause>[] = [signals.first, server.finished.then((reason) => ({ reason }))];
    if (options.end_with_stdin) causes.push(stdinEnded());
    const cause = await Promise.race(causes);
    if ("stdin" in cause) {
      log.write("INFO", "Standard input has ended: whoever started this scheduler is gone");
      await server.close("stdin-ended");
    } else if ("signal" in cause) {
      const number = SIGNALS[cause.signal];
      log.write("INFO", `Received signal ${cause.signal} (${number})`);
      await server.close(`signal-${number}`);
    }
    log.write("INFO", `Stopped scheduler at '${server.address}'`);
    return 0;
  } catch (error) {
    log.write("ERROR", startFailure(error, options));
    await server?.close("it cannot serve");
    return 1;
  } finally {
    signals.release();
    // As long as it is read, it keeps the process.
    if (options.end_with_stdin) process.stdin.destroy();
  }
}

type EndCause =
  | { readonly signal: keyof typeof SIGNALS }
  | { readonly reason: string }
  | { readonly stdin: "ended" };

/** What comes in meanwhile is read and dropped; a broken pipe is an end too. */
function stdinEnded(): Promise<{ readonly stdin: "ended" }> {
  return new Promise((resolve) => {
    const ended = (): void => resolve({ stdin: "ended" });
    process.stdin.on("end", ended).on("close", ended).on("error", ended).resume();
  });
}

async function serverOptions(options: SchedulerOptions, log: ServerLog): Promise<ServerOptions> {
  const { security, settings } = options;
  return {
    listen_address: options.listen_address,
    contact_address: contactAddressOf(options),
    contact_host: options.wildcard
      ? await machineAddress(options.listen_address.includes("[") ? "udp6" : "udp4")
      : null,
    scheduler: options.scheduler,
    python: options.python,
    trace: options.trace,
    out: options.out,
    stimulus_log: options.stimulus_log,
    training: options.training,
    zero_workers: options.zero_workers,
    idle_timeout_ms: options.idle_timeout_ms,
    worker_ttl_ms: settings.worker_ttl_ms,
    limits: DEFAULT_PEER_LIMITS,
    settings: { ...settings, ...security },
    log,
  };
}

/** As configured, with the listener's protocol where it names none. */
function contactAddressOf({ listen_address, settings }: SchedulerOptions): string | null {
  const address = settings.contact_address;
  if (address === null || address.includes("://")) return address;
  return `${listen_address.split("://", 1)[0]}://${address}`;
}

/** The configured template, filled in. One that names what is not there is replaced by the port, as in Dask. */
function dashboardLink(server: RunningServer, options: SchedulerOptions, env: Environment): string {
  const values: Environment = {
    ...env,
    scheme: options.dashboard.tls === null ? "http" : "https",
    host: /^\w+:\/\/(.*):\d+$/.exec(server.address)?.[1] ?? "localhost",
    port: String(server.dashboard_port),
  };
  let complete = true;
  const link = options.settings.dashboard_link.replace(/\{(\w+)\}/g, (_whole, name: string) => {
    complete &&= values[name] !== undefined;
    return values[name] ?? "";
  });
  return complete ? link : `:${server.dashboard_port}`;
}

function startFailure(error: unknown, options: SchedulerOptions): string {
  if (error instanceof StartError || error instanceof DashboardListenError) return error.message;
  if (error instanceof PolicyStartError) return error.message;
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE") {
    return `Cannot listen on ${options.listen_address}: the port is taken. Choose another by --port, or --port 0 for any`;
  }
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return `Cannot listen on ${options.listen_address}: this machine has no such address. Choose another by --host`;
  }
  if (code === "EACCES" && error instanceof Error && !("path" in error)) {
    return `Cannot listen on ${options.listen_address}: not permitted. Choose a port above 1023`;
  }
  if (error instanceof Error && "path" in error) return `Cannot write ${error.path}: ${error.message}`;
  return `The scheduler failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** SIGINT and SIGTERM: the first asks for an orderly end, a further one ends the process at once, as in Dask. */
class Signals {
  readonly first: Promise<{ readonly signal: keyof typeof SIGNALS }>;
  readonly #listeners: readonly (readonly [keyof typeof SIGNALS, () => void])[];

  constructor() {
    let tell: (cause: { signal: keyof typeof SIGNALS }) => void = () => undefined;
    this.first = new Promise((resolve) => {
      tell = resolve;
    });
    const names = ["SIGINT", "SIGTERM"] as const;
    this.#listeners = names.map((signal) => {
      return [
        signal,
        () => {
          // Without a listener of ours the system's own rule is back: the next signal kills.
          this.release();
          tell({ signal });
        },
      ] as const;
    });
    for (const [signal, listener] of this.#listeners) process.on(signal, listener);
  }

  release(): void {
    for (const [signal, listener] of this.#listeners) process.removeListener(signal, listener);
  }
}

/** Files that exist for as long as the scheduler does. */
class OwnFiles {
  readonly #paths: string[] = [];

  /** Whoever waits for the file must never read half of it, so it appears by a rename. */
  write(path: string, content: string): void {
    makeFolder(dirname(path));
    const temporary = `${path}.${process.pid}.tmp`;
    writeFileSync(temporary, content);
    renameSync(temporary, path);
    this.#paths.push(path);
  }

  removeAll(): void {
    for (const path of this.#paths.splice(0)) rmSync(path, { force: true });
  }
}
