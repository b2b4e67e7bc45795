import { NONE, type TaskId } from "../../base/ids.ts";
import { IntStack } from "../../base/typed-arrays.ts";
import type { GraphBuilder } from "../../core/graph-builder.ts";
import { PAYLOAD_INLINE, PAYLOAD_SERIALIZED } from "../../core/payloads.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import type { FramedMessage } from "../../protocol/frames.ts";
import { isCanonicalKey, type KeyBytes, keyBytes } from "../../protocol/keys.ts";
import { packValue, skipValue, unpackValue } from "../../protocol/msgpack.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { arrayCount, field, firstItem, mapCount, startsWith, walkMap } from "../stream/walk.ts";

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
const KEYS = name("keys");
const PRIORITY = name("priority");

/** A layer of another class than MaterializedLayer: only Python can say what tasks it has. */
export class UnsupportedLayerError extends Error {
  override readonly name = "UnsupportedLayerError";
}

/** What the rest of the message says, beside the tasks. */
export interface HlgFields {
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
  readonly #builder: GraphBuilder;
  // Columns by position in the graph.
  readonly tasks = new IntStack(1024);
  readonly #payload = new IntStack(4096);
  readonly #dependency_start = new IntStack(1024);
  readonly #dependency_count = new IntStack(1024);
  readonly dependencies = new IntStack(1024);
  readonly #order = new IntStack(1024);
  /** By task id; made when a guess first fails. */
  #index_of: Int32Array | null = null;
  readonly #layer_annotations: { from: number; to: number; annotations: WireMap }[] = [];
  #header_start = 0;
  #header_length = -1;
  #header_frames = 0;

  /** `message` must be owned: payloads are slices of it. */
  constructor(message: FramedMessage, builder: GraphBuilder) {
    this.#message = message;
    this.#bytes = message.bytes;
    this.#builder = builder;
  }

