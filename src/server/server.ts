import type { Clock } from "../base/clock.ts";
import type { Machine } from "../base/machine.ts";
import type { Listener, Transport } from "../comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../comm/handshake.ts";
import { Scheduler } from "../core/scheduler.ts";
import type { StimulusLog } from "../core/stimuli.ts";
import { validate } from "../core/validate.ts";
import { createPolicy, externalCommand } from "../schedulers/index.ts";
import { MonotonicClock } from "../trace/clock.ts";
import { REAL_MACHINE } from "../trace/machine.ts";
import type { Probe } from "../trace/tracer.ts";
import { UnpackError } from "../unpacker/graph.ts";
import { UnpackerPool } from "../unpacker/unpacker.ts";
import { restrictionHandlers } from "./control/restrictions.ts";
import { SpareTables } from "./control/spare-tables.ts";
import { UnrunnableTasks } from "./control/unrunnable.ts";
import { CoreCluster, serializedException } from "./core-cluster.ts";
import { Diagnostics } from "./diagnostics/diagnostics.ts";
import { Reports } from "./diagnostics/reports.ts";
import { GraphIntake } from "./graphs/intake.ts";
import { HopBook } from "./hops.ts";
import { LiveTrace } from "./live/live-trace.ts";
import { TurnLoop } from "./loop.ts";
import { MemoryControl } from "./memory/memory-control.ts";
import type { Log } from "./peers/log.ts";
import {
  contactAddress,
  DEFAULT_SERVER_SETTINGS,
  type PeerLimits,
  type ServerSettings,
} from "./peers/options.ts";
import { PeerServer } from "./peers/peer-server.ts";
import { PolicyProcess } from "./policy/policy-process.ts";
import { PythonSide } from "./python/python-side.ts";
import { Recordings } from "./recording/recordings.ts";
import { Shuffles } from "./shuffle/shuffles.ts";
import { Spans } from "./spans/spans.ts";
import { tellMeasurements } from "./stream/measurements.ts";
import { StreamOutbox } from "./stream/outbox.ts";
import { TypeTable } from "./stream/type-table.ts";
import { Streams } from "./streams.ts";
import { transportOf } from "./transports.ts";

export interface SchedulerServerOptions {
  /** `tcp://host:port` or `inproc://name`. */
  readonly listen_address: string;
  /** What peers are told instead of where the server listens; null or absent: that itself. */
  readonly contact_address?: string | null;
  /** The host that peers are told of, where the listening one is a wildcard. */
  readonly contact_host: string | null;
  readonly scheduler: string;
  /** Of the policy's lots. */
  readonly seed: number;
  readonly python: string | null;
  /**
   * Starts Python with the server, and more of it as clients come whose graphs need it, not with their first graphs;
   * absent: false.
   */
  readonly python_ahead?: boolean;
  readonly limits: PeerLimits;
  /** Absent: Dask's defaults. */
  readonly settings?: ServerSettings;
  readonly log: Log;
  readonly version: string;
  /** What a profile says of the machine; nothing unless given. */
  readonly machine_facts?: Readonly<Record<string, string | number>>;
  /** Off, or on, or switched while it runs. */
  readonly probe: Probe;
  /** Where peers are to be reached by another way than the addresses' own: in this process, or in a simulation. */
  readonly transport?: Transport;
  /** Absent: the machine's own. */
  readonly clock?: Clock;
  /** Absent: this one. */
  readonly machine?: Machine;
  /** Is told all that the core is told, and what the core says on it. Absent: nobody is, and nothing is spent on it. */
  readonly stimuli?: StimulusLog;
  /** How many tasks one turn of the loop places at most. */
  readonly turn_tasks_max?: number;
}

/**
 * The whole server: sockets to bytes to events of the core, its effects to bytes to sockets. Everything it is made
 * of is wired here; the parts know each other only through narrow interfaces.
 */
export class SchedulerServer {
  readonly scheduler: Scheduler;
  readonly outbox: StreamOutbox;
  readonly streams: Streams;
  readonly intake: GraphIntake;
  readonly loop: TurnLoop;
  readonly cluster: CoreCluster;
  readonly peers: PeerServer;
  readonly diagnostics: Diagnostics;
  readonly python: PythonSide;
  readonly memory: MemoryControl;
  readonly #recordings: Recordings;
  readonly #spans: Spans;
  /** The process that decides where tasks go, if another does. */
  readonly external: PolicyProcess | null;
  #unrunnable: UnrunnableTasks | null = null;
  #spare_tables: SpareTables | null = null;
  readonly hops: HopBook;
  readonly transport: Transport;
  readonly finished: Promise<string>;
  readonly probe: Probe;
  /** Switches the tracing on and off; zero runs, which have a tracer from the start, leave it alone. */
  readonly live: LiveTrace;
  readonly #options: SchedulerServerOptions;
  readonly #machine: Machine;
  #listener: Listener | null = null;
  #unpacker: UnpackerPool | null = null;
  #finish: (reason: string) => void = () => undefined;
  #closing: Promise<void> | null = null;
  /** What peers are told. */
  address = "";
  /** Where it can be reached from this machine. */
  listening = "";

