import type { TaskId } from "../../base/ids.ts";
import { viewOf } from "../../base/typed-arrays.ts";
import type { TaskError } from "../../core/books.ts";
import type { GraphBuilder } from "../../core/graph-builder.ts";
import { PAYLOAD_INLINE, PAYLOAD_PENDING, PAYLOAD_PICKLED, PAYLOAD_SERIALIZED } from "../../core/payloads.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { FORGOTTEN } from "../../core/states.ts";
import { orderGraph } from "../../ordering/index.ts";
import { keyText } from "../../protocol/keys.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { Pickled, RawValue, toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { AnnotationSet, GraphStructure, SpecChunk, UnpackRequest } from "../../unpacker/graph.ts";
import { annotateActors } from "./annotations.ts";

/** What the client's message says of the graph beside its tasks. */
export interface GraphFields {
  /** What {@link UnpackedGraph.places} answered. */
  readonly places: Int32Array | Float64Array;
  readonly actors: WireValue;
  readonly wanted: readonly TaskId[];
}

/**
 * One graph that came through the unpacker: its structure goes into the core at once, so that order and places are
 * known, its payloads follow in that order. Its tasks are pinned until the last payload, so that no id of it is
 * given to another task meanwhile.
 */
export class UnpackedGraph {
  readonly #scheduler: Scheduler;
  readonly #structure: GraphStructure;
  readonly #tasks: Int32Array;
  /** The order in which payloads arrive: positions in the graph. */
  #arrival: Uint32Array = new Uint32Array(0);
  #arrived = 0;
  #pinned = false;
  /** The specs are those of 2022.12. */
  readonly #packed: boolean;

  constructor(scheduler: Scheduler, structure: GraphStructure, kind: UnpackRequest["kind"]) {
    this.#packed = kind === "packed";
    this.#scheduler = scheduler;
    this.#structure = structure;
    this.#tasks = new Int32Array(structure.task_count + structure.external_count);
  }

  /** Answers the order for the unpacker; the builder is committed by the caller. */
  define(builder: GraphBuilder, fields: GraphFields): Uint32Array {
    const { task_count, dependency_offsets, dependencies } = this.#structure;
    const { places } = fields;
    this.#intern(builder);
    let ids = new Int32Array(64);
    for (let i = 0; i < task_count; i++) {
      const start = dependency_offsets[i]!;
      const count = dependency_offsets[i + 1]! - start;
      if (count > ids.length) ids = new Int32Array(count * 2);
      for (let d = 0; d < count; d++) ids[d] = this.#tasks[dependencies[start + d]!]!;
      builder.define(this.#tasks[i]!, null, ids, 0, count, places[i]!);
    }
    this.#annotate(builder, fields.actors, fields.wanted);
    const { tasks } = this.#scheduler.books;
    for (let i = 0; i < task_count; i++) tasks.pin(this.#tasks[i]!);
    this.#pinned = true;
    this.#arrival = sortedBy(places);
    return this.#arrival;
  }

  /** Ids of the graph's own tasks. */
  taskIds(): Int32Array {
    return this.#tasks.subarray(0, this.#structure.task_count);
  }

  get dependency_count(): number {
    return this.#structure.dependencies.length;
  }

  get task_count(): number {
    return this.#structure.task_count;
  }

  /** Payloads, in the order that {@link define} answered. */
  payloads(chunk: SpecChunk): void {
    const { tasks } = this.#scheduler.books;
    const segment = tasks.segments.add(chunk.payload);
    for (let i = 0; i < chunk.count; i++) {
      const task = this.#tasks[this.#arrival[chunk.first + i]!]!;
      this.#arrived++;
      if (tasks.state[task] !== FORGOTTEN && tasks.payload_kind[task] === PAYLOAD_PENDING) {
        const from = chunk.frame_starts[i]!;
        const to = chunk.frame_starts[i + 1]!;
        const offset = from === 0 ? 0 : chunk.frame_ends[from - 1]!;
        const frame_bytes: number[] = [];
        for (let f = from, start = offset; f < to; f++) {
          frame_bytes.push(chunk.frame_ends[f]! - start);
          start = chunk.frame_ends[f]!;
        }
        const kind = this.#packed ? packedKind(chunk.payload, offset, frame_bytes.length) : PAYLOAD_PICKLED;
        this.#scheduler.payloadArrived(task, { kind, segment, offset, frame_bytes });
      }
      tasks.unpin(task);
    }
    tasks.segments.release(segment);
  }

  /** No payload comes any more. Tasks that still lack one are erred, with what depends on them. */
  end(error: TaskError | null): void {
    if (!this.#pinned) return;
    const { tasks } = this.#scheduler.books;
    for (; this.#arrived < this.#arrival.length; this.#arrived++) {
      const task = this.#tasks[this.#arrival[this.#arrived]!]!;
      if (tasks.state[task] !== FORGOTTEN && tasks.payload_kind[task] === PAYLOAD_PENDING) {
        this.#scheduler.payloadLost(task);
        if (error !== null) this.#scheduler.taskFailed(task, { ...error, blame: task });
      }
      tasks.unpin(task);
    }
  }

  #intern(builder: GraphBuilder): void {
    const { task_count, external_count, keys, key_offsets, external_keys, external_offsets } =
      this.#structure;
    const view = viewOf(keys);
    const external_view = viewOf(external_keys);
    for (let i = 0; i < task_count; i++)
      this.#tasks[i] = builder.intern(view, key_offsets[i]!, key_offsets[i + 1]!);
    for (let i = 0; i < external_count; i++)
      this.#tasks[task_count + i] = builder.intern(
        external_view,
        external_offsets[i]!,
        external_offsets[i + 1]!,
      );
  }

  /**
   * The place of each task: the client's (`internal_priority`: task key → place), or dask.order's where that is
   * null. Throws GraphCycleError.
   */
  places(internal_priority: WireValue): Int32Array | Float64Array {
    const { task_count, external_count, dependency_offsets, dependencies, data_nodes } = this.#structure;
    if (internal_priority instanceof WireMap) return this.#clientPlaces(internal_priority);
    const literals = new Uint8Array(task_count);
    for (const node of data_nodes) literals[node] = 1;
    return orderGraph({
      count: task_count,
      external_count,
      dependency_offsets,
      dependencies,
      literals,
      text: (id) => keyText(this.#key(id)),
    });
  }

  #clientPlaces(priority: WireMap): Int32Array {
    return this.#placesInTurn(priority) ?? this.#placesByKey(priority);
  }

  /** The places where the client names its keys as the graph does, one after another, as `map` and `submit` do. */
  #placesInTurn(priority: WireMap): Int32Array | null {
    const { task_count } = this.#structure;
    if (priority.size !== task_count) return null;
    const places = new Int32Array(task_count);
    for (let i = 0; i < task_count; i++) {
      const name = priority.keys[i]!;
      const key = this.#key(i);
      const equal =
        typeof name === "string"
          ? isText(key) && keyText(key) === name
          : latin1(packValue(name)) === latin1(key);
      if (!equal) return null;
      places[i] = toNumber(priority.values[i]) ?? 0;
    }
    return places;
  }

