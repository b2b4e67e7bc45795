import { Packer, packValue } from "../../src/protocol/msgpack.ts";
import { PICKLE_HEADER } from "./answers.ts";

/** The part of a workload that a graph message is made of (`simulator/workloads`). */
export interface GraphSource {
  readonly tasks: number;
  /** The text of a task's key. */
  key(task: number): string;
  /** The dependencies of task i are `dependency_ids[dependency_offsets[i]] …` up to the next offset. */
  readonly dependency_offsets: ArrayLike<number>;
  readonly dependency_ids: ArrayLike<number>;
  /** Tasks whose result the client wants. */
  readonly wanted: ArrayLike<number>;
}

/** The same as plain data, which can be posted to a thread. */
export interface GraphData {
  readonly tasks: number;
  /** The keys' UTF-8 texts, one after the other; key i ends where i + 1 begins. */
  readonly key_texts: Uint8Array;
  readonly key_offsets: Float64Array;
  readonly dependency_offsets: Float64Array;
  readonly dependency_ids: Uint32Array;
  readonly wanted: Uint32Array;
  /** A client's order: one priority a task; null leaves ordering to the scheduler. */
  readonly priorities: Float64Array | null;
}

/** The priorities that a client gives the tasks of a workload: its ids are in the order of `dask.order`. */
export function clientOrder(tasks: number): Float64Array {
  return Float64Array.from({ length: tasks }, (_, task) => task);
}

/** Packs a workload. `priorities` as in {@link GraphData}. */
export function packGraph(source: GraphSource, priorities: ArrayLike<number> | null): GraphData {
  const key_offsets = new Float64Array(source.tasks + 1);
  let texts = Buffer.allocUnsafe(32 * source.tasks + 1024);
  let used = 0;
  for (let task = 0; task < source.tasks; task++) {
    const key = source.key(task);
    if (used + 3 * key.length > texts.length) {
      const larger = Buffer.allocUnsafe(2 * (used + 3 * key.length));
      texts.copy(larger, 0, 0, used);
      texts = larger;
    }
    const length = texts.write(key, used);
    if (length > KEY_BYTES_MAX) throw new RangeError(`a key of ${length} bytes`);
    used += length;
    key_offsets[task + 1] = used;
  }
  return {
    tasks: source.tasks,
    key_texts: Uint8Array.from(texts.subarray(0, used)),
    key_offsets,
    dependency_offsets: Float64Array.from(source.dependency_offsets),
    dependency_ids: Uint32Array.from(source.dependency_ids),
    wanted: Uint32Array.from(source.wanted),
    priorities: priorities === null ? null : Float64Array.from(priorities),
  };
}

/** Longer ones, with a suffix, would need a longer msgpack header than is written here. */
const KEY_BYTES_MAX = 60_000;
/** The size of the pickles that Dask's client makes of an imported function with its arguments. */
const PAYLOAD_BYTES = 190;
/** Sub-headers and payloads repeat: a block of them is sent as often as it takes, so memory does not grow. */
const BLOCK_TASKS = 4096;
const SERIALIZED = Buffer.from("\x81\xae__Serialized__\xce", "latin1");
const EMPTY_SET = Buffer.from("\x82\xa7__Set__\xc3\xa7as-list", "latin1");

/**
 * Writes a workload as 2022.12's `update-graph-hlg` of one materialized layer, again and again with fresh keys.
 * What does not depend on the keys' suffix (payload frames, their lengths, the bare keys) is made once.
 */
export class GraphMessage {
  readonly #graph: GraphData;
  readonly #lengths: Uint8Array;
  readonly #payload_chunks: readonly Uint8Array[];

  constructor(graph: GraphData) {
    this.#graph = graph;
    this.#lengths = frameLengths(graph.tasks);
    this.#payload_chunks = payloadChunks(graph.tasks);
  }