  constructor(options: SchedulerServerOptions) {
    const { probe, log, limits, settings = DEFAULT_SERVER_SETTINGS } = options;
    this.#options = options;
    this.probe = probe;
    const clock = options.clock ?? new MonotonicClock();
    const machine = options.machine ?? REAL_MACHINE;
    this.#machine = machine;
    const now_ms = (): number => machine.wall_ms();
    const types = new TypeTable();
    this.outbox = new StreamOutbox(types, clock, probe, limits.stream_pending_bytes_max);
    this.external = this.#externalPolicy();
    this.scheduler = this.#core(settings);
    this.outbox.attach(this.scheduler.books);
    this.loop = this.#turns(clock);
    if (settings.validate) this.loop.onTurn = () => validate(this.scheduler);
    this.cluster = new CoreCluster(this.scheduler, this.outbox, this.loop, log, settings.memory.terminate);
    this.hops = new HopBook(this.scheduler.books.tasks);
    const { scheduler, cluster, outbox, loop, hops } = this;
    this.intake = new GraphIntake({
      scheduler,
      cluster,
      outbox,
      loop,
      clock,
      probe,
      log,
      unpacker: () => this.#pool(),
      now_ms,
    });
    const { intake } = this;
    const reports = new Reports(scheduler);
    const stream_parts = { scheduler, cluster, outbox, loop, intake, types, clock, probe, hops, reports };
    this.streams = new Streams(stream_parts);
    this.diagnostics = new Diagnostics({ ...stream_parts, memory_old_ms: settings.memory.old_ms, machine });
    const cold_parts = { ...stream_parts, diagnostics: this.diagnostics, log, machine };
    this.#recordings = new Recordings(cold_parts);
    this.#spans = new Spans(cold_parts);
    this.python = new PythonSide({
      ...cold_parts,
      spans: this.#spans,
      unpacker: () => this.#pool(),
      python: options.python,
      allowed: settings.pickle,
    });
    this.memory = new MemoryControl({
      ...cold_parts,
      settings: settings.memory,
      group: (key, workers) => this.python.groupWorkers(key, workers),
      shuffling: () => this.peers.context.shuffles.participants(),
    });
    this.transport = options.transport ?? transportOf(options, settings);
    this.live = new LiveTrace(this, {
      clock,
      version: options.version,
      machine: options.machine_facts ?? {},
    });
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.peers = this.#peerServer();
    this.#attach(settings);
  }

