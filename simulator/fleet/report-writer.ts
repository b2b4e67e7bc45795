import type { ReleaseTraits } from "./release.ts";
import type { ReportBatch } from "./report-batch.ts";

/** `pickle.dumps(int, protocol=5)`: the `type` of every result of a zero worker. */
const INT_TYPE_PICKLE = Uint8Array.from(
  Buffer.from("80059514000000000000008c086275696c74696e73948c03696e749493942e", "hex"),
);

/** A result's size and computing time, as the paper's zero worker reports them. */
export const RESULT_NBYTES = 20;
const COMPUTE_S = 10e-6;

/** The ident of the one thread of every zero worker: a number of the size that Python's have. */
const THREAD_IDENT = 140_000_000_000_000;

const KEY_LABEL = label("key");
const RUN_ID_LABEL = label("run_id");
const KEYS_LABEL = label("keys");
const STATE_LABEL = label("state");
const ADD_KEYS_TAIL = concat(label("op"), str("add-keys"), label("stimulus_id"));
const STEAL_TAIL = concat(label("op"), str("steal-response"), label("stimulus_id"));
const RELEASE_TAIL = concat(label("op"), str("release-worker-data"), label("stimulus_id"));
const MEMORY = str("memory");
const NIL = Uint8Array.of(0xc0);

/** Seconds in a stimulus are written with 10 + 1 + 6 digits, so that their place in the template is fixed. */
const STIMULUS_SECONDS_CHARS = 17;
const FINISHED_STIMULUS = "task-finished-";

/**
 * Writes a zero worker's reports into a batch, from bytes made once. Field names and their order are those of the
 * real workers' messages (`TaskFinishedMsg`, `AddKeysMsg`, … of `worker_state_machine.py`).
 */
export class ReportWriter {
  readonly #batch: ReportBatch;
  readonly #has_run_id: boolean;
  /** Everything of a `task-finished` that follows key and run_id. */
  readonly #tail: Uint8Array;
  readonly #tail_view: DataView;
  readonly #start_at: number;
  readonly #stop_at: number;
  readonly #stimulus_at: number;
  /** `task-finished`'s map header and the label of its first field. */
  readonly #head: Uint8Array;

  constructor(traits: ReleaseTraits, batch: ReportBatch) {
    this.#batch = batch;
    this.#has_run_id = traits.has_run_id;
    this.#head = concat(Uint8Array.of(traits.has_run_id ? 0x8b : 0x8a), KEY_LABEL);
    const before_start = concat(
      ...[label("nbytes"), Uint8Array.of(RESULT_NBYTES)],
      ...[label("type"), Uint8Array.of(0xc4, INT_TYPE_PICKLE.length), INT_TYPE_PICKLE],
      ...[label("typename"), str("int"), label("metadata"), Uint8Array.of(0x80)],
      ...[label("thread"), uint64(THREAD_IDENT)],
      ...[label("startstops"), Uint8Array.of(0x91, 0x83), label("action"), str("compute")],
      label("start"),
    );
    const float = Uint8Array.of(0xcb, 0, 0, 0, 0, 0, 0, 0, 0);
    const before_stop = concat(before_start, float, label("stop"));
    const stimulus = str(FINISHED_STIMULUS + "0".repeat(STIMULUS_SECONDS_CHARS));
    const before_end = concat(
      before_stop,
      float,
      label("op"),
      str("task-finished"),
      label("stimulus_id"),
      stimulus,
    );
    this.#tail = concat(before_end, label("status"), str("OK"));
    this.#tail_view = new DataView(this.#tail.buffer);
    this.#start_at = before_start.length + 1;
    this.#stop_at = before_stop.length + 1;
    this.#stimulus_at = before_end.length - STIMULUS_SECONDS_CHARS;
  }

  /** The time that the following reports carry: Unix seconds. Once a batch. */
  setTime(unix_s: number): void {
    this.#tail_view.setFloat64(this.#start_at, unix_s);
    this.#tail_view.setFloat64(this.#stop_at, unix_s + COMPUTE_S);
    let whole = Math.floor(unix_s);
    let micros = Math.floor((unix_s - whole) * 1e6);
    for (let i = this.#stimulus_at + 16; i > this.#stimulus_at + 10; i--) {
      this.#tail[i] = 0x30 + (micros % 10);
      micros = Math.floor(micros / 10);
    }
    this.#tail[this.#stimulus_at + 10] = 0x2e;
    for (let i = this.#stimulus_at + 9; i >= this.#stimulus_at; i--) {
      this.#tail[i] = 0x30 + (whole % 10);
      whole = Math.floor(whole / 10);
    }
  }

