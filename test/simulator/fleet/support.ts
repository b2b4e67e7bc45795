import { readFileSync } from "node:fs";
import type { FleetClock } from "../../../simulator/fleet/clock.ts";
import {
  FleetContext,
  type FleetContextOptions,
  NO_TRACING,
} from "../../../simulator/fleet/fleet-context.ts";
import type { Release } from "../../../simulator/fleet/release.ts";
import { ZeroWorker } from "../../../simulator/fleet/zero-worker.ts";
import { FRAME_LIMITS, type FramedMessage, FrameReader, frameMessage } from "../../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../../src/protocol/message.ts";
import { WireMap, type WireValue } from "../../../src/protocol/values.ts";

/** Moved by hand: a report's stamps are known. */
class HandClock implements FleetClock {
  now_ns = 5e9;

  now(): number {
    return this.now_ns;
  }

  unixSeconds(now_ns: number): number {
    return 1_700_000_000 + now_ns / 1e9;
  }
}

/** Whole framed messages out of bytes. */
export function framedMessages(...chunks: readonly Uint8Array[]): FramedMessage[] {
  const messages: FramedMessage[] = [];
  const reader = new FrameReader(FRAME_LIMITS, (message) => messages.push(message.own()));
  for (const chunk of chunks) reader.push(chunk, false);
  if (reader.pending_bytes > 0) throw new Error("bytes of an unfinished message");
  return messages;
}

/** A value as it would arrive. */
export function framed(value: WireValue): FramedMessage {
  return framedMessages(...frameMessage(encodeMessage(value)))[0]!;
}

export function golden(name: string): FramedMessage {
  return framedMessages(readFileSync(new URL(`./golden/${name}.bin`, import.meta.url)))[0]!;
}

/** Plain data for comparisons: maps become objects (or lists of pairs), bytes become hex. */
export function plain(value: WireValue | undefined): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof WireMap) {
    const entries = value.keys.map((key, i) => [plain(key), plain(value.values[i])] as const);
    return entries.every(([key]) => typeof key === "string") ? Object.fromEntries(entries) : entries;
  }
  if (value instanceof Uint8Array) return `hex:${Buffer.from(value).toString("hex")}`;
  return value;
}

/** Workers of one fleet without a socket: what they are told comes in, what they write is kept as values. */
export class WorkerBench {
  readonly clock = new HandClock();
  readonly context: FleetContext;
  readonly workers: ZeroWorker[] = [];
  /** For each framed message written: who, and the list of messages in it. */
  readonly written: { worker: number; messages: WireMap[] }[] = [];
  readonly close_reasons: string[] = [];
  readonly log: string[] = [];
  readonly #deferred: (() => void)[] = [];

  constructor(release: Release, options: Partial<FleetContextOptions> & { workers?: number } = {}) {
    const workers = options.workers ?? 1;
    this.context = new FleetContext({
      workers,
      release,
      flush: "turn",
      clock: this.clock,
      stamps: null,
      tracing: NO_TRACING,
      defer: (run) => this.#deferred.push(run),
      log: (text) => this.log.push(text),
      ...options,
    });
    for (let worker = 0; worker < workers; worker++) {
      const port = {
        write: (chunks: readonly Uint8Array[]) => {
          for (const message of framedMessages(...chunks)) {
            this.written.push({ worker, messages: decodeMessage(message) as WireMap[] });
          }
        },
        onCloseAsked: (reason: string) => this.close_reasons.push(reason),
      };
      this.workers.push(new ZeroWorker(worker, this.context, port));
    }
  }

  /** Gives messages to a worker in one batch, and ends the turn. */
  tell(worker: number, ...messages: readonly WireValue[]): WireMap[] {
    return this.tellFramed(worker, framed([...messages]));
  }

  tellFramed(worker: number, message: FramedMessage): WireMap[] {
    const before = this.written.length;
    this.workers[worker]!.receive(message);
    this.endTurn();
    return this.written.slice(before).flatMap((batch) => batch.messages);
  }

  endTurn(): void {
    for (const run of this.#deferred.splice(0)) run();
  }

  holds(worker: number, key: string): boolean {
    const bytes = framed(key).frame(0);
    return this.context.held.has(worker, bytes, 0, bytes.length);
  }
}

/** A `compute-task` with the release's fields in the order in which Dask's scheduler writes them. */
export function computeTask(
  release: Release,
  key: WireValue,
  who_has: readonly WireValue[] = [],
  changes: Readonly<Record<string, WireValue>> = {},
): WireMap {
  const task = WireMap.of({ op: "compute-task", key });
  if (release !== "2022.12") task.set("run_id", 7);
  task.set("priority", [0, 1, 2]);
  if (release !== "2026.8") task.set("duration", 0.5);
  task
    .set("stimulus_id", "stimulus-1")
    .set("who_has", WireMap.from(who_has.map((name) => [name, ["tcp://127.0.0.1:1"]] as const)))
    .set("nbytes", WireMap.from(who_has.map((name) => [name, 20] as const)))
    .set("run_spec", release === "2022.12" ? null : WireMap.of({ __Pickled__: 1 }));
  if (release === "2022.12") task.set("function", null).set("args", null).set("kwargs", null);
  task.set("resource_restrictions", null).set("actor", false).set("annotations", WireMap.of({}));
  if (release !== "2022.12") task.set("span_id", null);
  for (const [name, value] of Object.entries(changes)) task.set(name, value);
  return task;
}
