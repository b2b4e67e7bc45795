import type { WorkerId } from "../../src/base/ids.ts";
import { MemoryTransport } from "../../src/comm/memory.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import type { FleetThread } from "../../src/results/input.ts";
import type { GraphRow, Ledger } from "../../src/results/summary.ts";
import { GraphLog, type GraphRecord, graphTimes } from "../../src/server/graphs/graph-log.ts";
import { serverCounts } from "../../src/server/live/counts.ts";
import { ServerLog } from "../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS } from "../../src/server/peers/options.ts";
import { SchedulerServer } from "../../src/server/server.ts";
import { type CpuUsed, schedulerCpu, startCpuWatch } from "../../src/trace/cpu.ts";
import type { WindowFigures } from "../../src/trace/figures.ts";
import { LoopMeter } from "../../src/trace/loop-meter.ts";
import { PHASE } from "../../src/trace/phases.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { Probe } from "../../src/trace/tracer.ts";
import type { FleetFigures } from "../fleet/fleet.ts";
import { clientOrder, packGraph } from "../fleet/graph-message.ts";
import { FleetProcess } from "../fleet/host.ts";
import {
  type FleetDriver,
  FleetSession,
  type SessionOptions,
  type SubmissionReport,
} from "../fleet/session.ts";
import type { WorkerStamps } from "../fleet/stamps.ts";
import { RunHops } from "./fleet-hops.ts";
import {
  ledgerBetween,
  type Measured,
  openStamps,
  type Runner,
  type RunnerParts,
  taskTable,
} from "./measure.ts";

/** Repeats submit one graph each. */
const GRAPHS_MAX = 1;
/** How long a release may take until the repeat is given up. */
const RELEASE_MS_MAX = 60_000;

/** The whole server, its peers over `tcp` (in a process of their own) or `memory` (in this one). */
export class WireRunner implements Runner {
  readonly #parts: RunnerParts;
  readonly #server: SchedulerServer;
  readonly #recorder: Recorder | null;
  readonly #fleet: FleetDriver;
  /** Of the zero workers, in the fleet's order. */
  #addresses: readonly string[] = [];

  private constructor(
    parts: RunnerParts,
    server: SchedulerServer,
    recorder: Recorder | null,
    fleet: FleetDriver,
  ) {
    this.#parts = parts;
    this.#server = server;
    this.#recorder = recorder;
    this.#fleet = fleet;
  }

  /** Starts the server and the fleet, and hands the workload over. */
  static async start(parts: RunnerParts, version: string): Promise<WireRunner> {
    const { options, workload, log } = parts;
    const recorder = options.trace === "off" ? null : new Recorder();
    const tracer = recorder === null ? null : (parts.probes?.wrap(recorder) ?? recorder);
    const probe = new Probe(tracer);
    const memory = options.transport === "memory" ? new MemoryTransport({ probe }) : null;
    const server = new SchedulerServer({
      listen_address: memory === null ? "tcp://127.0.0.1:0" : "inproc://scheduler",
      contact_host: null,
      scheduler: options.scheduler,
      seed: options.seed,
      python: null,
      limits: DEFAULT_PEER_LIMITS,
      log: new ServerLog("distributed.scheduler", ({ level, text }) => {
        if (level === "WARNING" || level === "ERROR") log(text);
      }),
      version,
      probe,
      ...(memory === null ? {} : { transport: memory }),
    });
    const address = await server.start();
    const session: SessionOptions = {
      address,
      workers: options.zero_workers,
      release: options.release,
      flush: options.flush,
      stamps: recorder !== null,
      client: true,
      trace: recorder !== null,
      planting: parts.probes !== undefined,
    };
    const fleet =
      memory === null && parts.together !== true
        ? new FleetProcess(session, log)
        : new FleetSession(session, {
            transport: memory ?? new TcpTransport(),
            tracing: { host: tracer, own: null },
            recorder: null,
            log,
          });
    const runner = new WireRunner(parts, server, recorder, fleet);
    try {
      runner.#addresses = (await fleet.start()).addresses;
      await fleet.load(packGraph(workload, options.order ? null : clientOrder(workload.tasks)));
    } catch (error) {
      // A listening server would keep the process.
      await runner.abort();
      throw error;
    }
    return runner;
  }