  /** The framed message of one submission, in chunks; keys end in `suffix`, which must be ASCII. */
  chunks(suffix: string): Uint8Array[] {
    const frame = this.#frame(suffix);
    const payload_bytes = this.#graph.tasks * (PICKLE_HEADER.length + PAYLOAD_BYTES);
    const frame_count = 1 + 2 * this.#graph.tasks;
    const prelude = Buffer.alloc(24);
    writeU64(prelude, 0, 8 + 8 * frame_count + frame.length + payload_bytes);
    writeU64(prelude, 8, frame_count);
    writeU64(prelude, 16, frame.length);
    return [prelude, this.#lengths, frame, ...this.#payload_chunks];
  }

  /** The canonical msgpack bytes of the wanted keys in a submission. */
  wantedKeys(suffix: string): Uint8Array[] {
    const { key_texts, key_offsets, wanted } = this.#graph;
    const texts = Buffer.from(key_texts.buffer, key_texts.byteOffset, key_texts.byteLength);
    return Array.from(wanted, (task) =>
      packValue(texts.toString("utf8", key_offsets[task]!, key_offsets[task + 1]!) + suffix),
    );
  }

  #frame(suffix: string): Uint8Array {
    const { tasks, wanted } = this.#graph;
    const out = new FrameWriter(this.#graph, suffix);
    out.packer((p) => {
      p.arrayHeader(1);
      p.mapHeader(8);
      p.str("op");
      p.str("update-graph-hlg");
      p.str("hlg");
      p.mapHeader(1);
      p.str("layers");
      p.arrayHeader(1);
      p.mapHeader(4);
      p.str("__module__");
      p.str("dask.highlevelgraph");
      p.str("__name__");
      p.str("MaterializedLayer");
      p.str("state");
      p.mapHeader(2);
      p.str("dsk");
      p.mapHeader(tasks);
    });
    for (let task = 0; task < tasks; task++) out.placeholder(task);
    this.#dependencies(out);
    out.packer((p) => {
      p.str("annotations");
      p.mapHeader(0);
      p.str("keys");
      p.arrayHeader(wanted.length);
    });
    for (let i = 0; i < wanted.length; i++) out.key(wanted[i]!);
    this.#priority(out);
    out.packer((p) => {
      p.str("submitting_task");
      p.nil();
      p.str("fifo_timeout");
      p.str("60s");
      p.str("actors");
      p.nil();
      p.str("code");
      p.str("");
    });
    return out.take();
  }

  #dependencies(out: FrameWriter): void {
    const { tasks, dependency_offsets, dependency_ids } = this.#graph;
    out.packer((p) => {
      p.str("dependencies");
      p.mapHeader(tasks);
    });
    for (let task = 0; task < tasks; task++) {
      const end = dependency_offsets[task + 1]!;
      const first = dependency_offsets[task]!;
      out.key(task);
      out.setHeader(end - first);
      for (let i = first; i < end; i++) out.key(dependency_ids[i]!);
    }
  }

  #priority(out: FrameWriter): void {
    const { priorities, tasks } = this.#graph;
    if (priorities === null) {
      out.packer((p) => {
        p.str("priority");
        p.nil();
      });
      return;
    }
    out.packer((p) => {
      p.str("priority");
      p.mapHeader(tasks);
    });
    for (let task = 0; task < tasks; task++) {
      out.key(task);
      out.int(priorities[task]!);
    }
  }
}

/** A growing buffer; the loops over all tasks write bytes, everything else goes through the packer. */
class FrameWriter {
  readonly #texts: Uint8Array;
  readonly #offsets: Float64Array;
  readonly #suffix: Buffer;
  readonly #packer = new Packer();
  #out = Buffer.allocUnsafe(2 ** 20);
  #at = 0;

  constructor(graph: GraphData, suffix: string) {
    this.#texts = graph.key_texts;
    this.#offsets = graph.key_offsets;
    this.#suffix = Buffer.from(suffix, "latin1");
  }

