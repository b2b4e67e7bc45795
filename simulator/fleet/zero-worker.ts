import { ProtocolError } from "../../src/protocol/errors.ts";
import { type FramedMessage, frameMessage } from "../../src/protocol/frames.ts";
import { keyBytes } from "../../src/protocol/keys.ts";
import { encodeMessage } from "../../src/protocol/message.ts";
import { packValue, skipValue, unpackValue } from "../../src/protocol/msgpack.ts";
import { WireMap, type WireValue } from "../../src/protocol/values.ts";
import { PHASE } from "../../src/trace/phases.ts";
import { exceptionValue } from "./answers.ts";
import { arrayHeader, elements, Fields, isPlainKey, labelBytes, NO_FIELD, opBytes, skip } from "./fields.ts";
import type { BatchOwner, FleetContext } from "./fleet-context.ts";
import { BARRIER_PREFIX, COLUMN, NOT_PLAIN, ROW } from "./task-table.ts";

/** What a zero worker needs of the world. */
export interface WorkerPort {
  /** Hands chunks of whole framed messages to the scheduler stream. */
  write(chunks: readonly Uint8Array[]): void;
  /** The scheduler asked the worker to close, or ended the stream. */
  onCloseAsked(reason: string): void;
}

const RELEASE_OPS = [opBytes("free-keys"), opBytes("remove-replicas")];
const KEYS_LABEL = labelBytes("keys");
const STIMULUS_LABEL = labelBytes("stimulus_id");

/** Operations that a real worker knows and that leave nothing to do where nothing is fetched or computed. */
const NOTHING_TO_DO: ReadonlySet<string> = new Set([
  // The task was reported in the turn that brought it.
  "cancel-compute",
  // Both only correct where a key is to be fetched from, and nothing is.
  "refresh-who-has",
  "remove-worker",
  // Nothing is ever subscribed to, and no shuffle runs.
  "pubsub-add-subscriber",
  "pubsub-remove-subscriber",
  "pubsub-publish-scheduler",
  "pubsub-msg",
  "shuffle-fail",
]);

/**
 * A zero worker: messages of the scheduler's stream in, reports out, no socket and no clock of its own. It fetches
 * nothing and computes nothing: a dependency that it is told of is held from then on, a task that it is given is
 * done at once (the RSDS paper's zero worker; what goes beyond is in CONTRACT, "Zero worker").
 */
export class ZeroWorker implements BatchOwner {
  readonly index: number;
  readonly #context: FleetContext;
  readonly #port: WorkerPort;
  #status = "running";
  /** Number of compute-tasks taken from the stream: the sequence number of the next. */
  #sequence = 0;
  /** Compute-tasks below this have their report handed over. */
  #reported = 0;
  #last_report_ns = 0;
  #closed = false;
  readonly #fields = new Fields();
  /** Keys that a task of the batch made the worker hold: start and end; and where each task's end in it. */
  #missed = new Int32Array(64);
  #missed_end = new Int32Array(64);
  #missed_count = 0;

  constructor(index: number, context: FleetContext, port: WorkerPort) {
    this.index = index;
    this.#context = context;
    this.#port = port;
  }

  /** As the scheduler last set it: running, paused or closing_gracefully. It changes nothing in what is done. */
  get status(): string {
    return this.#status;
  }