  #core(settings: ServerSettings): Scheduler {
    const { scheduler, seed, probe, stimuli } = this.#options;
    const core = new Scheduler({
      policy: this.external?.policy ?? createPolicy(scheduler, seed, settings.policy),
      outbox: stimuli?.outbox(this.outbox) ?? this.outbox,
      // Clients choose the keys: without a secret seed they could choose them to collide.
      key_seed: this.#machine.secret(),
      allowed_failures: settings.allowed_failures,
      actor_lost: serializedException("Worker holding Actor was lost"),
      oversized: (...given) => this.cluster.oversized(...given),
      probe,
    });
    return stimuli?.attach(core) ?? core;
  }

  #turns(clock: Clock): TurnLoop {
    return new TurnLoop({
      scheduler: this.scheduler,
      outbox: this.outbox,
      clock,
      probe: this.probe,
      machine: this.#machine,
      onBug: (error) => this.#bug(error),
      tasks_max: this.#options.turn_tasks_max,
    });
  }

  #externalPolicy(): PolicyProcess | null {
    const { scheduler, seed, probe, log } = this.#options;
    const command = externalCommand(scheduler);
    if (command === null) return null;
    return new PolicyProcess({ command, seed, probe, log, touch: () => this.loop.touch() });
  }

  /** Ties the parts of the server to one another that need the requests' context. */
  #attach(settings: ServerSettings): void {
    const { scheduler, loop } = this;
    const { log } = this.#options;
    this.streams.context = this.peers.context;
    const timeout_ms = settings.no_workers_timeout_ms;
    const machine = this.#machine;
    this.#unrunnable =
      timeout_ms === null
        ? null
        : new UnrunnableTasks({
            scheduler,
            loop,
            log,
            machine,
            timeout_ms,
            events: this.peers.context.events,
          });
    this.#unrunnable?.start();
    this.#spare_tables = new SpareTables(scheduler.books, machine);
    this.#spare_tables.start();
    this.python.table = this.peers.handlers;
    this.python.attach(this.peers.context);
    const { workers, clients } = this.peers.context.registration;
    if (this.#options.python_ahead === true)
      clients.watchers.add({
        onClientAdded: () => this.#preparePython(),
        onClientRemoved: () => undefined,
      });
    workers.heartbeat_followers.add((peer) => this.diagnostics.memory.onHeartbeat(peer));
    this.#spans.attach(workers);
    if (scheduler.books.watch !== null)
      workers.heartbeat_followers.add((peer) => tellMeasurements(peer, scheduler));
  }

  /** What stands around the hot path: everything that it needs has been made. */
  #peerServer(): PeerServer {
    const { limits, log, version, settings = DEFAULT_SERVER_SETTINGS } = this.#options;
    const machine = this.#machine;
    return new PeerServer({
      cluster: this.cluster,
      shuffles: new Shuffles({
        scheduler: this.scheduler,
        cluster: this.cluster,
        unpacker: () => this.#pool(),
        touch: () => this.loop.touch(),
      }),
      streams: this.streams,
      pythonPackages: () => this.#pythonPackages(),
      knownPackages: () => this.#unpacker?.known_hello?.packages ?? null,
      live: this.live,
      transport: this.transport,
      handshake: {
        listener: (connection) =>
          handshakeAsListener(connection, { handshake_ms: limits.handshake_ms }, machine),
        connector: (connection) =>
          handshakeAsConnector(connection, { handshake_ms: limits.handshake_ms }, machine),
      },
      handlers: new Map([
        ...this.diagnostics.handlers,
        ...this.python.handlers,
        ...this.memory.handlers,
        ...this.#recordings.handlers,
        ...restrictionHandlers(this.scheduler),
      ]),
      limits,
      settings,
      log,
      machine,
      version,
      shutdown: (reason) => void this.close(reason),
    });
  }

  /** A bug of ours in a turn: loud, and the end of the process only if the books are broken. */
  #bug(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log.write("ERROR", `A turn of the scheduler met a bug: ${text}`);
    validate(this.scheduler);
  }

  /** Listens; rejects where it cannot, and with PolicyStartError where its policy's process cannot be used. */
  async start(): Promise<string> {
    await this.external?.start();
    const { listen_address, contact_address, contact_host } = this.#options;
    this.#listener = await this.transport.listen(listen_address, (connection) =>
      this.peers.acceptor.accept(connection),
    );
    const { address } = this.#listener;
    this.listening = contactAddress(address, contact_host);
    this.address = contact_address ?? this.listening;
    if (this.address !== this.listening) this.#options.log.write("INFO", `Listening on ${this.listening}`);
    this.peers.address = this.address;
    if (this.#options.python_ahead === true) this.#pool().prepare(1);
    return this.address;
  }

  /** Most zero runs never need Python; they do not start it. */
  #pool(): UnpackerPool {
    this.#unpacker ??= new UnpackerPool({
      ...(this.#options.python === null ? {} : { python: this.#options.python }),
      probe: this.#options.probe,
      onLine: (line) => this.#options.log.write("INFO", `unpacker: ${line}`),
      onHello: (hello) =>
        this.#options.log.write(
          "INFO",
          `Unpacker: Python ${hello.python}, dask ${hello.dask}, distributed ${hello.distributed}`,
        ),
    });
    return this.#unpacker;
  }

  #preparePython(): void {
    let clients = 0;
    // Clients of 2022.12 send what is read here.
    for (const { release } of this.cluster.clients.values()) if (release !== "2022.12") clients++;
    this.#pool().prepare(clients);
  }

  /** Resolves once Python, where it is started ahead, can open graphs, or cannot at all. */
  async pythonReady(): Promise<void> {
    if (this.#options.python_ahead === true) await this.#pythonPackages();
  }

  /** A question for versions is no reason to start Python where nothing else would. */
  async #pythonPackages(): Promise<ReadonlyMap<string, string | null>> {
    if (this.#unpacker === null && this.#options.python_ahead !== true) return new Map();
    try {
      return (await this.#pool().hello()).packages;
    } catch (error) {
      if (error instanceof UnpackError) return new Map();
      throw error;
    }
  }

  /** Process ids of the Python children. */
  get unpacker_pids(): readonly number[] {
    return this.#unpacker?.pids ?? [];
  }

  /** Tells peers, ends all connections and children. Resolves when all is over; further calls wait for the first. */
  close(reason: string): Promise<void> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  async #close(reason: string): Promise<void> {
    await this.live.end();
    await this.#recordings.end();
    await this.#listener?.close();
    this.outbox.hurry();
    this.outbox.flush();
    await this.peers.close(reason);
    this.loop.close();
    this.diagnostics.close();
    this.memory.close();
    this.#unrunnable?.close();
    this.#spare_tables?.close();
    await this.external?.close();
    await this.python.close();
    await this.#unpacker?.close();
    this.#finish(reason);
  }
}
