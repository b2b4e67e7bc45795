import type { Clock } from "../../../src/base/clock.ts";
import { NONE, type TaskId } from "../../../src/base/ids.ts";
import type { Connection } from "../../../src/comm/connection.ts";
import { PAYLOAD_PICKLED } from "../../../src/core/payloads.ts";
import { Scheduler } from "../../../src/core/scheduler.ts";
import { STATE_NAMES } from "../../../src/core/states.ts";
import { validate } from "../../../src/core/validate.ts";
import type { WorkerBook } from "../../../src/core/worker-book.ts";
import { FRAME_LIMITS, type FramedMessage, FrameReader } from "../../../src/protocol/frames.ts";
import { keyBytes } from "../../../src/protocol/keys.ts";
import { decodeMessage } from "../../../src/protocol/message.ts";
import { packValue } from "../../../src/protocol/msgpack.ts";
import { WireMap, type WireValue } from "../../../src/protocol/values.ts";
import { WorkStealingPolicy } from "../../../src/schedulers/work-stealing.ts";
import type { Release } from "../../../src/server/peers/release.ts";
import { StreamOutbox } from "../../../src/server/stream/outbox.ts";
import { TypeTable } from "../../../src/server/stream/type-table.ts";
import { Probe } from "../../../src/trace/tracer.ts";

/** The other end of a stream, in memory: it takes what is written at once, or, while it is stalled, nothing. */
export class TestConnection implements Connection {
  readonly peer = "test://peer";
  readonly local = "test://here";
  pending_bytes_max = Number.POSITIVE_INFINITY;
  onMessage: (message: FramedMessage) => void = () => undefined;
  onClose: (reason: string) => void = () => undefined;
  onDrain: () => void = () => undefined;
  stalled = false;
  paused = false;
  destroyed: string | null = null;
  /** The chunks of each write. */
  readonly writes: (readonly Uint8Array[])[] = [];
  #pending_bytes = 0;

  get pending_bytes(): number {
    return this.#pending_bytes;
  }

  write(chunks: readonly Uint8Array[]): void {
    // A peer that reads has taken the bytes by the time this returns, and the writer uses their place again.
    this.writes.push(this.stalled ? chunks : chunks.map((chunk) => Uint8Array.from(chunk)));
    if (this.stalled) for (const chunk of chunks) this.#pending_bytes += chunk.length;
  }

  /** The peer reads again. */
  drain(): void {
    this.stalled = false;
    this.#pending_bytes = 0;
    this.onDrain();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.destroyed = "closed";
  }

  destroy(reason: string): void {
    this.destroyed = reason;
  }

  /** The packets that were written since the last time, decoded. */
  packets(): WireMap[][] {
    return this.writes.splice(0).map((chunks) => decodeMessage(framed(chunks)) as WireMap[]);
  }

  /** Their messages, in order. */
  messages(): WireMap[] {
    return this.packets().flat();
  }
}

/** The one message that these chunks are. */
export function framed(chunks: readonly Uint8Array[]): FramedMessage {
  const messages: FramedMessage[] = [];
  const reader = new FrameReader(FRAME_LIMITS, (message) => messages.push(message));
  reader.push(Buffer.concat(chunks), false);
  if (messages.length !== 1 || reader.pending_bytes !== 0) throw new Error("not one whole message");
  return messages[0]!;
}

/** One task of a graph that the rig submits. */
export interface TaskPlan {
  readonly key: WireValue;
  readonly needs?: readonly WireValue[];
  /** The frames of a pickled payload; the first is the sub-header. */
  readonly frames?: readonly Uint8Array[];
  readonly kind?: number;
  readonly order?: number;
  readonly annotations?: Parameters<ReturnType<Scheduler["graph"]>["annotate"]>[1];
}

/** Of a payload with one frame. */
export const SUB_HEADER = packValue(WireMap.of({ "num-sub-frames": 1 }));
const STANDSTILL: Clock = { now: () => 1 };

