import { ProtocolError } from "./errors.ts";
import type { FramedMessage } from "./frames.ts";
import { skipValue, UNPACK_LIMITS, Unpacker, type UnpackHooks, type UnpackLimits } from "./msgpack.ts";
import { Packer } from "./packer.ts";
import { Pickled, Serialized, WireEnum, type WireMap, WireSet, type WireValue } from "./values.ts";

/**
 * Frame 0 as a value, its placeholders replaced: sets and enums by values of their own, serialized and pickled
 * payloads by their sub-header and frames, which are views of the message and stay unopened. If the message's bytes
 * do not stay, they are copied once as soon as the value would refer to them: the value may always be kept.
 * Throws ProtocolError.
 */
export function decodeMessage(message: FramedMessage, limits: UnpackLimits = UNPACK_LIMITS): WireValue {
  const decoder = new PlaceholderDecoder(message);
  const unpacker = new Unpacker(message.bytes, message.frameStart(0), message.frameEnd(0), limits, decoder);
  return unpacker.whole();
}

/** The frames of a message, frame 0 first; payloads follow in the order in which the value names them. */
export function encodeMessage(value: WireValue): Uint8Array[] {
  const frames: Uint8Array[] = [NO_BYTES];
  packer.reset(frames);
  packer.value(value);
  frames[0] = packer.take();
  return frames;
}

/** Packing calls nobody back, so one packer serves every message; what a throw left behind, the next reset drops. */
const packer = new Packer(16 * 1024);

/**
 * {@link encodeMessage} for a value that is put into a message of several: its own frames are numbered from
 * `first_frame` on. Answers its part of frame 0, then its frames.
 */
export function encodeMessagePart(value: WireValue, first_frame: number): Uint8Array[] {
  const frames = new Array<Uint8Array>(first_frame).fill(NO_BYTES);
  const packer = new Packer(512, frames);
  packer.value(value);
  return [packer.view(), ...frames.slice(first_frame)];
}

/** {@link decodeMessage} for the one value that frame 0 has at bytes `start` … `end` of the message's buffer. */
export function decodeMessagePart(message: FramedMessage, start: number, end: number): WireValue {
  return new PartDecoder(message).decode(start, end);
}

/** Decodes values of one message's frame 0, one by one: what they share (a copy of the frames) is made once. */
export class PartDecoder {
  readonly #bytes: Buffer;
  readonly #hooks: PlaceholderDecoder;

  constructor(message: FramedMessage) {
    this.#bytes = message.bytes;
    this.#hooks = new PlaceholderDecoder(message);
  }

  /** The value at bytes `start` … `end`, which must be all of it. Throws ProtocolError. */
  decode(start: number, end: number): WireValue {
    return new Unpacker(this.#bytes, start, end, UNPACK_LIMITS, this.#hooks).whole();
  }
}

const NO_BYTES = new Uint8Array(0);

class PlaceholderDecoder implements UnpackHooks {
  readonly #message: FramedMessage;
  /** The message itself, or once it is needed a copy, if its bytes do not stay. */
  #kept: FramedMessage | null = null;
  /** Frames not yet named by a placeholder. Each may be named once, so that few bytes cannot ask for many views. */
  #frames_left: number;

  constructor(message: FramedMessage) {
    this.#message = message;
    this.#frames_left = message.frame_count - 1;
  }

  bin(_bytes: Buffer, start: number, end: number): Uint8Array {
    const kept = this.#keep();
    const shift = kept.start - this.#message.start;
    return kept.bytes.subarray(start + shift, end + shift);
  }

  map(map: WireMap): WireValue {
    const name = map.keys[0];
    if (typeof name !== "string" || !name.startsWith("__")) return map;
    if (map.size === 1) return this.#payload(name, map);
    if (name === "__Set__" && map.size === 2) return toSet(map);
    if (name === "__Enum__" && map.size === 4) return toEnum(map);
    return map;
  }

