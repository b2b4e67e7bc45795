import { packValue } from "../../src/protocol/msgpack.ts";
import { Serialized, WireMap, type WireValue } from "../../src/protocol/values.ts";

/**
 * The pickles that a zero worker sends. Nothing is ever pickled: there are two forms, a number and an exception
 * with a text, and both are written by hand.
 */

/** `pickle.dumps(42, protocol=5)`: the value of every key, as in the paper. */
const PICKLED_42 = Uint8Array.of(0x80, 0x05, 0x4b, 0x2a, 0x2e);

/** The sub-header of a value pickled into one frame, as real workers send it with `get_data`, and clients with tasks. */
export const PICKLE_HEADER = packValue(
  WireMap.of({
    serializer: "pickle",
    writeable: [],
    "split-num-sub-frames": [1],
    "split-offsets": [0],
    compression: [null],
    "num-sub-frames": 1,
  }),
);

/** The sub-header of a bytes object: real workers send exceptions as the bytes of their pickle. */
const BYTES_HEADER = packValue(
  WireMap.of({
    "sub-header": WireMap.of({}),
    type: "bytes",
    "type-serialized": Uint8Array.from(
      Buffer.from("80059516000000000000008c086275696c74696e73948c0562797465739493942e", "hex"),
    ),
    serializer: "dask",
    "split-num-sub-frames": [1],
    "split-offsets": [0],
    compression: [null],
    "num-sub-frames": 1,
  }),
);

/** What a zero worker's key is worth to whoever gathers it. */
export function resultValue(): Serialized {
  return new Serialized(PICKLE_HEADER, [PICKLED_42]);
}

/** A `RuntimeError(text)` in the form in which real workers send exceptions. */
export function exceptionValue(text: string): Serialized {
  const body = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  const pickle = Buffer.concat([
    Buffer.from("\x80\x05\x8c\x08builtins\x8c\x0cRuntimeError\x93X", "latin1"),
    length,
    body,
    Buffer.from("\x85R.", "latin1"),
  ]);
  return new Serialized(BYTES_HEADER, [pickle]);
}

/** An error reply as distributed's `error_message` makes it; clients raise the exception. */
export function errorReply(text: string, status = "error"): WireMap {
  return WireMap.of({
    status,
    exception: exceptionValue(text),
    traceback: null,
    exception_text: `RuntimeError(${JSON.stringify(text)})`,
    traceback_text: "",
  });
}

/** `{status: "OK", …}`. */
export function okReply(fields: Readonly<Record<string, WireValue>> = {}): WireMap {
  return WireMap.of({ status: "OK", ...fields });
}