  packer(write: (packer: Packer) => void): void {
    write(this.#packer);
    const bytes = this.#packer.take();
    this.#reserve(bytes.length);
    this.#out.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  key(task: number): void {
    const first = this.#offsets[task]!;
    const length = this.#offsets[task + 1]! - first;
    const suffix = this.#suffix;
    this.#reserve(5 + length + suffix.length);
    const out = this.#out;
    let at = writeTextHeader(out, this.#at, length + suffix.length);
    const texts = this.#texts;
    for (let i = 0; i < length; i++) out[at++] = texts[first + i]!;
    for (let i = 0; i < suffix.length; i++) out[at++] = suffix[i]!;
    this.#at = at;
  }

  /** `key: {"__Serialized__": frame}`: task i has frames 1 + 2i (sub-header) and 2 + 2i. */
  placeholder(task: number): void {
    this.key(task);
    this.#reserve(SERIALIZED.length + 4);
    for (let i = 0; i < SERIALIZED.length; i++) this.#out[this.#at++] = SERIALIZED[i]!;
    this.#word(1 + 2 * task);
  }

  /** The beginning of a set of `count` keys. */
  setHeader(count: number): void {
    this.#reserve(EMPTY_SET.length + 5);
    for (let i = 0; i < EMPTY_SET.length; i++) this.#out[this.#at++] = EMPTY_SET[i]!;
    if (count < 16) this.#out[this.#at++] = 0x90 | count;
    else {
      this.#out[this.#at++] = 0xdd;
      this.#word(count);
    }
  }

  int(value: number): void {
    this.#reserve(5);
    if (value >= 0 && value < 128) this.#out[this.#at++] = value;
    else {
      this.#out[this.#at++] = value < 0 ? 0xd2 : 0xce;
      this.#word(value);
    }
  }

  take(): Uint8Array {
    return this.#out.subarray(0, this.#at);
  }

  #word(value: number): void {
    this.#out[this.#at++] = value >>> 24;
    this.#out[this.#at++] = value >>> 16;
    this.#out[this.#at++] = value >>> 8;
    this.#out[this.#at++] = value;
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#out.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#at + length));
    this.#out.copy(larger, 0, 0, this.#at);
    this.#out = larger;
  }
}

function writeTextHeader(out: Buffer, at: number, length: number): number {
  if (length < 32) {
    out[at] = 0xa0 | length;
    return at + 1;
  }
  if (length < 256) {
    out[at] = 0xd9;
    out[at + 1] = length;
    return at + 2;
  }
  out[at] = 0xda;
  out.writeUInt16BE(length, at + 1);
  return at + 3;
}

/** The lengths of all frames but the first. */
function frameLengths(tasks: number): Uint8Array {
  const lengths = new BigUint64Array(2 * tasks);
  for (let task = 0; task < tasks; task++) {
    lengths[2 * task] = BigInt(PICKLE_HEADER.length);
    lengths[2 * task + 1] = BigInt(PAYLOAD_BYTES);
  }
  return new Uint8Array(lengths.buffer);
}

/** The payload frames: sub-header and pickle in turn. The pickle is of a bytes object, and loads anywhere. */
function payloadChunks(tasks: number): Uint8Array[] {
  const body_bytes = PAYLOAD_BYTES - 5; // two bytes of protocol, two of the opcode, one of the end
  const pickle = Buffer.concat([
    Buffer.of(0x80, 0x05, 0x43, body_bytes),
    Buffer.alloc(body_bytes),
    Buffer.from("."),
  ]);
  const pair = Buffer.concat([PICKLE_HEADER, pickle]);
  const block = Buffer.alloc(pair.length * Math.min(BLOCK_TASKS, tasks), pair);
  const chunks: Uint8Array[] = [];
  for (let left = tasks; left > 0; left -= BLOCK_TASKS) {
    chunks.push(block.subarray(0, pair.length * Math.min(left, BLOCK_TASKS)));
  }
  return chunks;
}

function writeU64(out: Buffer, at: number, value: number): void {
  out.writeUInt32LE(value % 2 ** 32, at);
  out.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
