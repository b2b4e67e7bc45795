import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { durationMs } from "../base/units.ts";
import { type SchedulerSettings, settingsOf } from "../config/settings.ts";
import { parseDashboardAddresses } from "../dashboard/address.ts";
import { type DashboardOptions, DEFAULT_ROUTE_MODULES } from "../dashboard/dashboard.ts";
import { externalCommand, POLICY_CHOICES } from "../schedulers/index.ts";
import type { ServerOptions } from "../server/peers/options.ts";
import { InformationRequest, UsageError } from "./errors.ts";
import { DEFAULT_PORT, parsePort, whereToListen } from "./listen-options.ts";
import { parsePolicy, trainingOption } from "./run-options.ts";
import { readPem } from "./scheduler-settings.ts";
import { type SecurityOptions, securityOf } from "./security-options.ts";

/** Options that the server is given as they are. */
type ServerOption =
  | "listen_address"
  | "idle_timeout_ms"
  | "scheduler"
  | "python"
  | "trace"
  | "stimulus_log"
  | "out"
  | "training"
  | "zero_workers";

/** `rsds scheduler`'s options, checked. */
export interface SchedulerOptions extends Pick<ServerOptions, ServerOption> {
  /** The listening host stands for all interfaces, so that peers must be told of a real one. */
  readonly wildcard: boolean;
  readonly pid_file: string | null;
  readonly scheduler_file: string | null;
  /** End when standard input ends: whoever started this process is gone. */
  readonly end_with_stdin: boolean;
  readonly dashboard: DashboardOptions;
  readonly settings: SchedulerSettings;
  readonly security: SecurityOptions;
}

/**
 * Reads the arguments after `scheduler`. Throws UsageError, or InformationRequest for --help and --version.
 * The options are those of `dask scheduler --help` of 2026.8.0, and our own. `settingsFor` answers what Dask's
 * configuration says, given the Python that is asked for; options win.
 */
export function parseSchedulerOptions(
  argv: readonly string[],
  version: string,
  settingsFor: (python: string | null) => SchedulerSettings = () => settingsOf(new Map()),
): SchedulerOptions {
  const output: string[] = [];
  const { command, unsupported } = schedulerCommand(version, output);
  try {
    command.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) throw new InformationRequest(output.join(""));
    throw new UsageError(error.message.replace(/^error: /, "").replace(/\n/g, " "));
  }
  refuseUnsupported(command, unsupported);
  const parsed = command.opts<Parsed>();
  if (parsed.out !== undefined && parsed.trace === "off")
    throw new UsageError("--out is the folder of a trace: give --trace phases or --trace tasks as well");
  if (parsed.stimulusLog !== undefined && externalCommand(parsed.scheduler) !== null)
    throw new UsageError(
      "--stimulus-log: what another process decides cannot be replayed: leave it out, or choose another --scheduler",
    );
  const settings = settingsFor(parsed.python ?? null);
  const security = securityOf(parsed, settings);
  // Dask's rule: who gives certificates means to encrypt.
  const place = whereToListen(parsed, security.require_encryption ? "tls" : settings.default_scheme);
  checkSecurity(place.scheme, security, parsed.zeroWorkers);
  return {
    listen_address: place.listen_address,
    wildcard: place.wildcard,
    pid_file: parsed.pidFile ?? null,
    scheduler_file: parsed.schedulerFile ?? null,
    idle_timeout_ms: parsed.idleTimeout ?? settings.idle_timeout_ms,
    scheduler: parsed.scheduler,
    python: parsed.python ?? null,
    trace: parsed.trace,
    out: parsed.out ?? null,
    stimulus_log: parsed.stimulusLog ?? null,
    training: parsed.training === "on",
    zero_workers: parsed.zeroWorkers,
    end_with_stdin: parsed.endWithStdin,
    dashboard: dashboardOptions(parsed, settings),
    settings,
    security,
  };
}

function checkSecurity(scheme: string, security: SecurityOptions, zero_workers: number): void {
  const encrypted = scheme === "tls" || scheme === "wss";
  if (encrypted && security.tls === null) {
    throw new UsageError(
      `protocol ${scheme} needs certificates: give --tls-ca-file, --tls-cert and --tls-key`,
    );
  }
  if (!encrypted && security.require_encryption) {
    throw new UsageError(
      `protocol ${scheme} is not encrypted, which the options or the configuration require`,
    );
  }
  if (zero_workers > 0 && scheme !== "tcp") {
    throw new UsageError(`--zero-workers speak tcp alone: leave them out, or protocol ${scheme}`);
  }
}

/** As in Dask, `--no-dashboard` takes only the page for people away: health, metrics and JSON stay. */
function dashboardOptions(parsed: Parsed, settings: SchedulerSettings): DashboardOptions {
  return {
    addresses: dashboardAddresses(parsed.dashboardAddress),
    prefix: parsed.dashboardPrefix,
    status_page: parsed.dashboard,
    route_modules: settings.http_routes ?? DEFAULT_ROUTE_MODULES,
    prometheus_namespace: settings.prometheus_namespace,
    tls: readPem(settings.dashboard_tls, "configuration distributed.scheduler.dashboard.tls"),
  };
}

