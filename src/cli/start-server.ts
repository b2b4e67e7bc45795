import { StimulusLog } from "../core/stimuli.ts";
import { type StimulusHeader, settingsToPlain } from "../core/stimulus-header.ts";
import { Dashboard, type DashboardOptions } from "../dashboard/dashboard.ts";
import { machineFacts, rsdsVersion } from "../results/machine.ts";
import { ClusterReader } from "../server/cluster-reader.ts";
import type { LiveWindow } from "../server/live/window.ts";
import type { RunningServer, ServerOptions } from "../server/peers/options.ts";
import { SchedulerServer } from "../server/server.ts";
import { Probe } from "../trace/tracer.ts";
import { StartError } from "./errors.ts";
import { writeLiveFolder } from "./live-results.ts";
import { defaultPlace, makeWritable, oneLine } from "./result-place.ts";
import { StimulusFile } from "./stimulus-file.ts";
import { TrainingBeside } from "./training-beside.ts";

/** Of the policy's lots. */
const POLICY_SEED = 1;

/** The composition root of `rsds scheduler`: the server, and with `--zero-workers` a fleet in a thread beside it. */
export async function startServer(
  options: ServerOptions,
  dashboard_options: DashboardOptions,
): Promise<RunningServer> {
  const folder = options.out ?? defaultPlace("scheduler");
  if (options.trace !== "off") writableOrStartError(folder);
  const stimuli = options.stimulus_log === null ? null : stimulusFile(options.stimulus_log, options);
  const server = new SchedulerServer({
    ...(stimuli === null
      ? {}
      : { stimuli: new StimulusLog((stimulus, effects) => stimuli.write(stimulus, effects)) }),
    // A client stand-in's graphs need no Python.
    python_ahead: options.zero_workers === 0,
    listen_address: options.listen_address,
    contact_address: options.contact_address,
    contact_host: options.contact_host,
    scheduler: options.scheduler,
    seed: POLICY_SEED,
    python: options.python,
    limits: options.limits,
    settings: options.settings,
    log: options.log,
    version: rsdsVersion(),
    machine_facts: { ...machineFacts() },
    probe: new Probe(),
  });
  server.diagnostics.story.start();
  server.memory.start();
  const dashboard = await startDashboard(server, dashboard_options, options);
  const address = await server.start().catch((error: unknown) => {
    dashboard.close();
    throw error;
  });
  server.peers.startTimers(options.worker_ttl_ms, options.idle_timeout_ms);
  const closeFleet = options.zero_workers > 0 ? await startFleet(server, options) : null;
  const training = options.training ? new TrainingBeside(server, options) : null;
  // Its work would be in the window.
  if (options.trace !== "off") await training?.ended;
  const writeTrace = await startTrace(server, options, folder);
  return {
    address,
    dashboard_port: dashboard.port,
    // Whoever ends the server ends its fleet: a thread would keep the process.
    finished: server.finished.then(async (reason) => {
      await training?.stop();
      await closeFleet?.();
      stimuli?.close();
      await writeTrace();
      return reason;
    }),
    identityJson: () => server.peers.identityJson(),
    close: async (reason) => {
      await training?.stop();
      // Before the fleet goes, whose end is none of what was to be traced.
      await server.live.end();
      await closeFleet?.();
      await server.close(reason);
      stimuli?.close();
      await writeTrace();
    },
  };
}

/** The log of all that the core is told. Throws StartError. */
function stimulusFile(path: string, { scheduler, settings, log }: ServerOptions): StimulusFile {
  const header: StimulusHeader = {
    schema: "rsds.stimuli/1",
    rsds: { version: rsdsVersion() },
    started_at: new Date().toISOString(),
    scheduler,
    seed: POLICY_SEED,
    allowed_failures: settings.allowed_failures,
    settings: settingsToPlain(settings.policy),
  };
  log.write("INFO", `All that the core is told goes to ${path}`);
  return new StimulusFile(path, header, (text) => log.write("WARNING", text));
}

/** Before the server listens, as in Dask: whoever connects finds the dashboard's port in its identity. */
async function startDashboard(
  server: SchedulerServer,
  dashboard_options: DashboardOptions,
  options: ServerOptions,
): Promise<Dashboard> {
  const { context } = server.peers;
  const reader = new ClusterReader(server.scheduler, server.cluster, context, () => server.listening);
  const dashboard = await Dashboard.start(reader, dashboard_options, options.log);
  context.server.services.set("dashboard", dashboard.port);
  server.finished.then(() => dashboard.close(), undefined);
  return dashboard;
}

function writableOrStartError(folder: string): void {
  try {
    makeWritable(folder);
  } catch (error) {
    throw new StartError(oneLine(error));
  }
}

/** With `--trace`: a window over the server's life. Answers what writes it once the server has ended. */
async function startTrace(
  server: SchedulerServer,
  options: ServerOptions,
  folder: string,
): Promise<() => Promise<void>> {
  const { trace, log } = options;
  if (trace === "off") return () => Promise.resolve();
  let window: LiveWindow | null = null;
  await server.live.start(`--trace ${trace}`, trace, (whole) => {
    window = whole;
    return Promise.resolve();
  });
  log.write("INFO", `Tracing ${trace}: the result folder will be ${folder}`);
  let written: Promise<void> | null = null;
  const write = async (): Promise<void> => {
    if (window === null) return;
    await writeLiveFolder(folder, window, {});
    log.write("INFO", `Result folder: ${folder}`);
  };
  return () => {
    written ??= write();
    return written;
  };
}

/** Rejects when the fleet cannot start, with nothing left running: neither its thread nor the server. */
async function startFleet(server: SchedulerServer, options: ServerOptions): Promise<() => Promise<void>> {
  const { FleetProcess } = await import("../../simulator/fleet/host.ts");
  const fleet = new FleetProcess(
    {
      address: server.listening,
      workers: options.zero_workers,
      release: "2026.8",
      flush: "turn",
      stamps: false,
      client: false,
      trace: false,
    },
    (text) => options.log.write("INFO", `fleet: ${text}`),
  );
  server.live.fleet = {
    workers: options.zero_workers,
    cpuNs: () =>
      fleet.figures().then(
        ({ cpu_ns }) => cpu_ns,
        // The process has ended, which is told of elsewhere.
        () => null,
      ),
  };
  let started = false;
  fleet.ended.then((error) => {
    if (error !== null && started) options.log.write("ERROR", error.message);
  }, undefined);
  try {
    await fleet.start();
    started = true;
  } catch (error) {
    await fleet.kill();
    await server.close("its zero workers could not start");
    const text = error instanceof Error ? error.message : String(error);
    throw new StartError(`Cannot attach ${options.zero_workers} zero workers: ${text}`);
  }
  options.log.write("INFO", `${options.zero_workers} zero workers are attached`);
  return () => fleet.kill();
}
