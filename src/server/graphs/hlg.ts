import { NONE, type TaskId } from "../../base/ids.ts";
import { IntStack, viewOf } from "../../base/typed-arrays.ts";
import type { GraphBuilder } from "../../core/graph-builder.ts";
import type { KeyTable } from "../../core/key-table.ts";
import { PAYLOAD_INLINE, PAYLOAD_SERIALIZED } from "../../core/payloads.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import type { FramedMessage } from "../../protocol/frames.ts";
import { isCanonicalKey, type KeyBytes, keyBytes } from "../../protocol/keys.ts";
import { packValue, unpackValue } from "../../protocol/msgpack.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { arrayCount, field, firstItem, mapCount, skip, startsWith, unsigned } from "../stream/walk.ts";
import { readAnnotations } from "./annotations.ts";

const name = (text: string): Uint8Array => packValue(text);
const HLG = name("hlg");
const LAYERS = name("layers");
const LAYER_NAME = name("__name__");
const STATE = name("state");
const DSK = name("dsk");
const DEPENDENCIES = name("dependencies");
const ANNOTATIONS = name("annotations");
const MATERIALIZED = name("MaterializedLayer");
const AS_LIST = name("as-list");
const SERIALIZED_PLACEHOLDER = Buffer.concat([Uint8Array.of(0x81), name("__Serialized__")]);
/** In place of a number of frames that is not known yet. */
const OPEN = -1;
const KEYS = name("keys");
const PRIORITY = name("priority");

/** Only Python can say what tasks a layer has, since it is of another class than MaterializedLayer, or what they carry. */
export class NeedsPythonError extends Error {
  override readonly name = "NeedsPythonError";
}

/** What the rest of the message says, beside the tasks. */
export interface HlgFields {
  /** The position behind the message. */
  readonly after: number;
  readonly submitting_task: WireValue;
  readonly fifo_timeout: WireValue;
  readonly user_priority: number;
  /** True: the wanted keys are actors; a list: these. */
  readonly actors: WireValue;
  readonly wanted: TaskId[];
  /** True: every task had a priority from the client. */
  readonly ordered: boolean;
}

/**
 * Takes in 2022.12's `update-graph-hlg` of materialized layers: keys, payloads, dependencies and priorities are
 * walked in the message's bytes, so that a graph of a million tasks costs no object a task. No Python is needed.
 */
export class HlgReader {
  readonly #message: FramedMessage;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #builder: GraphBuilder;
  readonly #keys: KeyTable;
  // Columns by position in the graph.
  readonly tasks = new IntStack(1024);
  readonly #payload = new IntStack(4096);
  readonly #dependency_start = new IntStack(1024);
  readonly #dependency_count = new IntStack(1024);
  readonly dependencies = new IntStack(1024);
  readonly #order = new IntStack(1024);
  /** By task id; made when a guess first fails. */
  #index_of: Int32Array | null = null;
  readonly #layer_annotations: { readonly from: number; to: number; readonly annotations: WireMap }[] = [];
  /** Of the sub-header that was read last. */
  #header_length = -1;
  #header_frames = 0;

  /** `message` must be owned: payloads are slices of it. */
  constructor(message: FramedMessage, builder: GraphBuilder, keys: KeyTable) {
    this.#keys = keys;
    this.#message = message;
    this.#bytes = message.bytes;
    this.#view = viewOf(message.bytes);
    this.#builder = builder;
  }

