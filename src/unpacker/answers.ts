import {
  type AnnotationSet,
  type GraphStructure,
  type SpecChunk,
  UnpackError,
  type UnpackerHello,
} from "./graph.ts";
import { PipeError, type PipeHead, type PipeMessage } from "./pipe.ts";

type Seconds = Readonly<Record<string, number>>;

/** The child's answers, from the pipe's maps and sections to the types of graph.ts. All throw PipeError. */
export function readStructure({ head, sections }: PipeMessage): GraphStructure {
  const task_count = count(head, "task_count");
  const external_count = count(head, "external_count");
  const structure: GraphStructure = {
    task_count,
    external_count,
    key_offsets: u32(sections[0]),
    external_offsets: u32(sections[1]),
    dependency_offsets: u32(sections[2]),
    dependencies: u32(sections[3]),
    data_nodes: u32(sections[4]),
    barriers: u32(sections[5]),
    annotation_set_of_task: u32(sections[6]),
    keys: bytes(sections[7]),
    external_keys: bytes(sections[8]),
    annotation_sets: list(head, "annotation_sets").map(readAnnotationSet),
    cpu_seconds: readSeconds(head),
  };
  const annotated = structure.annotation_set_of_task.length;
  if (
    structure.key_offsets.length !== task_count + 1 ||
    structure.external_offsets.length !== external_count + 1 ||
    structure.dependency_offsets.length !== task_count + 1 ||
    structure.dependency_offsets[task_count] !== structure.dependencies.length ||
    structure.key_offsets[task_count] !== structure.keys.byteLength ||
    structure.external_offsets[external_count] !== structure.external_keys.byteLength ||
    (annotated !== 0 && annotated !== task_count)
  )
    throw new PipeError("a graph structure whose parts do not fit together");
  return structure;
}

export function readSpecs({ head, sections }: PipeMessage): SpecChunk {
  const chunk: SpecChunk = {
    first: count(head, "first"),
    count: count(head, "count"),
    frame_starts: u32(sections[0]),
    frame_ends: u32(sections[1]),
    payload: bytes(sections[2]),
  };
  const frame_count = chunk.frame_ends.length;
  const payload_end = frame_count === 0 ? 0 : chunk.frame_ends[frame_count - 1];
  if (
    chunk.frame_starts.length !== chunk.count + 1 ||
    chunk.frame_starts[chunk.count] !== frame_count ||
    payload_end !== chunk.payload.byteLength
  )
    throw new PipeError("a chunk of specs whose parts do not fit together");
  return chunk;
}

export function readError(head: PipeHead): UnpackError {
  const text = head.exception_text;
  const traceback_text = head.traceback_text;
  return new UnpackError("GRAPH", typeof text === "string" ? text : "the graph does not unpack", {
    exception: head.exception instanceof Uint8Array ? head.exception : null,
    traceback: head.traceback instanceof Uint8Array ? head.traceback : null,
    traceback_text: typeof traceback_text === "string" ? traceback_text : "",
  });
}

export function readHello(head: PipeHead): UnpackerHello {
  const text = (name: string): string => {
    const value = head[name];
    return typeof value === "string" ? value : "?";
  };
  return {
    python: text("python"),
    executable: text("executable"),
    dask: text("dask"),
    distributed: text("distributed"),
    cloudpickle: text("cloudpickle"),
    cull: text("cull"),
    kinds: list(head, "kinds").filter((kind) => typeof kind === "string"),
    packages: new Map(
      Object.entries(head.packages ?? {}).map(([name, version]) => [
        name,
        typeof version === "string" ? version : null,
      ]),
    ),
  };
}

export function readSeconds(head: PipeHead): Seconds {
  const seconds = head.cpu_seconds;
  return typeof seconds === "object" && seconds !== null ? (seconds as Seconds) : {};
}

function readAnnotationSet(value: unknown): AnnotationSet {
  if (typeof value !== "object" || value === null) throw new PipeError("an annotation set that is not a map");
  const set = value as PipeHead & Partial<Record<keyof AnnotationSet, unknown>>;
  return {
    priority: typeof set.priority === "number" ? set.priority : null,
    workers: Array.isArray(set.workers) ? set.workers : null,
    allow_other_workers: set.allow_other_workers === true,
    resources: isRecord(set.resources) ? set.resources : null,
    retries: typeof set.retries === "number" ? set.retries : null,
    annotations: list(set, "annotations") as [string, Uint8Array][],
    pickled: list(set, "pickled") as [string, Uint8Array][],
  };
}

function isRecord(value: unknown): value is Record<string, number> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function count(head: PipeHead, name: string): number {
  const value = head[name];
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new PipeError(`${name} is not a count`);
  return value as number;
}

function list(head: PipeHead, name: string): unknown[] {
  const value = head[name];
  if (!Array.isArray(value)) throw new PipeError(`${name} is not a list`);
  return value;
}

function bytes(section: Buffer | undefined): Buffer {
  if (section === undefined) throw new PipeError("a message with too few sections");
  return section;
}

function u32(section: Buffer | undefined): Uint32Array {
  const { buffer, byteOffset, byteLength } = bytes(section);
  if (byteOffset % 4 !== 0 || byteLength % 4 !== 0) throw new PipeError("an array of u32 that is cut off");
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}
