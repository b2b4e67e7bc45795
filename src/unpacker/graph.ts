/**
 * What the unpacker is asked, and what it answers: a graph's shape as flat arrays, and for each task the ready
 * sub-frames of its `run_spec`. No Python object is understood here; everything pickled stays bytes.
 */

/** A `__Serialized__` or `__Pickled__` sub-frame as it came: msgpack header and payload frames, unopened. */
export interface SubFrame {
  readonly header: Uint8Array;
  readonly frames: readonly Uint8Array[];
}

/** The payload of one `update-graph`. */
export interface UnpackRequest {
  /**
   * "expr": `expr_ser` of 2025.4 and later; "hlg": `graph_header` (as msgpack) and `graph_frames` before; "packed": the
   * `hlg` of 2022.12 as msgpack, and all frames of its message behind the first, which it refers to by number.
   */
  readonly kind: "expr" | "hlg" | "packed";
  readonly graph: SubFrame;
  /** The message's global `annotations`, or null if it has none. */
  readonly annotations: SubFrame | null;
  /** The wanted keys: one msgpack array of keys. */
  readonly keys: Uint8Array;
}

/** Annotations that one or more tasks share, with the meaning that Dask's scheduler gives to some of them. */
export interface AnnotationSet {
  /** Added to by Dask as `-priority`; null if not annotated. */
  readonly priority: number | null;
  /** Addresses, host names or aliases (which may be numbers), as annotated; null for no restriction. */
  readonly workers: readonly (string | number)[] | null;
  readonly allow_other_workers: boolean;
  readonly resources: Readonly<Record<string, number>> | null;
  readonly retries: number | null;
  /** The `annotations` map of compute-task: name and msgpack of the value. */
  readonly annotations: readonly (readonly [name: string, value: Uint8Array])[];
  /** Entries of that map that msgpack cannot hold: name and pickle, to be sent as `__Pickled__`. */
  readonly pickled: readonly (readonly [name: string, pickle: Uint8Array])[];
}

/** Only the tasks that the wanted keys need. All arrays are views of one buffer outside the JS heap. */
export interface GraphStructure {
  readonly task_count: number;
  /** Canonical msgpack of each key, one after another; task i is `keys[key_offsets[i] .. key_offsets[i+1]]`. */
  readonly keys: Uint8Array;
  readonly key_offsets: Uint32Array;
  /** Keys that tasks depend on and this graph does not hold: futures of earlier graphs. */
  readonly external_count: number;
  readonly external_keys: Uint8Array;
  readonly external_offsets: Uint32Array;
  /** Compressed rows: task i depends on `dependencies[dependency_offsets[i] .. dependency_offsets[i+1]]`. */
  readonly dependency_offsets: Uint32Array;
  /** Ascending in each row; a number from `task_count` on is an external key. */
  readonly dependencies: Uint32Array;
  /** Tasks that are plain values. They are scheduled like others, but dask.order treats them differently. */
  readonly data_nodes: Uint32Array;
  /** Barrier tasks of P2P shuffles; their spec is what `shuffleRun` asks for. */
  readonly barriers: Uint32Array;
  readonly annotation_sets: readonly AnnotationSet[];
  /** 0: none, else one more than the place in `annotation_sets`; of length 0 if no task has any. */
  readonly annotation_set_of_task: Uint32Array;
  /** CPU seconds of the thread that opened the graph, by step. */
  readonly cpu_seconds: Readonly<Record<string, number>>;
}

/** The specs of some tasks, in the order that was asked for. */
export interface SpecChunk {
  /** The place of the first one in that order. */
  readonly first: number;
  readonly count: number;
  /** All frames one after another. */
  readonly payload: Uint8Array;
  /** Task i of the chunk has frames `frame_starts[i] .. frame_starts[i+1]`: its header, then its buffers. */
  readonly frame_starts: Uint32Array;
  /** Frame f ends at `frame_ends[f]` in the payload, and begins where f-1 ends. */
  readonly frame_ends: Uint32Array;
}

/** The frames of the chunk's i-th task, as views: `__Pickled__` header, then out-of-band buffers. */
export function specFrames(chunk: SpecChunk, i: number): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const end = chunk.frame_starts[i + 1] ?? 0;
  for (let frame = chunk.frame_starts[i] ?? end; frame < end; frame++) {
    const start = frame === 0 ? 0 : chunk.frame_ends[frame - 1];
    frames.push(chunk.payload.subarray(start, chunk.frame_ends[frame]));
  }
  return frames;
}

export type UnpackErrorCode =
  /** The Python executable does not start. */
  | "NO_PYTHON"
  /** It starts, but dask and distributed cannot be imported. */
  | "NO_DASK"
  /** Its dask cannot read what the client's release sends. */
  | "VERSION"
  /** The graph does not unpack; `exception` and `traceback` are what Dask would send. */
  | "GRAPH"
  /** The process ended, or broke the pipe's format. */
  | "DIED"
  /** No progress for `stall_ms_max`; the process was killed. */
  | "STALLED"
  /** The pool was closed, or the request given up. */
  | "CLOSED";

/** Why a graph could not be unpacked. The scheduler lives on; the next request gets a child that works. */
export class UnpackError extends Error {
  readonly code: UnpackErrorCode;
  /** Pickle of the exception, which clients accept as `exception` in place; null if there is only the text. */
  readonly exception: Uint8Array | null;
  readonly traceback: Uint8Array | null;
  readonly traceback_text: string;

  constructor(
    code: UnpackErrorCode,
    message: string,
    python?: { exception: Uint8Array | null; traceback: Uint8Array | null; traceback_text: string },
  ) {
    super(message);
    this.name = "UnpackError";
    this.code = code;
    this.exception = python?.exception ?? null;
    this.traceback = python?.traceback ?? null;
    this.traceback_text = python?.traceback_text ?? "";
  }
}

/** Called in this order: onStructure once, onSpecs any number of times, onDone; or onError at any point, last. */
export interface UnpackHandlers {
  /** Python waits for `sendOrder` afterwards. */
  onStructure(structure: GraphStructure, request_id: number): void;
  onSpecs(chunk: SpecChunk): void;
  onDone(cpu_seconds: Readonly<Record<string, number>>): void;
  onError(error: UnpackError): void;
}

/** What the child told of itself when it started. */
export interface UnpackerHello {
  readonly python: string;
  readonly executable: string;
  readonly dask: string;
  readonly distributed: string;
  readonly cloudpickle: string;
  /** Whether the wrapper that ends the quadratic cull is in place, and if not, why. */
  readonly cull: string;
  readonly kinds: readonly string[];
  /** Versions that clients compare with their own, of `python` too; null: not installed. */
  readonly packages: ReadonlyMap<string, string | null>;
}