  /** Takes one message (a list of messages) of the stream. Reports leave by `sendBatch` when the turn is over. */
  receive(message: FramedMessage): void {
    if (this.#closed) return;
    const { meter } = this.#context;
    this.#context.beginWork();
    try {
      meter.batches_in++;
      meter.bytes_in += message.end - message.start;
      this.#take(message.bytes, message.frameStart(0), message.frameEnd(0));
    } finally {
      this.#context.endWork();
    }
  }

  /** Called by the context with a batch of this worker. */
  sendBatch(bytes: Uint8Array, now_ns: number): void {
    if (this.#closed) return;
    this.#markReported(now_ns);
    this.#port.write([bytes]);
  }

  /** Writes a message of the worker's own making (`worker-status-change`, `keep-alive`) to the stream. */
  say(message: WireMap): void {
    if (this.#closed) return;
    this.#context.own(this);
    this.#context.writer.message(packValue(message));
    this.#context.written();
  }

  /** Holds a key that somebody brought by another way than a task (scatter, gather). */
  hold(key: Uint8Array): boolean {
    return this.#context.held.add(this.index, key, 0, key.length);
  }

  /** Lets go of the keys that it holds, and says so. */
  release(keys: readonly WireValue[], stimulus_id: WireValue): void {
    const context = this.#context;
    const stimulus = packValue(stimulus_id);
    context.own(this);
    for (const value of keys) {
      const key = keyBytes(value);
      if (!context.held.remove(this.index, key, 0, key.length)) continue;
      context.meter.keys_released++;
      context.writer.releaseWorkerData(key, 0, key.length, stimulus);
      context.written();
    }
  }

  /** The worker is gone: it holds nothing and says nothing any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#context.disown(this);
    this.#context.held.removeAll(this.index);
  }

  #markReported(now_ns: number): void {
    if (this.#reported === this.#sequence) return;
    this.#context.stamps?.reported(this.index, this.#reported, this.#sequence, now_ns);
    this.#reported = this.#sequence;
    this.#last_report_ns = now_ns;
    this.#context.meter.last_finished_ns = now_ns;
  }

  #take(bytes: Uint8Array, start: number, end: number): void {
    const context = this.#context;
    const { table, meter } = context;
    let decode_from_ns = context.enter(PHASE.decode);
    const received_ns = decode_from_ns;
    context.writer.setTime(context.clock.unixSeconds(received_ns));
    let { at, count } = elements(bytes, start, end);
    meter.batch_in.record(count);
    table.clear();
    for (; count > 0; count--) {
      meter.messages_in++;
      const next = table.walk(bytes, at, end);
      if (next !== NOT_PLAIN) {
        at = next;
        if (at > end) throw new ProtocolError("TRUNCATED", "a compute-task ends outside its frame");
        continue;
      }
      const element_end = skipValue(bytes, at, end);
      meter.decode_ns += context.exit() - decode_from_ns;
      this.#runTasks(bytes, received_ns);
      this.#takeOther(bytes, at, element_end, received_ns);
      if (this.#closed) return;
      at = element_end;
      decode_from_ns = context.enter(PHASE.decode);
    }
    meter.decode_ns += context.exit() - decode_from_ns;
    this.#runTasks(bytes, received_ns);
  }

  /** Does the tasks of the table, in two passes. */
  #runTasks(bytes: Uint8Array, received_ns: number): void {
    const context = this.#context;
    const { table, meter } = context;
    if (table.count === 0) return;
    const work_from_ns = context.enter(PHASE.worker);
    this.#countTasks(table.count, received_ns);
    this.#workTasks(bytes);
    meter.work_ns += context.exit() - work_from_ns;
    const encode_from_ns = context.enter(PHASE.encode);
    const write_before_ns = meter.write_ns;
    this.#writeTasks(bytes);
    // With `each`, writing happens in between, and is taken out.
    meter.encode_ns += context.exit() - encode_from_ns - (meter.write_ns - write_before_ns);
    table.clear();
  }

  #countTasks(count: number, received_ns: number): void {
    const { meter, stamps } = this.#context;
    if (meter.tasks_received === 0) meter.first_task_ns = received_ns;
    meter.tasks_received += count;
    stamps?.received(this.index, this.#sequence, this.#sequence + count, received_ns);
    this.#sequence += count;
    if (this.#last_report_ns > 0) meter.report_to_next_task.record(received_ns - this.#last_report_ns);
  }

  /** The worker's step: every dependency not held is held now, then the task's own key. */
  #workTasks(bytes: Uint8Array): void {
    const { table, held } = this.#context;
    const { rows, dependencies } = table;
    const worker = this.index;
    this.#missed_count = 0;
    if (table.count > this.#missed_end.length) this.#missed_end = new Int32Array(2 * table.count);
    for (let task = 0; task < table.count; task++) {
      const row = task * ROW;
      const last = rows[row + COLUMN.dependency_end]!;
      for (let i = rows[row + COLUMN.dependency_first]!; i < last; i++) {
        const start = dependencies[2 * i]!;
        const end = dependencies[2 * i + 1]!;
        if (held.add(worker, bytes, start, end)) this.#miss(start, end);
      }
      this.#missed_end[task] = this.#missed_count;
      held.add(worker, bytes, rows[row + COLUMN.key_start]!, rows[row + COLUMN.key_end]!);
    }
  }

  #miss(start: number, end: number): void {
    if (2 * this.#missed_count + 2 > this.#missed.length) {
      const larger = new Int32Array(2 * this.#missed.length);
      larger.set(this.#missed);
      this.#missed = larger;
    }
    this.#missed[2 * this.#missed_count] = start;
    this.#missed[2 * this.#missed_count + 1] = end;
    this.#missed_count++;
  }

  #writeTasks(bytes: Uint8Array): void {
    const context = this.#context;
    const { table, writer, meter } = context;
    const rows = table.rows;
    context.own(this);
    let missed = 0;
    for (let task = 0; task < table.count; task++) {
      const row = task * ROW;
      const missed_end = this.#missed_end[task]!;
      if (missed < missed_end) {
        writer.beginAddKeys(missed_end - missed);
        for (; missed < missed_end; missed++) {
          writer.addKey(bytes, this.#missed[2 * missed]!, this.#missed[2 * missed + 1]!);
          meter.keys_added++;
        }
        writer.endAddKeys(bytes, rows[row + COLUMN.stimulus_start]!, rows[row + COLUMN.stimulus_end]!);
        context.written();
      }
      writer.taskFinished(
        bytes,
        rows[row + COLUMN.key_start]!,
        rows[row + COLUMN.key_end]!,
        rows[row + COLUMN.run_start]!,
        rows[row + COLUMN.run_end]!,
      );
      meter.tasks_finished++;
      context.written();
    }
  }

  /** Everything that is not a plain `compute-task`: rare enough for values. */
  #takeOther(bytes: Uint8Array, start: number, end: number, now_ns: number): void {
    if (this.#releaseInBytes(bytes, start, end)) return;
    const message = unpackValue(bytes, start, end);
    if (message === "OK") return; // distributed's streams skip it too
    const op = message instanceof WireMap ? message.get("op") : undefined;
    if (!(message instanceof WireMap) || typeof op !== "string") {
      throw new ProtocolError("NO_OP", "a stream message without an operation");
    }
    switch (op) {
      case "compute-task":
        this.#computeUnusual(message, now_ns);
        break;
      case "steal-request":
        this.#onStealRequest(message);
        break;
      case "free-keys":
      case "remove-replicas":
        this.#onRelease(message);
        break;
      case "acquire-replicas":
        this.#onAcquire(message);
        break;
      case "worker-status-change":
        this.#onStatusChange(message);
        break;
      case "close":
      case "close-stream":
        this.#port.onCloseAsked(textOf(message.get("reason")) ?? op);
        break;
      default:
        if (!NOTHING_TO_DO.has(op)) this.#onUnknown(op);
    }
  }

  #onUnknown(op: string): void {
    const { unknown_ops } = this.#context.meter;
    const count = unknown_ops.get(op);
    if (count === undefined && unknown_ops.size >= 100) return; // names come from the peer
    unknown_ops.set(op, (count ?? 0) + 1);
    this.#context.logOnce(op, `a zero worker does not know the operation ${JSON.stringify(op)}: ignored`);
  }

  /**
   * A `compute-task` in an unusual form: the same after its fields are put in order; or one that only a real worker
   * can do, which ends its graph.
   */
  #computeUnusual(message: WireMap, now_ns: number): void {
    const { table } = this.#context;
    const fault = table.fieldFault(message.keys.map(String));
    if (fault !== null) throw new ProtocolError("COMPUTE_TASK_FIELDS", fault);
    if (message.get("actor") !== false) {
      this.#refuse(message, now_ns, "an actor needs a process that runs its code");
      return;
    }
    if (textOf(message.get("key"))?.startsWith(BARRIER_PREFIX)) {
      this.#refuse(message, now_ns, "a P2P shuffle needs workers that hold data");
      return;
    }
    const ordered = new WireMap([], []);
    ordered.set("op", "compute-task");
    message.keys.forEach((name, i) => {
      if (name !== "op") ordered.set(String(name), message.values[i] as WireValue);
    });
    const bytes = packValue(ordered);
    if (table.walk(bytes, 0, bytes.length) !== bytes.length) {
      throw new ProtocolError("COMPUTE_TASK_FORM", "a compute-task whose key or who_has cannot be read");
    }
    this.#runTasks(bytes, now_ns);
  }

  /** Answers `task-erred`: a graph that needs real work ends with a text instead of a wrong result. */
  #refuse(message: WireMap, now_ns: number, why: string): void {
    const context = this.#context;
    const key = message.get("key") ?? null;
    const unix_s = context.clock.unixSeconds(now_ns);
    const text = `a zero worker cannot run this task: ${why}`;
    const erred = new WireMap([], []).set("key", key);
    if (context.traits.has_run_id) erred.set("run_id", message.get("run_id") ?? null);
    erred
      .set("exception", exceptionValue(text))
      .set("traceback", null)
      .set("exception_text", text)
      .set("traceback_text", "")
      .set("thread", null)
      .set("startstops", [])
      .set("op", "task-erred")
      .set("stimulus_id", `task-erred-${unix_s}`)
      .set("status", "error");
    context.own(this);
    context.flush();
    this.#countTasks(1, now_ns);
    const chunks = frameMessage(encodeMessage([erred]));
    context.meter.tasks_erred++;
    context.meter.messages_out++;
    context.meter.batches_out++;
    context.meter.bytes_out += chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#markReported(now_ns);
    this.#port.write(chunks);
    context.logOnce("refused", text);
  }

  /** The truth: a zero worker has done every task that it knows, so it holds the key or knows nothing of it. */
  #onStealRequest(message: WireMap): void {
    const context = this.#context;
    context.meter.steals_asked++;
    const key = keyBytes(message.get("key") ?? null);
    const held = context.held.has(this.index, key, 0, key.length);
    context.own(this);
    context.writer.stealResponse(key, held, packValue(message.get("stimulus_id") ?? null));
    context.written();
  }