function dashboardAddresses(text: string): DashboardOptions["addresses"] {
  try {
    return parseDashboardAddresses(text);
  } catch (error) {
    throw new UsageError(`--dashboard-address: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A time as Dask's `parse_timedelta` takes it: seconds, or a number and a unit. Answers milliseconds. */
export function parseDuration(text: string): number {
  const ms = durationMs(text);
  if (ms !== null) return ms;
  throw new InvalidArgumentError("It must be a time such as 300, '5 minutes' or '1h'.");
}

/** What commander hands over, by its names. */
interface Parsed {
  readonly host?: string;
  readonly port?: number;
  readonly interface?: string;
  readonly protocol?: string;
  readonly tlsCaFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly pidFile?: string;
  readonly schedulerFile?: string;
  readonly idleTimeout?: number;
  readonly scheduler: string;
  readonly python?: string;
  readonly trace: "off" | "phases" | "tasks";
  readonly out?: string;
  readonly stimulusLog?: string;
  readonly training: "on" | "off";
  readonly zeroWorkers: number;
  readonly endWithStdin: boolean;
  readonly dashboardAddress: string;
  readonly dashboardPrefix: string;
  readonly dashboard: boolean;
}

interface Unsupported {
  readonly option: Option;
  readonly instead: string;
}

/** A mistyped number should not fill the machine. */
const ZERO_WORKERS_MAX = 1_000_000;

/** Options of `dask scheduler` that cannot be honoured yet, and what to do instead of giving them. */
const UNSUPPORTED: readonly (readonly [flags: string, help: string, instead: string])[] = [
  ["--jupyter", "Start a Jupyter Server in the same process", "leave it out, and start Jupyter by itself"],
  ["--show", "Show web UI (DEPRECATED)", "leave it out, and open the dashboard's address"],
  [
    "--use-xheaders <BOOLEAN>",
    "Use xheaders in dashboard app (DEPRECATED)",
    "leave it out, links are relative",
  ],
  [
    "--preload <TEXT...>",
    "Module that should be loaded by the scheduler process",
    "leave it out, this scheduler runs no Python that could load it",
  ],
];

/** Values with which such an option asks for nothing: Dask's own defaults. */
const ASKS_NOTHING: readonly unknown[] = [undefined, false, "", "false", "False", "0", "no", "off"];

function schedulerCommand(
  version: string,
  output: string[],
): { command: Command; unsupported: readonly Unsupported[] } {
  const unsupported = UNSUPPORTED.map(([flags, help, instead]) => {
    return { option: new Option(flags, `${help} (not supported yet)`), instead };
  });
  const command = new Command("rsds scheduler")
    .description("Launch a Dask scheduler that unmodified dask clients and workers connect to.")
    .argument("[PRELOAD_ARGV...]", "Arguments of preloaded modules (not supported yet)")
    .exitOverride()
    .configureOutput({ writeOut: (text) => output.push(text), writeErr: () => undefined })
    .helpOption("-h, --help", "Show this message and exit.")
    .version(version, "--version", "Show the version and exit.")
    .option("--host <TEXT>", "URI, IP or hostname of this server")
    .option("--port <INTEGER>", `Serving port, 0 for any (default: ${DEFAULT_PORT})`, parsePort)
    .option("--interface <TEXT>", "Preferred network interface like 'eth0' or 'ib0'")
    .option("--protocol <TEXT>", "Protocol: tcp, tls, ws or wss")
    .option("--tls-ca-file <PATH>", "CA cert(s) file for TLS (in PEM format)")
    .option("--tls-cert <PATH>", "certificate file for TLS (in PEM format)")
    .option("--tls-key <PATH>", "private key file for TLS (in PEM format)")
    .option("--pid-file <PATH>", "File to write the process PID")
    .option("--scheduler-file <PATH>", "File to write connection information")
    .option("--idle-timeout <TIME>", "Time of inactivity after which to end the scheduler", parseDuration)
    .addOption(
      new Option("--scheduler <NAME>", `Scheduling policy: ${POLICY_CHOICES}`)
        .argParser(parsePolicy)
        .default("workstealing"),
    )
    .option("--python <PATH>", "Interpreter that opens graphs (default: that of $VIRTUAL_ENV, else python3)")
    .addOption(
      new Option("--trace <WHAT>", "What is traced from start to end, for a result folder")
        .choices(["off", "phases", "tasks"])
        .default("off"),
    )
    .option("--out <DIR>", "Result folder of --trace (default: rsds-results/<utc time>-scheduler)")
    .option("--stimulus-log <FILE>", "Write all that the core is told, for rsds simulate --stimuli")
    .addOption(trainingOption())
    .option("--zero-workers <N>", "Workers of our own that compute nothing", parseCount, 0)
    .option(
      "--end-with-stdin",
      "End when standard input ends, as it does with whoever holds its pipe",
      false,
    );
  command
    .option("--dashboard-address <TEXT>", "Address on which to serve the dashboard over HTTP", ":8787")
    .option("--dashboard-prefix <TEXT>", "Prefix of the dashboard's paths", "")
    .option("--dashboard", "Serve the page for people under /status", true)
    .option("--no-dashboard", "Leave that page out; /health, /metrics, /info and /json are served");
  for (const { option } of unsupported) command.addOption(option);
  command
    .option("--no-jupyter", "Start no Jupyter Server: none is")
    .option("--no-show", "Show no web UI: none is");
  return { command, unsupported };
}

function refuseUnsupported(command: Command, unsupported: readonly Unsupported[]): void {
  const given: Readonly<Record<string, unknown>> = command.opts();
  for (const { option, instead } of unsupported) {
    if (ASKS_NOTHING.includes(given[option.attributeName()])) continue;
    throw new UsageError(`${option.long} is not supported yet: ${instead}`);
  }
  if (command.args.length === 0) return;
  const words = command.args.join(" ");
  throw new UsageError(`PRELOAD_ARGV (${words}) is not supported yet: leave the arguments out`);
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count > ZERO_WORKERS_MAX) {
    throw new InvalidArgumentError(`It must be a number from 0 to ${ZERO_WORKERS_MAX}.`);
  }
  return count;
}
