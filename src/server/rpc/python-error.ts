import { packValue } from "../../protocol/msgpack.ts";
import { Pickled, Serialized, WireMap, type WireValue } from "../../protocol/values.ts";

/** Exceptions that clients tell apart by type. Every Python that Dask runs on can import them. */
const MODULES = {
  AttributeError: "builtins",
  Exception: "builtins",
  KeyError: "builtins",
  MemoryError: "builtins",
  NotImplementedError: "builtins",
  OSError: "builtins",
  RuntimeError: "builtins",
  TypeError: "builtins",
  ValueError: "builtins",
  // What workers of a P2P shuffle expect.
  P2PConsistencyError: "distributed.shuffle._exceptions",
  // What Dask raises where a peer cannot be reached or broke off: an OSError.
  CommClosedError: "distributed.comm.core",
  // The same class as the built-in one from Python 3.11 on, and the one that callers catch before.
  TimeoutError: "asyncio.exceptions",
} as const;
export type PythonErrorName = keyof typeof MODULES;

/** Thrown by a handler: the caller gets a Python exception of this type with this text. */
export class PythonError extends Error {
  override readonly name = "PythonError";
  readonly python_name: PythonErrorName;

  constructor(python_name: PythonErrorName, text: string) {
    super(text);
    this.python_name = python_name;
  }
}

/** A handler of a worker failed: whoever asked through us is to see that very exception, type and traceback included. */
export class RemoteError extends PythonError {
  /** The worker's `uncaught-error`, its exception unopened. */
  readonly reply: WireMap;

  constructor(reply: WireMap) {
    const text = reply.get("exception_text");
    super("Exception", typeof text === "string" ? text : "a request to a worker failed");
    this.reply = reply;
  }
}

/** The reply to a request whose handler failed, as distributed's `error_message(status="uncaught-error")`. */
export function uncaughtError(error: PythonError): WireMap {
  if (error instanceof RemoteError && error.reply.has("exception")) return error.reply;
  return WireMap.of({
    status: "uncaught-error",
    exception: pickledException(error.python_name, error.message),
    traceback: null,
    exception_text: `${error.python_name}(${pythonRepr(error.message)})`,
    traceback_text: "",
  });
}

/** An exception as a value inside a message, which 2024 and later unpickle on arrival. */
export function exceptionValue(error: PythonError): WireValue {
  const pickle = exceptionPickle(error);
  const header = WireMap.of({ "pickled-obj": pickle, compression: [], "num-sub-frames": 0 });
  return new Pickled(packValue(header), []);
}

/** The pickle of the exception that the error stands for. */
export function exceptionPickle(error: PythonError): Uint8Array {
  const exception = error instanceof RemoteError ? error.reply.get("exception") : null;
  if (exception instanceof Uint8Array) return exception;
  // Bytes, serialized as such: the frames are the pickle.
  if (exception instanceof Serialized) return Buffer.concat(exception.frames);
  return pickledException(error.python_name, error.message);
}

/**
 * `pickle.dumps(name(text))`, written out: the opcodes PROTO 4, GLOBAL, BINUNICODE, TUPLE1, REDUCE, STOP, whose
 * meaning is fixed for all time. So an error keeps its type without a Python at hand.
 */
export function pickledException(name: PythonErrorName, text: string): Uint8Array {
  const head = Buffer.from(`\x80\x04c${MODULES[name]}\n${name}\n`, "latin1");
  const bytes = Buffer.from(text, "utf8");
  const length = Buffer.alloc(5);
  length.write("X", "latin1");
  length.writeUInt32LE(bytes.byteLength, 1);
  return Buffer.concat([head, length, bytes, Buffer.from("\x85R.", "latin1")]);
}

function pythonRepr(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\n", "\\n")}'`;
}