  /**
   * Lets the keys go that it holds. A real worker says so for each (`_transition_memory_released`), whether the
   * scheduler freed the key or only this replica.
   */
  #onRelease(message: WireMap): void {
    const keys = message.get("keys");
    if (!Array.isArray(keys)) throw new ProtocolError("NO_KEYS", "a release without a list of keys");
    this.release(keys, message.get("stimulus_id") ?? null);
  }

  /** The same without values, where the keys are in their plain form: about one key comes for each task. */
  #releaseInBytes(bytes: Uint8Array, start: number, end: number): boolean {
    const context = this.#context;
    const fields = this.#fields;
    const count = fields.count(bytes, start, RELEASE_OPS);
    if (count === NO_FIELD || !fields.find(bytes, start, end, count, STIMULUS_LABEL)) return false;
    const stimulus = bytes.subarray(fields.start, fields.end);
    if (!fields.find(bytes, start, end, count, KEYS_LABEL)) return false;
    const keys = arrayHeader(bytes, fields.start, fields.end);
    if (keys === null) return false;
    const keys_end = fields.end;
    // All or nothing: a list with an unusual key is left to values as a whole.
    for (let i = 0, at = keys.at; i < keys.count; i++) {
      const next = skip(bytes, at, keys_end);
      if (next > keys_end || !isPlainKey(bytes, at, next)) return false;
      at = next;
    }
    context.own(this);
    for (let i = 0, at = keys.at; i < keys.count; i++) {
      const next = skip(bytes, at, keys_end);
      if (context.held.remove(this.index, bytes, at, next)) {
        context.meter.keys_released++;
        context.writer.releaseWorkerData(bytes, at, next, stimulus);
        context.written();
      }
      at = next;
    }
    return true;
  }

  #onAcquire(message: WireMap): void {
    const context = this.#context;
    const who_has = message.get("who_has");
    if (!(who_has instanceof WireMap))
      throw new ProtocolError("NO_WHO_HAS", "acquire-replicas without who_has");
    const missed = who_has.keys.map(keyBytes).filter((key) => this.hold(key));
    if (missed.length === 0) return;
    const stimulus = packValue(message.get("stimulus_id") ?? null);
    context.own(this);
    context.writer.beginAddKeys(missed.length);
    for (const key of missed) context.writer.addKey(key, 0, key.length);
    context.writer.endAddKeys(stimulus, 0, stimulus.length);
    context.meter.keys_added += missed.length;
    context.written();
  }

  /** Takes the status and confirms it, as the status setter of distributed's Worker does. */
  #onStatusChange(message: WireMap): void {
    const status = textOf(message.get("status"));
    if (status === undefined) throw new ProtocolError("NO_STATUS", "worker-status-change without a status");
    this.#status = status;
    this.say(
      WireMap.of({ op: "worker-status-change", status, stimulus_id: message.get("stimulus_id") ?? null }),
    );
  }
}

function textOf(value: WireValue | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