  /**
   * Reads the map at `start` in one pass, and answers where it ends. Throws ProtocolError or NeedsPythonError;
   * then the builder is to be aborted.
   */
  read(start: number, end: number): HlgFields {
    let keys = NONE;
    let priority = NONE;
    let has_graph = false;
    const others = new Map<string, WireValue>();
    const after = this.#walk(start, end, (key, value) => {
      if (is(this.#bytes, key, HLG)) {
        has_graph = true;
        return this.#hlg(value, end);
      }
      if (is(this.#bytes, key, KEYS)) keys = value;
      else if (is(this.#bytes, key, PRIORITY)) priority = value;
      else if (is(this.#bytes, key, SUBMITTING_TASK))
        return this.#keep(others, "submitting_task", value, end);
      else if (is(this.#bytes, key, FIFO_TIMEOUT)) return this.#keep(others, "fifo_timeout", value, end);
      else if (is(this.#bytes, key, ACTORS)) return this.#keep(others, "actors", value, end);
      else if (is(this.#bytes, key, USER_PRIORITY)) return this.#keep(others, "user_priority", value, end);
      return skip(this.#bytes, value, end);
    });
    if (!has_graph) throw new ProtocolError("BAD_GRAPH", "update-graph-hlg without hlg");
    return {
      after,
      ordered: priority !== NONE && this.#priorities(priority, end),
      wanted: this.#wanted(keys, end),
      submitting_task: others.get("submitting_task") ?? null,
      fifo_timeout: others.get("fifo_timeout") ?? null,
      user_priority: toNumber(others.get("user_priority")) ?? 0,
      actors: others.get("actors") ?? null,
    };
  }

  #keep(others: Map<string, WireValue>, name: string, value: number, end: number): number {
    const after = skip(this.#bytes, value, end);
    others.set(name, unpackValue(this.#bytes, value, after));
    return after;
  }

  /** Calls `visit` with the place of each key and value of the map at `at`; it answers where the value ends. */
  #walk(at: number, end: number, visit: (key: number, value: number) => number): number {
    const count = mapCount(this.#bytes, at, end);
    if (count < 0) throw new ProtocolError("BAD_GRAPH", "a map was expected in a graph");
    let position = firstItem(this.#bytes, at);
    for (let i = 0; i < count; i++) position = visit(position, skip(this.#bytes, position, end));
    return position;
  }

  #hlg(at: number, end: number): number {
    return this.#walk(at, end, (key, value) => {
      if (!is(this.#bytes, key, LAYERS)) return skip(this.#bytes, value, end);
      const count = arrayCount(this.#bytes, value, end);
      if (count < 0) throw new ProtocolError("BAD_GRAPH", "a graph without a list of layers");
      let position = firstItem(this.#bytes, value);
      for (let i = 0; i < count; i++) position = this.#layer(position, end);
      return position;
    });
  }

  get count(): number {
    return this.tasks.length;
  }

  /** Position of each task's dependencies in {@link dependencies}, which holds task ids. */
  dependencyRange(index: number): [number, number] {
    const start = this.#dependency_start.items[index]!;
    return [start, this.#dependency_count.items[index]!];
  }

  /** Position in the graph of a task; −1: not of this graph. */
  indexOf(task: TaskId, guess = NONE): number {
    if (guess !== NONE && guess < this.tasks.length && this.tasks.items[guess] === task) return guess;
    this.#index_of ??= this.#indices();
    return this.#index_of[task] ?? NONE;
  }

  #indices(): Int32Array {
    let top = 0;
    for (let i = 0; i < this.tasks.length; i++) top = Math.max(top, this.tasks.items[i]! + 1);
    const index_of = new Int32Array(top).fill(NONE);
    for (let i = 0; i < this.tasks.length; i++) index_of[this.tasks.items[i]!] = i;
    return index_of;
  }

  orderOf(index: number): number {
    return this.#order.items[index]!;
  }

  /** Hands every task to the builder, with `order[index]` as its place. */
  define(order: (index: number) => number): void {
    const payload = { kind: PAYLOAD_SERIALIZED, offset: 0, header_bytes: 0, body_bytes: -1 };
    for (let i = 0; i < this.tasks.length; i++) {
      const task = this.tasks.items[i]!;
      const frame = this.#payload.items[2 * i]!;
      const extent = this.#payload.items[2 * i + 1]!;
      if (frame > 0) this.#framed(payload, frame, extent);
      else {
        payload.kind = PAYLOAD_INLINE;
        payload.offset = -frame;
        payload.header_bytes = extent;
        payload.body_bytes = -1;
      }
      this.#builder.define(
        task,
        payload,
        this.dependencies.items,
        this.#dependency_start.items[i]!,
        this.#dependency_count.items[i]!,
        order(i),
      );
    }
    for (const { from, to, annotations } of this.#layer_annotations)
      for (let i = from; i < to; i++)
        this.#builder.annotate(this.tasks.items[i]!, readAnnotations(annotations));
  }

  #framed(
    payload: { kind: number; offset: number; header_bytes: number; body_bytes: number },
    frame: number,
    extra: number,
  ): void {
    const message = this.#message;
    const start = message.frameStart(frame);
    payload.kind = PAYLOAD_SERIALIZED;
    payload.offset = start;
    payload.header_bytes = message.frameEnd(frame) - start;
    payload.body_bytes = extra === 0 ? -1 : message.frameEnd(frame + 1) - message.frameEnd(frame);
  }

  #layer(at: number, end: number): number {
    const bytes = this.#bytes;
    const first = this.tasks.length;
    let named = false;
    let early_state = NONE;
    this.#index_of = null;
    const after = this.#walk(at, end, (key, value) => {
      if (is(bytes, key, LAYER_NAME)) {
        named = true;
        const value_end = skip(bytes, value, end);
        this.#checkClass(value, value_end);
        return value_end;
      }
      if (is(bytes, key, STATE)) {
        if (named) return this.#state(value, end);
        early_state = value;
      }
      if (is(bytes, key, ANNOTATIONS)) return this.#annotations(value, end, first);
      return skip(bytes, value, end);
    });
    if (!named) this.#checkClass(NONE, NONE);
    if (early_state !== NONE) this.#state(early_state, end);
    for (const layer of this.#layer_annotations) if (layer.from === first) layer.to = this.tasks.length;
    return after;
  }

  #checkClass(start: number, end: number): void {
    if (start !== NONE && is(this.#bytes, start, MATERIALIZED)) return;
    const name = start === NONE ? "none" : String(unpackValue(this.#bytes, start, end));
    throw new NeedsPythonError(`a layer of class ${name}`);
  }

  #annotations(value: number, end: number, first: number): number {
    const after = skip(this.#bytes, value, end);
    const annotations = unpackValue(this.#bytes, value, after);
    if (!(annotations instanceof WireMap)) return after;
    // A function's values, by key.
    if (annotations.values.some((one) => one instanceof WireMap && one.get("__expanded_annotations__")))
      throw new NeedsPythonError("annotations that differ from task to task");
    if (annotations.size > 0) this.#layer_annotations.push({ from: first, to: first, annotations });
    return after;
  }

  #state(at: number, end: number): number {
    const first = this.tasks.length;
    let early_dependencies = NONE;
    let has_tasks = false;
    const after = this.#walk(at, end, (key, value) => {
      if (is(this.#bytes, key, DSK)) {
        has_tasks = true;
        return this.#tasks(value, end);
      }
      if (is(this.#bytes, key, DEPENDENCIES)) {
        if (has_tasks) return this.#dependencies(value, end, first);
        early_dependencies = value;
      }
      return skip(this.#bytes, value, end);
    });
    if (!has_tasks) throw new ProtocolError("BAD_GRAPH", "a materialized layer without dsk");
    if (early_dependencies !== NONE) this.#dependencies(early_dependencies, end, first);
    return after;
  }

  #tasks(start: number, end: number): number {
    const bytes = this.#bytes;
    const count = mapCount(bytes, start, end);
    if (count < 0) throw new ProtocolError("BAD_GRAPH", "dsk is not a map");
    let at = firstItem(bytes, start);
    for (let i = 0; i < count; i++) {
      const value = skip(bytes, at, end);
      this.tasks.push(this.#intern(at, value));
      this.#dependency_start.push(0);
      this.#dependency_count.push(0);
      this.#order.push(0);
      at = this.#addPayload(value, end);
    }
    this.#closePayload(NONE);
    return at;
  }

  /**
   * Two numbers a task: a frame and how many follow it, or minus the place of an inline value and its length. Answers
   * where the value at `start` ends.
   */
  #addPayload(start: number, end: number): number {
    const bytes = this.#bytes;
    if (!startsWith(bytes, start, SERIALIZED_PLACEHOLDER)) {
      const after = skip(bytes, start, end);
      this.#closePayload(NONE);
      this.#payload.push(-start);
      this.#payload.push(after - start);
      return after;
    }
    const number = start + SERIALIZED_PLACEHOLDER.length;
    const after = skip(bytes, number, end);
    const frame = unsigned(bytes, number);
    if (frame < 1 || frame >= this.#message.frame_count)
      throw new ProtocolError("BAD_PLACEHOLDER", "a payload that refers to no frame");
    this.#closePayload(frame);
    this.#payload.push(frame);
    this.#payload.push(OPEN);
    return after;
  }

  /** Fills in how many frames follow that of the payload before, now that the next one's is known (NONE: the last). */
  #closePayload(next: number): void {
    const last = this.#payload.length - 1;
    if (last < 0 || this.#payload.items[last] !== OPEN) return;
    const frame = this.#payload.items[last - 1]!;
    const message = this.#message;
    // Peers number frames one after the other, and equal sub-headers are the rule: mostly the numbers tell as much as
    // the bytes, which lie far apart in a large message and would each be waited for.
    const expected =
      next === frame + 1 + this.#header_frames &&
      message.frameEnd(frame) - message.frameStart(frame) === this.#header_length;
    const following = expected ? this.#header_frames : this.#subFrames(frame);
    if (frame + following >= message.frame_count)
      throw new ProtocolError("BAD_PLACEHOLDER", "a payload with more frames than the message has");
    if (following > 1) throw new NeedsPythonError("a task whose payload has several frames");
    this.#payload.items[last] = following;
  }

  /** `num-sub-frames` of the sub-header in `frame`. */
  #subFrames(frame: number): number {
    const start = this.#message.frameStart(frame);
    const length = this.#message.frameEnd(frame) - start;
    const header = unpackValue(this.#bytes, start, start + length);
    const count = header instanceof WireMap ? toNumber(header.get("num-sub-frames")) : undefined;
    if (count === undefined || !Number.isInteger(count) || count < 0)
      throw new ProtocolError("BAD_PLACEHOLDER", "a payload whose sub-header has no num-sub-frames");
    this.#header_length = length;
    this.#header_frames = count;
    return count;
  }

  #dependencies(start: number, end: number, first: number): number {
    const bytes = this.#bytes;
    const count = mapCount(bytes, start, end);
    if (count < 0) throw new ProtocolError("BAD_GRAPH", "a map was expected in a graph");
    let guess = first;
    let at = firstItem(bytes, start);
    for (let i = 0; i < count; i++) {
      const value = skip(bytes, at, end);
      const index = this.#indexAt(at, value, guess);
      guess = index + 1;
      at = this.#dependencySet(value, end, index);
    }
    return at;
  }

  /** A set (`{"__Set__": true, "as-list": […]}`) or a list of keys; answers where it ends. */
  #dependencySet(at: number, end: number, index: number): number {
    const bytes = this.#bytes;
    const fields = mapCount(bytes, at, end);
    if (fields < 0) return this.#dependencyList(at, end, index);
    let position = firstItem(bytes, at);
    for (let i = 0; i < fields; i++) {
      const value = skip(bytes, position, end);
      position = is(bytes, position, AS_LIST)
        ? this.#dependencyList(value, end, index)
        : skip(bytes, value, end);
    }
    return position;
  }

  #dependencyList(at: number, end: number, index: number): number {
    const bytes = this.#bytes;
    const count = arrayCount(bytes, at, end);
    if (count < 0) throw new ProtocolError("BAD_GRAPH", "dependencies that are no list");
    let position = firstItem(bytes, at);
    const first = this.dependencies.length;
    // Mostly a dependency stands just before its dependent, or a list names tasks one after the other.
    let guess = index - count;
    for (let i = 0; i < count; i++) {
      const next = skip(bytes, position, end);
      if (index >= 0) {
        const dependency = this.#taskAt(position, next, guess);
        // A future in a graph anew depends on itself: on what is known of its key already.
        if (dependency !== this.tasks.items[index]) this.dependencies.push(dependency);
        guess++;
      }
      position = next;
    }
    if (index >= 0) {
      this.#dependency_start.items[index] = first;
      this.#dependency_count.items[index] = this.dependencies.length - first;
    }
    return position;
  }

  /** False: the client leaves ordering to the scheduler. */
  #priorities(at: number, end: number): boolean {
    const bytes = this.#bytes;
    const count = mapCount(bytes, at, end);
    if (count < 0) return false;
    let guess = 0;
    let ordered = 0;
    let position = firstItem(bytes, at);
    for (let i = 0; i < count; i++) {
      const value = skip(bytes, position, end);
      const index = this.#indexAt(position, value, guess);
      position = skip(bytes, value, end);
      if (index < 0) continue;
      guess = index + 1;
      this.#order.items[index] = this.#priority(value, position);
      ordered++;
    }
    return ordered === this.tasks.length;
  }

  #priority(start: number, end: number): number {
    const order = unsigned(this.#bytes, start);
    if (order >= 0) return order;
    const number = toNumber(unpackValue(this.#bytes, start, end));
    if (number === undefined) throw new ProtocolError("BAD_GRAPH", "a priority that is no number");
    return number;
  }

  #wanted(at: number, end: number): TaskId[] {
    const wanted: TaskId[] = [];
    const count = at === NONE ? -1 : arrayCount(this.#bytes, at, end);
    if (count < 0) throw new ProtocolError("BAD_GRAPH", "a graph without wanted keys");
    let position = firstItem(this.#bytes, at);
    for (let i = 0; i < count; i++) {
      const next = skip(this.#bytes, position, end);
      wanted.push(this.#intern(position, next));
      position = next;
    }
    return wanted;
  }

  /** Position in the graph of the key at `start`; `guess` is tried before any hashing. */
  #indexAt(start: number, end: number, guess: number): number {
    if (
      guess >= 0 &&
      guess < this.tasks.length &&
      this.#keys.matches(this.tasks.items[guess]!, this.#view, start, end)
    )
      return guess;
    return this.indexOf(this.#intern(start, end));
  }

  #taskAt(start: number, end: number, guess: number): TaskId {
    if (guess >= 0 && guess < this.tasks.length) {
      const task = this.tasks.items[guess]!;
      if (this.#keys.matches(task, this.#view, start, end)) return task;
    }
    return this.#intern(start, end);
  }

  #intern(start: number, end: number): TaskId {
    const bytes = this.#bytes;
    if (isCanonicalKey(bytes, start, end)) return this.#builder.intern(this.#view, start, end);
    return this.#builder.internKey(keyBytes(unpackValue(bytes, start, end)));
  }
}

/** True when the value at `at` is this text, written in the shortest form. */
function is(bytes: Buffer, at: number, text: Uint8Array): boolean {
  return startsWith(bytes, at, text);
}

/** The message's fields but the layers, which go to Python as they are with the frames that they refer to. */
export function readPacked(
  message: FramedMessage,
  start: number,
  end: number,
): { fields: WireMap; graph: { header: Uint8Array; frames: Uint8Array[] } } {
  const { bytes } = message;
  const layers = field(bytes, start, end, HLG);
  if (layers === null) throw new ProtocolError("BAD_GRAPH", "update-graph-hlg without hlg");
  const fields = new WireMap();
  let at = firstItem(bytes, start);
  for (let left = mapCount(bytes, start, end); left > 0; left--) {
    const value = skip(bytes, at, end);
    const after = skip(bytes, value, end);
    if (!is(bytes, at, HLG))
      fields.set(String(unpackValue(bytes, at, value)), unpackValue(bytes, value, after));
    at = after;
  }
  fields.set("internal_priority", fields.get("priority") ?? null);
  const frames = Array.from({ length: message.frame_count - 1 }, (_, i) => message.frame(i + 1));
  return { fields, graph: { header: bytes.subarray(layers[0], layers[1]), frames } };
}

/** The wanted keys alone, for an answer that says why the graph was refused. */
export function readKeys(message: FramedMessage, start: number, end: number): KeyBytes[] {
  const bounds = field(message.bytes, start, end, KEYS);
  const keys = bounds === null ? null : unpackValue(message.bytes, bounds[0], bounds[1]);
  return Array.isArray(keys) ? keys.map(keyBytes) : [];
}

const SUBMITTING_TASK = name("submitting_task");
const FIFO_TIMEOUT = name("fifo_timeout");
const USER_PRIORITY = name("user_priority");
const ACTORS = name("actors");