  #placesByKey(priority: WireMap): Int32Array {
    const by_key = new Map<string, number>();
    for (let i = 0; i < priority.size; i++)
      by_key.set(latin1(packValue(priority.keys[i]!)), toNumber(priority.values[i]) ?? 0);
    const places = new Int32Array(this.#structure.task_count);
    for (let i = 0; i < places.length; i++) places[i] = by_key.get(latin1(this.#key(i))) ?? 0;
    return places;
  }

  #key(id: number): Uint8Array {
    const { task_count, keys, key_offsets, external_keys, external_offsets } = this.#structure;
    if (id < task_count) return keys.subarray(key_offsets[id]!, key_offsets[id + 1]!);
    const external = id - task_count;
    return external_keys.subarray(external_offsets[external]!, external_offsets[external + 1]!);
  }

  #annotate(builder: GraphBuilder, actors: WireValue, wanted: readonly TaskId[]): void {
    const { annotation_sets, annotation_set_of_task } = this.#structure;
    const sets = annotation_sets.map(fromSet);
    for (let i = 0; i < annotation_set_of_task.length; i++) {
      const set = annotation_set_of_task[i]!;
      if (set > 0) builder.annotate(this.#tasks[i]!, sets[set - 1]!);
    }
    annotateActors(builder, this.#scheduler.books.keys, actors, wanted);
  }
}

const FUNCTION = packValue("function");

/** A single frame that is `{function, …}`, or a sub-header and what it heads. */
function packedKind(bytes: Uint8Array, at: number, frames: number): number {
  const is_call = frames === 1 && FUNCTION.every((byte, i) => bytes[at + 1 + i] === byte);
  return is_call ? PAYLOAD_INLINE : PAYLOAD_SERIALIZED;
}

function fromSet(set: AnnotationSet): Parameters<GraphBuilder["annotate"]>[1] {
  const restricted = set.workers !== null || set.resources !== null;
  const map = WireMap.from([
    ...set.annotations.map(([name, bytes]) => [name, new RawValue(bytes)] as const),
    ...set.pickled.map(([name, pickle]) => [name, pickledValue(pickle)] as const),
  ]);
  return {
    ...(set.priority === null ? {} : { user_priority: -set.priority }),
    ...(set.retries === null ? {} : { retries: set.retries }),
    ...(restricted
      ? {
          restrictions: {
            workers: set.workers === null ? null : new Set(set.workers.map(String)),
            loose: set.allow_other_workers,
            resources: set.resources === null ? null : new Map(Object.entries(set.resources)),
          },
        }
      : {}),
    ...(map.size > 0 ? { message: map } : {}),
  };
}

/** A pickle inside a message: what msgpack cannot hold goes so, as from Dask's own scheduler. */
function pickledValue(pickle: Uint8Array): Pickled {
  const header = WireMap.of({ "pickled-obj": pickle, compression: [], "num-sub-frames": 0 });
  return new Pickled(packValue(header), []);
}

/** Positions by ascending place; equal places stay as they are. */
function sortedBy(places: Int32Array | Float64Array): Uint32Array {
  const positions = Uint32Array.from(places, (_, i) => i);
  let sorted = true;
  for (let i = 1; i < places.length && sorted; i++) sorted = places[i - 1]! <= places[i]!;
  return sorted ? positions : positions.sort((a, b) => places[a]! - places[b]!);
}

/** Whether a key is a str: the key `"(1, 2)"` looks like the tuple's text. */
function isText(key: Uint8Array): boolean {
  const type = key[0]!;
  return (type >= 0xa0 && type < 0xc0) || (type >= 0xd9 && type <= 0xdb);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** A `__Pickled__` value of a message as the unpacker takes it, or null for anything else. */
export function pickledFrames(
  value: WireValue | undefined,
): { header: Uint8Array; frames: Uint8Array[] } | null {
  return value instanceof Pickled ? { header: value.header, frames: [...value.frames] } : null;
}