/** A scheduler with its stream outbox, whose peers are {@link TestConnection}s. */
export class Rig {
  readonly types = new TypeTable();
  readonly outbox = new StreamOutbox(this.types, STANDSTILL, new Probe());
  readonly scheduler: Scheduler;
  /** Buffers that payloads were put in: for tests of what is passed on without a copy. */
  readonly buffers: Uint8Array[] = [];
  #workers = 0;

  constructor() {
    this.scheduler = new Scheduler({
      policy: new WorkStealingPolicy(1),
      outbox: this.outbox,
      key_seed: 7,
    });
    this.outbox.attach(this.scheduler.books);
  }

  worker(release: Release = "2026.8", threads = 1): { book: WorkerBook; stream: TestConnection } {
    const number = this.#workers++;
    const address = `tcp://10.0.0.1:${1000 + number}`;
    const book = this.scheduler.workerJoined({
      address,
      host: "10.0.0.1",
      alias: `w${number}`,
      threads,
      resources: new Map([["GPU", 2]]),
    });
    const stream = new TestConnection();
    this.outbox.addWorker(book.id, address, stream, release);
    this.scheduler.workerStatusChanged(book, "running");
    return { book, stream };
  }

  client(release: Release = "2026.8", name = "alice"): { id: number; stream: TestConnection } {
    const id = this.scheduler.clientJoined(name);
    const stream = new TestConnection();
    this.outbox.addClient(id, stream, release);
    return { id, stream };
  }

  submit(
    client: number,
    plans: readonly TaskPlan[],
    wanted: readonly WireValue[],
    priority: { user_priority?: number; generation?: number } = {},
  ): void {
    const frames = plans.map(({ frames }) => frames ?? [SUB_HEADER, Buffer.from("payload")]);
    const buffer = Uint8Array.from(Buffer.concat(frames.flat()));
    this.buffers.push(buffer);
    const builder = this.scheduler.graph({
      client,
      buffer,
      generation: priority.generation ?? 1,
      user_priority: priority.user_priority ?? 0,
    });
    const intern = (key: WireValue): TaskId => {
      const bytes = keyBytes(key);
      return builder.internKey(bytes);
    };
    const tasks = plans.map(({ key }) => intern(key));
    const { segments } = this.scheduler.books.tasks;
    // Payloads of many frames come the other way, by payloadArrived.
    const segment = segments.add(buffer);
    let offset = 0;
    const late: (() => void)[] = [];
    plans.forEach((plan, i) => {
      const needs = (plan.needs ?? []).map(intern);
      const task = tasks[i]!;
      const frame_bytes = frames[i]!.map((frame) => frame.length);
      builder.define(task, null, needs, 0, needs.length, plan.order ?? i);
      if (plan.annotations !== undefined) builder.annotate(task, plan.annotations);
      const payload = { kind: plan.kind ?? PAYLOAD_PICKLED, segment, offset, frame_bytes };
      late.push(() => this.scheduler.payloadArrived(task, payload));
      offset += frame_bytes.reduce((a, b) => a + b, 0);
    });
    builder.commit(wanted.map(intern));
    for (const arrive of late) arrive();
    segments.release(segment);
  }

  /** The end of a turn. */
  turn(): void {
    this.scheduler.schedule();
    this.outbox.hurry();
    this.outbox.flush();
    this.scheduler.endBatch();
    validate(this.scheduler);
  }

  task(key: WireValue): TaskId {
    const bytes = keyBytes(key);
    return this.scheduler.books.keys.findKey(bytes);
  }

  stateOf(key: WireValue): string {
    const task = this.task(key);
    return task === NONE ? "forgotten" : STATE_NAMES[this.scheduler.books.tasks.state[task]!]!;
  }

  finish(worker: WorkerBook, key: WireValue, nbytes = 28): boolean {
    const task = this.task(key);
    return this.scheduler.taskFinished(worker, task, this.scheduler.books.tasks.run_id[task]!, nbytes, NONE);
  }

  release(client: number, key: WireValue): void {
    this.scheduler.clientReleasesKey(client, this.task(key));
  }
}

export function fieldNames(message: WireMap): string[] {
  return message.keys.map(String);
}