  #payload(name: string, map: WireMap): WireValue {
    const index = map.values[0];
    // Index 0, true, or anything else is no reference: Dask leaves such a map alone.
    if (typeof index !== "number" || index <= 0) return map;
    if (name === "__Serialized__") return new Serialized(this.#header(index), this.#payloadFrames(index));
    if (name === "__Pickled__") return new Pickled(this.#header(index), this.#payloadFrames(index));
    return map;
  }

  #header(index: number): Uint8Array {
    if (index >= this.#message.frame_count) {
      throw new ProtocolError("BAD_FRAME_REFERENCE", `frame ${index} of ${this.#message.frame_count}`);
    }
    return this.#keep().frame(index);
  }

  #payloadFrames(index: number): Uint8Array[] {
    const message = this.#keep();
    const count = subFrameCount(message.bytes, message.frameStart(index), message.frameEnd(index));
    this.#frames_left -= 1 + count;
    if (count > message.frame_count - 1 - index || this.#frames_left < 0) {
      throw new ProtocolError("BAD_FRAME_REFERENCE", `${count} frames after frame ${index}`);
    }
    const frames: Uint8Array[] = [];
    for (let i = index + 1; i <= index + count; i++) frames.push(message.frame(i));
    return frames;
  }

  #keep(): FramedMessage {
    this.#kept ??= this.#message.own();
    return this.#kept;
  }
}

function toSet(map: WireMap): WireValue {
  const items = map.get("as-list");
  return map.values[0] === true && Array.isArray(items) ? new WireSet(items) : map;
}

function toEnum(map: WireMap): WireValue {
  const name = map.get("name");
  const module = map.get("__module__");
  const qualname = map.get("__name__");
  if (typeof name !== "string" || typeof module !== "string" || typeof qualname !== "string") return map;
  return map.values[0] === true ? new WireEnum(name, module, qualname) : map;
}

/**
 * `num-sub-frames` of a sub-header. The header is walked, not decoded: that of a pickled object holds the pickle.
 */
function subFrameCount(bytes: Buffer, start: number, end: number): number {
  const header = new MapWalk(bytes, start, end);
  for (let i = 0; i < header.count; i++) {
    const found = header.nextIs(NUM_SUB_FRAMES);
    const value = header.skip();
    if (!found) continue;
    const count = new Unpacker(bytes, value, header.position, UNPACK_LIMITS, null).value();
    if (typeof count === "number" && Number.isInteger(count) && count >= 0) return count;
    break;
  }
  throw new ProtocolError("BAD_SUB_HEADER", "a sub-header without num-sub-frames");
}

/** `num-sub-frames` as msgpack has it: a short string. */
const NUM_SUB_FRAMES = Buffer.from("\xaenum-sub-frames", "latin1");

/** Steps over the entries of a msgpack map. */
class MapWalk {
  readonly count: number;
  position: number;
  readonly #bytes: Buffer;
  readonly #end: number;

  constructor(bytes: Buffer, start: number, end: number) {
    const type = start < end ? bytes[start]! : 0;
    if (type >= 0x80 && type < 0x90) {
      this.count = type & 0x0f;
      this.position = start + 1;
    } else if (type === 0xde && end - start >= 3) {
      this.count = bytes.readUInt16BE(start + 1);
      this.position = start + 3;
    } else throw new ProtocolError("BAD_SUB_HEADER", "a sub-header that is not a map");
    this.#bytes = bytes;
    this.#end = end;
  }

  /** Steps over a key and tells whether it is the one given as msgpack. */
  nextIs(key: Buffer): boolean {
    const start = this.skip();
    return this.position - start === key.length && key.compare(this.#bytes, start, this.position) === 0;
  }

  /** Steps over a value and gives its start. */
  skip(): number {
    const start = this.position;
    this.position = skipValue(this.#bytes, start, this.#end);
    return start;
  }
}