  /** The fleet numbers its workers in its own way; the scheduler knows their addresses. */
  #byWorker(stamps: readonly WorkerStamps[]): Map<WorkerId, WorkerStamps> {
    const { cluster } = this.#server;
    const by_worker = new Map<WorkerId, WorkerStamps>();
    for (const [index, address] of this.#addresses.entries()) {
      const peer = cluster.workers.get(address);
      if (peer !== undefined) by_worker.set(cluster.book(peer).id, stamps[index]!);
    }
    return by_worker;
  }

  async run(repeat: number): Promise<Measured> {
    const server = this.#server;
    await this.#fleet.prepare(`-r${repeat}`);
    await this.#plant();
    const before = this.#ledger();
    const meter = new LoopMeter();
    const stamps = openStamps(server.scheduler.books, this.#parts, repeat);
    const hops = this.#recorder === null ? null : new RunHops(this.#parts.workload.tasks, stamps);
    server.hops.fleet = hops;
    server.outbox.first_compute_ns = 0;
    const graphs = new GraphLog(GRAPHS_MAX);
    server.intake.graphs = graphs;
    if (this.#recorder === null) meter.start();
    const window_start_ms = Date.now();
    this.#recorder?.openWindow();
    const cpuUsed = this.#cpuUntilTold();
    const report = await this.#fleet.submit();
    const failure = server.external?.policy.failure ?? null;
    if (failure !== null) throw new Error(`the policy ${this.#parts.options.scheduler} failed: ${failure}`);
    const used = cpuUsed();
    const loop = this.#recorder === null ? meter.stop() : null;
    const after = this.#ledger();
    const figures =
      (await this.#recorder?.closeWindow({ start_ns: report.submitted_ns, end_ns: report.reported_ns })) ??
      null;
    server.scheduler.books.tasks.stamps = null;
    const own = await this.#fleet.recorded();
    if (figures !== null) hops?.complete(this.#byWorker(await this.#fleet.stamps()), figures.hop_histograms);
    server.intake.graphs = null;
    const known_ns = Math.max(...graphs.records.map((record) => record.known_ns));
    await this.#harvest();
    const measured: Measured = {
      makespan_s: (report.reported_ns - report.submitted_ns) / 1e9,
      graph_s: (known_ns - report.submitted_ns) / 1e9,
      first_task_s: (server.outbox.first_compute_ns - report.submitted_ns) / 1e9,
      ...schedulerCpu(used, this.#fleetOnThreadUs(report, figures)),
      figures,
      loop,
      fleet: this.#fleetThreads(report, own),
      graphs: graphs.records.map((record) => this.#graphRow(record)),
      ledger: ledgerBetween(before, after),
      window_start_ms,
      tasks: stamps === null ? null : taskTable(stamps, repeat, report.submitted_ns),
    };
    const { keys_left } = await this.#fleet.release(RELEASE_MS_MAX);
    if (keys_left > 0) throw new Error(`${keys_left} keys were not released within ${RELEASE_MS_MAX} ms`);
    return measured;
  }

  /**
   * The CPU until the client was told of its last key, which the repeat's window ends with: what follows on this side
   * before the fleet's word of it arrives (keys that nobody needs any more) is none of it.
   */
  #cpuUntilTold(): () => CpuUsed {
    const { outbox } = this.#server;
    const told_before = outbox.keys_told;
    const wanted = this.#parts.workload.wanted.length;
    const cpuUsed = startCpuWatch();
    let used: CpuUsed | null = null;
    let told = told_before;
    outbox.onFlushed = () => {
      if (outbox.keys_told === told) return;
      told = outbox.keys_told;
      // A key that was lost and computed again is told again.
      if (told - told_before >= wanted) used = cpuUsed();
    };
    return () => {
      outbox.onFlushed = null;
      return used ?? cpuUsed();
    };
  }

  /** What the fleet did on this thread, all of it where a recorder saw it. */
  #fleetOnThreadUs({ figures }: SubmissionReport, recorded: WindowFigures | null): number {
    if (this.#parts.options.transport === "tcp") return 0;
    const ns = recorded === null ? sameThreadNs(figures) : recorded.phase_ns[PHASE.worker]!;
    return ns / 1e3;
  }

  /** What `rsds calibrate` has planted in the fleet's process, before the run and after it. */
  async #plant(): Promise<void> {
    const { probes } = this.#parts;
    if (probes !== undefined && this.#fleet instanceof FleetProcess)
      await this.#fleet.plant(probes.fleetDose());
  }

  async #harvest(): Promise<void> {
    const { probes } = this.#parts;
    if (probes !== undefined && this.#fleet instanceof FleetProcess)
      probes.fleetPlanted(await this.#fleet.planted());
  }

  #fleetThreads({ figures }: SubmissionReport, own: WindowFigures | null): FleetThread[] {
    return this.#parts.options.transport === "tcp" ? [{ cpu_ns: figures.cpu_ns, figures: own }] : [];
  }

  /** There is one graph, so the first task of all is its first. */
  #graphRow(record: GraphRecord): GraphRow {
    return graphTimes({ ...record, first_task_ns: this.#server.outbox.first_compute_ns });
  }

  #ledger(): Ledger {
    return serverCounts(this.#server);
  }

  async close(): Promise<void> {
    await this.#fleet.close();
    await this.#closeServer("the run is over");
  }

  async abort(): Promise<void> {
    // The process answers one request after the other: asked to close, it would finish its submission first.
    if (this.#fleet instanceof FleetProcess) await this.#fleet.kill();
    else await this.#fleet.close();
    await this.#closeServer("the run was interrupted");
  }

  async #closeServer(reason: string): Promise<void> {
    await this.#server.close(reason);
    this.#recorder?.close();
  }
}

/** What the fleet's spans took on the scheduler's thread. */
function sameThreadNs(figures: FleetFigures): number {
  return figures.decode_ns + figures.work_ns + figures.encode_ns + figures.write_ns;
}
