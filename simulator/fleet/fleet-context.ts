import type { Tracer } from "../../src/trace/tracer.ts";
import type { FleetClock } from "./clock.ts";
import { HeldKeys } from "./held-keys.ts";
import { FleetMeter } from "./meter.ts";
import { type Release, type ReleaseTraits, releaseTraits } from "./release.ts";
import { ReportBatch } from "./report-batch.ts";
import { ReportWriter } from "./report-writer.ts";
import type { StampRing } from "./stamps.ts";
import { TaskTable } from "./task-table.ts";

/** When a zero worker hands its reports over: once a turn of its loop as Dask's workers batch, or one by one. */
export type FlushMode = "turn" | "each";

/** What the zero workers of a fleet are made with. */
export interface FleetContextOptions {
  readonly workers: number;
  readonly release: Release;
  readonly flush: FlushMode;
  readonly clock: FleetClock;
  /** Where received and reported stamps go; null if nobody in the process reads them. */
  readonly stamps: StampRing | null;
  /** The scheduler's tracer, if the fleet runs on its thread: the fleet's work is its `worker` phase. */
  readonly tracer: Tracer | null;
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
  readonly stamps: StampRing | null;
  readonly tracer: Tracer | null;
  readonly log: (text: string) => void;
  readonly held: HeldKeys;
  readonly batch = new ReportBatch();
  readonly writer: ReportWriter;
  readonly table: TaskTable;
  readonly meter = new FleetMeter();

  readonly #defer: (run: () => void) => void;
  readonly #logged = new Set<string>();
  #owner: BatchOwner | null = null;
  #flush_deferred = false;

  constructor(options: FleetContextOptions) {
    this.traits = releaseTraits(options.release);
    this.flush_each = options.flush === "each";
    this.clock = options.clock;
    this.stamps = options.stamps;
    this.tracer = options.tracer;
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
        this.flush();
      });
    }
  }

  /** Hands over what is in the batch. */
  flush(): void {
    const owner = this.#owner;
    if (owner === null || this.batch.count === 0) return;
    const { meter, clock } = this;
    const bytes = this.batch.take();
    const start_ns = clock.now();
    meter.batches_out++;
    meter.bytes_out += bytes.length;
    meter.last_report_ns = start_ns;
    owner.sendBatch(bytes, start_ns);
    meter.write_ns += clock.now() - start_ns;
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
