import type { Transport } from "../../src/comm/connection.ts";
import type { WindowFigures } from "../../src/trace/figures.ts";
import type { Recorder } from "../../src/trace/recorder.ts";
import { ClientStandIn, type SubmissionTimes } from "./client.ts";
import { Fleet, type FleetFigures, type FleetMark } from "./fleet.ts";
import type { FleetTracing, FlushMode } from "./fleet-context.ts";
import { type GraphData, GraphMessage } from "./graph-message.ts";
import type { Release } from "./release.ts";
import type { WorkerStamps } from "./stamps.ts";

/** What a session is started with; plain data, so that a process can be given it. */
export interface SessionOptions {
  /** The scheduler's address. */
  readonly address: string;
  readonly workers: number;
  readonly release: Release;
  readonly flush: FlushMode;
  /** Keep when each task came and went: see {@link FleetDriver.stamps}. */
  readonly stamps: boolean;
  /** False where real clients submit: then there is no stand-in. */
  readonly client: boolean;
  /** Record where the fleet's process spends its time. Of no effect where it has none of its own. */
  readonly trace: boolean;
  /** Delays will be planted in the fleet's process (`rsds calibrate`); in no other run. */
  readonly planting?: boolean;
}

/** What a started session tells. */
export interface SessionStarted {
  /** The workers' addresses in the order of their indices, which are those of the stamps. */
  readonly addresses: readonly string[];
}

/** One submission: its times, and what the fleet did between them. */
export interface SubmissionReport extends SubmissionTimes {
  readonly figures: FleetFigures;
}

/** What became of a release. */
export interface ReleaseReport {
  /** Keys that workers still hold: 0 unless the time ran out. */
  readonly keys_left: number;
}

/**
 * A fleet and its client stand-in, wherever they run: in this thread ({@link FleetSession}) or in a process of
 * their own (`FleetProcess`). One submission: prepare, submit, recorded (with `trace`), stamps (with `stamps`),
 * release; in this order, each awaited.
 */
export interface FleetDriver {
  start(): Promise<SessionStarted>;
  /** Takes the graph that is submitted from here on. */
  load(graph: GraphData): Promise<void>;
  /** Encodes a submission whose keys end in `suffix` (ASCII, new each time). */
  prepare(suffix: string): Promise<void>;
  /** Hands over what was prepared. Resolves when the last wanted key was reported, rejects if one never will be. */
  submit(): Promise<SubmissionReport>;
  /** What the fleet's own recorder saw between the last submission's two times; null if there is none. */
  recorded(): Promise<WindowFigures | null>;
  /** By worker, in the order of its indices: the stamps since the last call. Empty without `stamps`. */
  stamps(): Promise<readonly WorkerStamps[]>;
  /** Gives the wanted keys up, and waits until no worker holds a key, or `timeout_ms` are over. */
  release(timeout_ms: number): Promise<ReleaseReport>;
  /** What the fleet did since its start, or since the last call. */
  figures(): Promise<FleetFigures>;
  /** Everybody leaves. */
  close(): Promise<void>;
}

interface Prepared {
  readonly chunks: readonly Uint8Array[];
  readonly wanted: readonly Uint8Array[];
}

const RELEASE_POLL_MS = 1;

/** Where a session lives. */
export interface SessionSurroundings {
  readonly transport: Transport;
  readonly tracing: FleetTracing;
  /** That of the fleet's own process, whose windows the session opens and closes; the same as `tracing.own`. */
  readonly recorder: Recorder | null;
  readonly log: (text: string) => void;
}

/** A fleet and its client stand-in in this thread. */
export class FleetSession implements FleetDriver {
  readonly fleet: Fleet;
  readonly #options: SessionOptions;
  readonly #client: ClientStandIn | null;
  #graph: GraphMessage | null = null;
  #prepared: Prepared | null = null;
  #submitted: Prepared | null = null;
  #mark: FleetMark;
  readonly #recorder: Recorder | null;
  #times: SubmissionTimes | null = null;

  constructor(options: SessionOptions, surroundings: SessionSurroundings) {
    const { address, workers, release, flush, stamps } = options;
    const { transport, tracing, log } = surroundings;
    this.#recorder = surroundings.recorder;
    this.#options = options;
    this.fleet = new Fleet({ transport, address, workers, release, flush, stamps, tracing, log });
    this.#client = options.client ? new ClientStandIn(transport, this.fleet.clock) : null;
    this.#mark = this.fleet.mark();
  }

  async start(): Promise<SessionStarted> {
    await this.fleet.start();
    await this.#client?.connect(this.#options.address, this.fleet.versions);
    // Without workers the scheduler waits for others to come, and the client with it, for ever.
    void this.fleet.closed.then((reason) => this.#client?.giveUp(`all zero workers are gone: ${reason}`));
    this.#mark = this.fleet.mark();
    return { addresses: this.fleet.addresses };
  }

  load(graph: GraphData): Promise<void> {
    this.#graph = new GraphMessage(graph);
    return Promise.resolve();
  }

  prepare(suffix: string): Promise<void> {
    if (this.#graph === null) throw new Error("no graph is loaded");
    this.#prepared = { chunks: this.#graph.chunks(suffix), wanted: this.#graph.wantedKeys(suffix) };
    return Promise.resolve();
  }

  async submit(): Promise<SubmissionReport> {
    const prepared = this.#prepared;
    if (this.#client === null || prepared === null) throw new Error("nothing is prepared");
    this.#prepared = null;
    this.#submitted = prepared;
    const mark = this.fleet.mark();
    this.#recorder?.openWindow();
    this.#times = null;
    const times = await this.#client
      .submit(prepared.chunks, prepared.wanted)
      .catch(async (error: unknown) => {
        await this.#recorder?.closeWindow();
        throw error;
      });
    this.#times = times;
    return { ...times, figures: this.fleet.figuresSince(mark) };
  }

  async recorded(): Promise<WindowFigures | null> {
    if (this.#recorder === null || this.#times === null) return null;
    const { submitted_ns, reported_ns } = this.#times;
    this.#times = null;
    return this.#recorder.closeWindow({ start_ns: submitted_ns, end_ns: reported_ns });
  }

  stamps(): Promise<readonly WorkerStamps[]> {
    return Promise.resolve(this.fleet.context.stamps?.take() ?? []);
  }

  async release(timeout_ms: number): Promise<ReleaseReport> {
    if (this.#submitted !== null) this.#client?.release(this.#submitted.wanted);
    this.#submitted = null;
    const { clock, context } = this.fleet;
    const deadline_ns = clock.now() + timeout_ms * 1e6;
    while (context.held.total > 0 && clock.now() < deadline_ns) {
      await new Promise((resolve) => setTimeout(resolve, RELEASE_POLL_MS));
    }
    return { keys_left: context.held.total };
  }

  figures(): Promise<FleetFigures> {
    const figures = this.fleet.figuresSince(this.#mark);
    this.#mark = this.fleet.mark();
    return Promise.resolve(figures);
  }

  async close(): Promise<void> {
    this.#recorder?.close();
    this.#client?.close();
    this.fleet.close("the fleet is closed");
    await this.fleet.closed;
  }
}