  /** Reads the map at `start`. Throws ProtocolError or UnsupportedLayerError; then the builder is to be aborted. */
  read(start: number, end: number): HlgFields {
    const bytes = this.#bytes;
    const hlg = field(bytes, start, end, HLG);
    if (hlg === null) throw new ProtocolError("BAD_GRAPH", "update-graph-hlg without hlg");
    const layers = field(bytes, hlg[0], hlg[1], LAYERS);
    const count = layers === null ? -1 : arrayCount(bytes, layers[0], layers[1]);
    if (layers === null || count < 0)
      throw new ProtocolError("BAD_GRAPH", "a graph without a list of layers");
    let at = firstItem(bytes, layers[0]);
    for (let i = 0; i < count; i++) {
      const next = skipValue(bytes, at, layers[1]);
      this.#layer(at, next);
      at = next;
    }
    const ordered = this.#priorities(field(bytes, start, end, PRIORITY));
    return { wanted: this.#wanted(field(bytes, start, end, KEYS)), ordered };
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

  #layer(start: number, end: number): void {
    const bytes = this.#bytes;
    const class_name = field(bytes, start, end, LAYER_NAME);
    if (class_name === null || !startsWith(bytes, class_name[0], MATERIALIZED))
      throw new UnsupportedLayerError(
        `layer of class ${class_name === null ? "?" : String(unpackValue(bytes, class_name[0], class_name[1]))}: ` +
          "only materialized layers can be taken from a client of 2022.12",
      );
    const state = field(bytes, start, end, STATE);
    const dsk = state && field(bytes, state[0], state[1], DSK);
    if (state === null || !dsk) throw new ProtocolError("BAD_GRAPH", "a materialized layer without dsk");
    const first = this.tasks.length;
    this.#index_of = null;
    this.#tasks(dsk[0], dsk[1]);
    const dependencies = field(bytes, state[0], state[1], DEPENDENCIES);
    if (dependencies !== null) this.#dependencies(dependencies[0], dependencies[1], first);
    const annotations = field(bytes, start, end, ANNOTATIONS);
    if (annotations === null) return;
    const value = unpackValue(bytes, annotations[0], annotations[1]);
    if (value instanceof WireMap && value.size > 0)
      this.#layer_annotations.push({ from: first, to: this.tasks.length, annotations: value });
  }

  #tasks(start: number, end: number): void {
    const bytes = this.#bytes;
    const count = mapCount(bytes, start, end);
    if (count < 0) throw new ProtocolError("BAD_GRAPH", "dsk is not a map");
    let at = firstItem(bytes, start);
    for (let i = 0; i < count; i++) {
      const value = skipValue(bytes, at, end);
      const next = skipValue(bytes, value, end);
      this.tasks.push(this.#intern(at, value));
      this.#addPayload(value, next);
      this.#dependency_start.push(0);
      this.#dependency_count.push(0);
      this.#order.push(0);
      at = next;
    }
  }

  /** Two numbers a task: a frame and how many follow it, or minus the place of an inline value and its length. */
  #addPayload(start: number, end: number): void {
    const bytes = this.#bytes;
    if (!startsWith(bytes, start, SERIALIZED_PLACEHOLDER)) {
      this.#payload.push(-start);
      this.#payload.push(end - start);
      return;
    }
    const frame = unpackValue(bytes, start + SERIALIZED_PLACEHOLDER.length, end);
    if (typeof frame !== "number" || frame < 1 || frame >= this.#message.frame_count)
      throw new ProtocolError("BAD_PLACEHOLDER", "a payload that refers to no frame");
    const following = this.#subFrames(frame);
    if (frame + following >= this.#message.frame_count)
      throw new ProtocolError("BAD_PLACEHOLDER", "a payload with more frames than the message has");
    if (following > 1)
      throw new UnsupportedLayerError("a task whose payload has several frames, in a graph of 2022.12");
    this.#payload.push(frame);
    this.#payload.push(following);
  }

  /** `num-sub-frames` of the sub-header in `frame`; neighbours mostly have equal sub-headers. */
  #subFrames(frame: number): number {
    const bytes = this.#bytes;
    const start = this.#message.frameStart(frame);
    const length = this.#message.frameEnd(frame) - start;
    if (length === this.#header_length) {
      let same = 0;
      while (same < length && bytes[start + same] === bytes[this.#header_start + same]) same++;
      if (same === length) return this.#header_frames;
    }
    const header = unpackValue(bytes, start, start + length);
    const count = header instanceof WireMap ? toNumber(header.get("num-sub-frames")) : undefined;
    if (count === undefined || !Number.isInteger(count) || count < 0)
      throw new ProtocolError("BAD_PLACEHOLDER", "a payload whose sub-header has no num-sub-frames");
    this.#header_start = start;
    this.#header_length = length;
    this.#header_frames = count;
    return count;
  }

  #dependencies(start: number, end: number, first: number): void {
    const bytes = this.#bytes;
    let guess = first;
    walkMap(bytes, start, end, (key, value, value_end) => {
      const index = this.indexOf(this.#intern(key, value), guess);
      guess = index + 1;
      const list = mapCount(bytes, value, value_end) >= 0 ? field(bytes, value, value_end, AS_LIST) : null;
      const [from, to] = list ?? [value, value_end];
      const count = arrayCount(bytes, from, to);
      if (count < 0) throw new ProtocolError("BAD_GRAPH", "dependencies that are no list");
      if (index < 0 || count === 0) return;
      this.#dependency_start.items[index] = this.dependencies.length;
      this.#dependency_count.items[index] = count;
      let at = firstItem(bytes, from);
      for (let i = 0; i < count; i++) {
        const next = skipValue(bytes, at, to);
        this.dependencies.push(this.#intern(at, next));
        at = next;
      }
    });
  }

  /** False: the client leaves ordering to the scheduler. */
  #priorities(bounds: [number, number] | null): boolean {
    if (bounds === null || mapCount(this.#bytes, bounds[0], bounds[1]) < 0) return false;
    let guess = 0;
    let ordered = 0;
    walkMap(this.#bytes, bounds[0], bounds[1], (key, value, value_end) => {
      const index = this.indexOf(this.#intern(key, value), guess);
      if (index < 0) return;
      guess = index + 1;
      const order = toNumber(unpackValue(this.#bytes, value, value_end));
      if (order === undefined) throw new ProtocolError("BAD_GRAPH", "a priority that is no number");
      this.#order.items[index] = order;
      ordered++;
    });
    return ordered === this.tasks.length;
  }

  #wanted(bounds: [number, number] | null): TaskId[] {
    const wanted: TaskId[] = [];
    const count = bounds === null ? -1 : arrayCount(this.#bytes, bounds[0], bounds[1]);
    if (bounds === null || count < 0) throw new ProtocolError("BAD_GRAPH", "a graph without wanted keys");
    let at = firstItem(this.#bytes, bounds[0]);
    for (let i = 0; i < count; i++) {
      const next = skipValue(this.#bytes, at, bounds[1]);
      wanted.push(this.#intern(at, next));
      at = next;
    }
    return wanted;
  }

  #intern(start: number, end: number): TaskId {
    const bytes = this.#bytes;
    if (isCanonicalKey(bytes, start, end)) return this.#builder.intern(bytes, start, end);
    const key = keyBytes(unpackValue(bytes, start, end));
    return this.#builder.intern(key, 0, key.length);
  }
}

/** The annotations that a scheduler heeds, from a map of them; the whole map goes on to the worker. */
export function readAnnotations(map: WireMap): Parameters<GraphBuilder["annotate"]>[1] {
  const priority = toNumber(map.get("priority"));
  const retries = toNumber(map.get("retries"));
  const workers = texts(map.get("workers"));
  const resources = map.get("resources");
  const restricted = workers !== null || resources instanceof WireMap;
  return {
    ...(priority === undefined ? {} : { user_priority: -priority }),
    ...(retries === undefined ? {} : { retries }),
    ...(restricted
      ? {
          restrictions: {
            workers,
            loose: map.get("allow_other_workers") === true,
            resources: resources instanceof WireMap ? amounts(resources) : null,
          },
        }
      : {}),
    bytes: packValue(map),
  };
}

function texts(value: WireValue | undefined): ReadonlySet<string> | null {
  if (typeof value === "string") return new Set([value]);
  return Array.isArray(value) && value.length > 0 ? new Set(value.map(String)) : null;
}

function amounts(map: WireMap): ReadonlyMap<string, number> {
  return new Map(map.keys.map((key, i) => [String(key), toNumber(map.values[i]) ?? 0]));
}

/** The few fields beside the tasks that decide when a graph runs. */
export function readFields(
  message: FramedMessage,
  start: number,
  end: number,
): { submitting_task: WireValue; fifo_timeout: WireValue; user_priority: number } {
  const value = (key: Uint8Array): WireValue => {
    const bounds = field(message.bytes, start, end, key);
    return bounds === null ? null : unpackValue(message.bytes, bounds[0], bounds[1]);
  };
  return {
    submitting_task: value(SUBMITTING_TASK),
    fifo_timeout: value(FIFO_TIMEOUT),
    user_priority: toNumber(value(USER_PRIORITY)) ?? 0,
  };
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
