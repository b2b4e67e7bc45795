import { PHASE, type Phase } from "../../src/trace/phases.ts";
import type { Tracer } from "../../src/trace/tracer.ts";
import type { FleetClock } from "./clock.ts";
import { HeldKeys } from "./held-keys.ts";
import { FleetMeter } from "./meter.ts";
import { type Release, type ReleaseTraits, releaseTraits } from "./release.ts";
import { ReportBatch } from "./report-batch.ts";
import { ReportWriter } from "./report-writer.ts";
import type { StampLog } from "./stamps.ts";
import { TaskTable } from "./task-table.ts";

/** When a zero worker hands its reports over: once a turn of its loop as Dask's workers batch, or one by one. */
export type FlushMode = "turn" | "each";

/** Who is told where the fleet's time goes, besides its own meter. Each tracer is told of one thread. */
export interface FleetTracing {
  /** The scheduler's, if the fleet runs on its thread: all of the fleet's work is that thread's `worker` phase. */
  readonly host: Tracer | null;
  /** That of the fleet's own thread: decode, worker and encode apart (the transport adds read and write). */
  readonly own: Tracer | null;
}

/** Nobody is told. */
export const NO_TRACING: FleetTracing = { host: null, own: null };

/** What the zero workers of a fleet are made with. */
export interface FleetContextOptions {
  readonly workers: number;
  readonly release: Release;
  readonly flush: FlushMode;
  readonly clock: FleetClock;
  /** Where received and reported stamps go; null if nobody takes them. */
  readonly stamps: StampLog | null;
  readonly tracing: FleetTracing;
  /** Runs a function when the present callback of the event loop is over. */
  readonly defer: (run: () => void) => void;
  readonly log: (text: string) => void;
}

/** Who has reports in the batch, and can send them. */
export interface BatchOwner {
  readonly index: number;
  /** Hands a finished framed message to the worker's connection. `now_ns` is the moment of the hand-over. */
  sendBatch(bytes: Uint8Array, now_ns: number): void;
}

/** What the workers of one fleet share: tables and buffers that are in use by one worker at a time. */
export class FleetContext {
  readonly traits: ReleaseTraits;
  readonly flush_each: boolean;
  readonly clock: FleetClock;
  readonly stamps: StampLog | null;
  readonly log: (text: string) => void;
  readonly held: HeldKeys;
  readonly batch = new ReportBatch();
  readonly writer: ReportWriter;
  readonly table: TaskTable;
  readonly meter = new FleetMeter();

  readonly #host: Tracer | null;
  readonly #own: Tracer | null;
  readonly #defer: (run: () => void) => void;
  readonly #logged = new Set<string>();
  #owner: BatchOwner | null = null;
  #flush_deferred = false;

  constructor(options: FleetContextOptions) {
    this.traits = releaseTraits(options.release);
    this.flush_each = options.flush === "each";
    this.clock = options.clock;
    this.stamps = options.stamps;
    this.#host = options.tracing.host;
    this.#own = options.tracing.own;
    this.log = options.log;
    this.#defer = options.defer;
    this.held = new HeldKeys(options.workers);
    this.writer = new ReportWriter(this.traits, this.batch);
    this.table = new TaskTable(this.traits);
  }

  /** The batch is `owner`'s from here on; another worker's reports leave before. */
  own(owner: BatchOwner): void {
    if (this.#owner === owner) return;
    this.flush();
    this.#owner = owner;
  }

  /** A message was completed in the batch of the present owner. */
  written(): void {
    this.meter.messages_out++;
    if (this.flush_each) this.flush();
    else if (!this.#flush_deferred) {
      this.#flush_deferred = true;
      this.#defer(() => {
        this.#flush_deferred = false;
        this.#flushAtTurnEnd();
      });
    }
  }

  /** Hands over what is in the batch. */
  flush(): void {
    const owner = this.#owner;
    if (owner === null || this.batch.count === 0) return;
    const { meter, clock } = this;
    const count = this.batch.count;
    const bytes = this.batch.take();
    const start_ns = clock.now();
    meter.batch_out.record(count);
    meter.batches_out++;
    meter.bytes_out += bytes.length;
    owner.sendBatch(bytes, start_ns);
    meter.write_ns += clock.now() - start_ns;
  }

  /** The fleet works from here to {@link endWork}, within a callback of the loop. */
  beginWork(): void {
    if (this.#host !== null) this.#host.enter(PHASE.worker);
  }

  endWork(): void {
    if (this.#host !== null) this.#host.exit();
  }

  /** A phase of the fleet's own begins: a reading of its clock. */
  enter(phase: Phase): number {
    return this.#own === null ? this.clock.now() : this.#own.enter(phase);
  }

  /** The phase entered last ends: a reading of the clock. */
  exit(): number {
    return this.#own === null ? this.clock.now() : this.#own.exit();
  }

  /** The deferred function runs outside the callback that deferred it: a callback of its own for the tracers. */
  #flushAtTurnEnd(): void {
    const tracer = this.#own ?? this.#host;
    if (this.batch.count === 0) return;
    if (tracer !== null) tracer.begin("other");
    this.beginWork();
    this.flush();
    this.endWork();
    if (tracer !== null) tracer.end();
  }

  /** Drops what is in the batch if it is `owner`'s: its connection is gone. */
  disown(owner: BatchOwner): void {
    if (this.#owner !== owner) return;
    this.batch.discard();
    this.#owner = null;
  }

  /** Logs a text the first time that `about` occurs. Names come from peers: the number of them is bounded. */
  logOnce(about: string, text: string): void {
    if (this.#logged.has(about) || this.#logged.size >= 100) return;
    this.#logged.add(about);
    this.log(text);
  }
}
