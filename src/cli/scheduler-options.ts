import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { type SchedulerSettings, settingsOf } from "../config/settings.ts";
import { durationMs } from "../config/units.ts";
import { parseDashboardAddresses } from "../dashboard/address.ts";
import { type DashboardOptions, DEFAULT_ROUTE_MODULES } from "../dashboard/dashboard.ts";
import { interfaceAddress, isWildcardHost } from "../server/peers/contact.ts";
import { InformationRequest, UsageError } from "./errors.ts";
import { readPem } from "./scheduler-settings.ts";

/** `rsds scheduler`'s options, checked. */
export interface SchedulerOptions {
  /** `tcp://host:port`; the host may be empty for all interfaces. */
  readonly listen_address: string;
  /** The listening host stands for all interfaces, so that peers must be told of a real one. */
  readonly wildcard: boolean;
  readonly pid_file: string | null;
  readonly scheduler_file: string | null;
  readonly idle_timeout_ms: number | null;
  readonly scheduler: string;
  readonly python: string | null;
  readonly trace: "off" | "phases" | "tasks";
  /** The result folder of the trace; null: a name of its own. */
  readonly out: string | null;
  readonly zero_workers: number;
  readonly dashboard: DashboardOptions;
  readonly settings: SchedulerSettings;
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
  const settings = settingsFor(parsed.python ?? null);
  return {
    ...whereToListen(parsed, settings.default_scheme),
    pid_file: parsed.pidFile ?? null,
    scheduler_file: parsed.schedulerFile ?? null,
    idle_timeout_ms: parsed.idleTimeout ?? settings.idle_timeout_ms,
    scheduler: parsed.scheduler,
    python: parsed.python ?? null,
    trace: parsed.trace,
    out: parsed.out ?? null,
    zero_workers: parsed.zeroWorkers,
    dashboard: dashboardOptions(parsed, settings),
    settings,
  };
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
  readonly pidFile?: string;
  readonly schedulerFile?: string;
  readonly idleTimeout?: number;
  readonly scheduler: string;
  readonly python?: string;
  readonly trace: "off" | "phases" | "tasks";
  readonly out?: string;
  readonly zeroWorkers: number;
  readonly dashboardAddress: string;
  readonly dashboardPrefix: string;
  readonly dashboard: boolean;
}

interface Unsupported {
  readonly option: Option;
  readonly instead: string;
}

const DEFAULT_PORT = 8786;
const NO_TLS = "leave the --tls options out, and keep to a network that you trust or a tunnel";
/** A mistyped number should not fill the machine. */
const ZERO_WORKERS_MAX = 1_000_000;

/** Options of `dask scheduler` that cannot be honoured yet, and what to do instead of giving them. */
const UNSUPPORTED: readonly (readonly [flags: string, help: string, instead: string])[] = [
  ["--tls-ca-file <PATH>", "CA cert(s) file for TLS (in PEM format)", NO_TLS],
  ["--tls-cert <PATH>", "certificate file for TLS (in PEM format)", NO_TLS],
  ["--tls-key <PATH>", "private key file for TLS (in PEM format)", NO_TLS],
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
    .option("--protocol <TEXT>", "Protocol: tcp (others are not supported yet)")
    .option("--pid-file <PATH>", "File to write the process PID")
    .option("--scheduler-file <PATH>", "File to write connection information")
    .option("--idle-timeout <TIME>", "Time of inactivity after which to end the scheduler", parseDuration)
    .addOption(
      new Option("--scheduler <NAME>", "Scheduling policy")
        .choices(["workstealing", "random"])
        .default("workstealing"),
    )
    .option("--python <PATH>", "Interpreter that opens graphs (default: that of $VIRTUAL_ENV, else python3)")
    .addOption(
      new Option("--trace <WHAT>", "What is traced from start to end, for a result folder")
        .choices(["off", "phases", "tasks"])
        .default("off"),
    )
    .option("--out <DIR>", "Result folder of --trace (default: rsds-results/<utc time>-scheduler)")
    .option("--zero-workers <N>", "Workers of our own that compute nothing", parseCount, 0);
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

/** Dask's rules: a port in --host is taken where --port is not given, and must not contradict it. */
function whereToListen(
  parsed: Parsed,
  default_scheme: string,
): { listen_address: string; wildcard: boolean } {
  const protocol = (parsed.protocol ?? default_scheme).replace("://", "");
  const [scheme, rest] = splitScheme(parsed.host ?? "", protocol);
  for (const name of [protocol, scheme]) {
    if (name !== "tcp") throw new UsageError(`protocol ${name} is not supported yet: use tcp`);
  }
  if (parsed.interface !== undefined && parsed.host !== undefined && parsed.host !== "") {
    throw new UsageError("both --interface and --host are given: leave one of them out");
  }
  const { host, port } = splitPort(rest);
  if (port !== null && port !== 0 && parsed.port !== undefined && parsed.port !== 0 && port !== parsed.port) {
    throw new UsageError(
      `two ports are given, --host ${parsed.host} and --port ${parsed.port}: leave one out`,
    );
  }
  const name = parsed.interface === undefined ? host : ofInterface(parsed.interface);
  const shown = name.includes(":") ? `[${name}]` : name;
  return {
    listen_address: `tcp://${shown}:${port ?? parsed.port ?? DEFAULT_PORT}`,
    wildcard: isWildcardHost(name),
  };
}

function splitScheme(host: string, absent: string): readonly [scheme: string, rest: string] {
  const at = host.indexOf("://");
  return at < 0 ? [absent, host] : [host.slice(0, at), host.slice(at + 3)];
}

function splitPort(host: string): { host: string; port: number | null } {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?$/.exec(host);
  if (match === null) throw new UsageError(`invalid --host ${host}: IPv6 needs brackets like [::1]`);
  const port = match[3] === undefined || match[3] === "" ? null : parsePort(match[3]);
  return { host: match[1] ?? match[2] ?? "", port };
}

function ofInterface(name: string): string {
  if (name.includes(",")) throw new UsageError("several interfaces are not supported yet: give one");
  try {
    return interfaceAddress(name);
  } catch (error) {
    throw new UsageError(`--interface: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parsePort(text: string): number {
  if (text.includes(",")) throw new UsageError("several ports are not supported yet: give one");
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) throw new UsageError(`port ${text}: it must be 0 to 65535`);
  return port;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count > ZERO_WORKERS_MAX) {
    throw new InvalidArgumentError(`It must be a number from 0 to ${ZERO_WORKERS_MAX}.`);
  }
  return count;
}