  /** The task is done. `run_start` … `run_end` is the run_id's value; releases without one ignore it. */
  taskFinished(
    source: Uint8Array,
    key_start: number,
    key_end: number,
    run_start: number,
    run_end: number,
  ): void {
    const batch = this.#batch;
    const tail = this.#tail;
    batch.reserve(32 + (key_end - key_start) + tail.length);
    const out = batch.bytes;
    let at = copy(out, batch.position, this.#head, 0, this.#head.length);
    at = copy(out, at, source, key_start, key_end);
    if (this.#has_run_id) {
      at = copy(out, at, RUN_ID_LABEL, 0, RUN_ID_LABEL.length);
      at = copy(out, at, source, run_start, run_end);
    }
    out.set(tail, at);
    batch.position = at + tail.length;
    batch.count++;
  }

  /** Begins an `add-keys` of `count` keys; {@link addKey} follows for each, then {@link endAddKeys}. */
  beginAddKeys(count: number): void {
    const batch = this.#batch;
    batch.reserve(16);
    const out = batch.bytes;
    out[batch.position] = 0x83;
    let at = copy(out, batch.position + 1, KEYS_LABEL, 0, KEYS_LABEL.length);
    if (count < 16) out[at++] = 0x90 | count;
    else {
      out[at] = 0xdd;
      batch.view.setUint32(at + 1, count);
      at += 5;
    }
    batch.position = at;
  }

  addKey(source: Uint8Array, start: number, end: number): void {
    const batch = this.#batch;
    batch.reserve(end - start);
    batch.position = copy(batch.bytes, batch.position, source, start, end);
  }

  /** The stimulus is that of the message that made the worker fetch the keys: its msgpack bytes. */
  endAddKeys(source: Uint8Array, stimulus_start: number, stimulus_end: number): void {
    this.#end(ADD_KEYS_TAIL, source, stimulus_start, stimulus_end);
  }

  stealResponse(key: Uint8Array, in_memory: boolean, stimulus: Uint8Array): void {
    const batch = this.#batch;
    batch.reserve(32 + key.length);
    batch.bytes[batch.position++] = 0x84;
    this.#append(KEY_LABEL);
    this.#append(key);
    this.#append(STATE_LABEL);
    this.#append(in_memory ? MEMORY : NIL);
    this.#end(STEAL_TAIL, stimulus, 0, stimulus.length);
  }

  releaseWorkerData(source: Uint8Array, key_start: number, key_end: number, stimulus: Uint8Array): void {
    const batch = this.#batch;
    batch.reserve(16 + key_end - key_start);
    batch.bytes[batch.position++] = 0x83;
    this.#append(KEY_LABEL);
    batch.position = copy(batch.bytes, batch.position, source, key_start, key_end);
    this.#end(RELEASE_TAIL, stimulus, 0, stimulus.length);
  }

  /** Any other message, as ready msgpack bytes. */
  message(bytes: Uint8Array): void {
    this.#batch.reserve(bytes.length);
    this.#append(bytes);
    this.#batch.count++;
  }

  #end(tail: Uint8Array, source: Uint8Array, stimulus_start: number, stimulus_end: number): void {
    const batch = this.#batch;
    batch.reserve(tail.length + stimulus_end - stimulus_start);
    this.#append(tail);
    batch.position = copy(batch.bytes, batch.position, source, stimulus_start, stimulus_end);
    batch.count++;
  }

  /** Room must have been reserved. */
  #append(bytes: Uint8Array): void {
    this.#batch.position = copy(this.#batch.bytes, this.#batch.position, bytes, 0, bytes.length);
  }
}

/** Below this, a loop of bytes is faster than `set`, which has to make a view first. */
const LOOP_BYTES_MAX = 48;

function copy(out: Uint8Array, at: number, source: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length > LOOP_BYTES_MAX) out.set(source.subarray(start, end), at);
  else for (let i = 0; i < length; i++) out[at + i] = source[start + i]!;
  return at + length;
}

/** msgpack of a text shorter than 256 bytes of ASCII. */
function str(text: string): Uint8Array {
  const body = Buffer.from(text, "latin1");
  return body.length < 32
    ? concat(Uint8Array.of(0xa0 | body.length), body)
    : concat(Uint8Array.of(0xd9, body.length), body);
}

function label(name: string): Uint8Array {
  return str(name);
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = 0xcf;
  new DataView(bytes.buffer).setBigUint64(1, BigInt(value));
  return bytes;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
