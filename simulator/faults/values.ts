import { packValue } from "../../src/protocol/msgpack.ts";
import { Serialized, WireMap } from "../../src/protocol/values.ts";

/** A number that stands for a task's result: it follows from the key and from the results that it was made of. */
export function resultOf(key: string, inputs: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  for (const input of inputs) hash = Math.imul(hash ^ input, 0x01000193);
  return hash >>> 0;
}

const SUB_HEADER = packValue(
  WireMap.of({
    serializer: "pickle",
    writeable: [],
    "num-sub-frames": 1,
    "split-num-sub-frames": [1],
    "split-offsets": [0],
  }),
);

/** As it goes over the wire: opaque to the scheduler. */
export function serialized(result: number): Serialized {
  const frame = Buffer.alloc(4);
  frame.writeUInt32LE(result);
  return new Serialized(SUB_HEADER, [frame]);
}

/** Undefined: no value of this world. */
export function deserialized(value: unknown): number | undefined {
  if (!(value instanceof Serialized) || value.frames.length !== 1 || value.frames[0]?.length !== 4)
    return undefined;
  return Buffer.from(value.frames[0]).readUInt32LE();
}
