import { WireFloat, WireMap, WireSet, type WireValue } from "../../protocol/values.ts";

/** A class or function, by its module and name. */
class Global {
  readonly module: string;
  readonly name: string;

  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }
}

/** A call; with keyword arguments it goes by way of `functools.partial`, since a pickle calls with positions alone. */
class Call {
  readonly callee: Global;
  readonly args: readonly PickleValue[];
  readonly kwargs: Readonly<Record<string, PickleValue>> | null;

  constructor(
    callee: Global,
    args: readonly PickleValue[],
    kwargs: Readonly<Record<string, PickleValue>> | null = null,
  ) {
    this.callee = callee;
    this.args = args;
    this.kwargs = kwargs;
  }
}

type PickleValue = WireValue | Global | Call;

const PARTIAL = new Global("functools", "partial");
const INT_32 = 2 ** 31;

/**
 * Writes pickles of protocol 4 by hand: their opcodes are fixed for all time, so that exceptions of Dask's own classes
 * reach clients without a Python at hand.
 */
class PickleWriter {
  readonly #chunks: Uint8Array[] = [Uint8Array.of(0x80, 4)];

  value(value: PickleValue): void {
    if (value === null) this.#op("N");
    else if (typeof value === "boolean") this.#op(value ? "\x88" : "\x89");
    else if (typeof value === "string") this.#text(value);
    else if (typeof value === "bigint") this.#op(`I${value}\n`);
    else if (typeof value === "number") this.#number(value);
    else if (value instanceof WireFloat) this.#float(value.value);
    else if (value instanceof Uint8Array) this.#bytes(value);
    else if (Array.isArray(value)) this.#tuple(value);
    else if (value instanceof WireMap) this.#dict(value.keys, value.values);
    else if (value instanceof WireSet) this.#set(value.items);
    else if (value instanceof Global) this.#op(`c${value.module}\n${value.name}\n`);
    else if (value instanceof Call) this.#call(value);
    else throw new TypeError("a value that is not pickled here");
  }

  finish(): Uint8Array {
    this.#op(".");
    return Buffer.concat(this.#chunks);
  }

  #op(text: string): void {
    this.#chunks.push(Buffer.from(text, "latin1"));
  }

  #number(value: number): void {
    if (!Number.isInteger(value)) this.#float(value);
    else if (value < -INT_32 || value >= INT_32) this.#op(`I${value}\n`);
    else {
      const bytes = Buffer.alloc(5, "J");
      bytes.writeInt32LE(value, 1);
      this.#chunks.push(bytes);
    }
  }

  #float(value: number): void {
    const bytes = Buffer.alloc(9, "G");
    bytes.writeDoubleBE(value, 1);
    this.#chunks.push(bytes);
  }

  #text(value: string): void {
    this.#sized("X", Buffer.from(value, "utf8"));
  }

  #bytes(value: Uint8Array): void {
    this.#sized("B", value);
  }

  #sized(op: string, bytes: Uint8Array): void {
    const head = Buffer.alloc(5, op);
    head.writeUInt32LE(bytes.length, 1);
    this.#chunks.push(head, bytes);
  }

  #tuple(items: readonly PickleValue[]): void {
    this.#op("(");
    for (const item of items) this.value(item);
    this.#op("t");
  }

  #dict(keys: readonly PickleValue[], values: readonly PickleValue[]): void {
    this.#op("}(");
    keys.forEach((key, i) => {
      this.value(key);
      this.value(values[i]!);
    });
    this.#op("u");
  }

  #set(items: readonly PickleValue[]): void {
    this.#op("\x8f(");
    for (const item of items) this.value(item);
    this.#op("\x90");
  }

  #call({ callee, args, kwargs }: Call): void {
    if (kwargs === null) {
      this.value(callee);
      this.#tuple(args);
      this.#op("R");
      return;
    }
    // partial(callee), its state set to (callee, args, kwargs, None), then called with nothing.
    this.value(PARTIAL);
    this.#tuple([callee]);
    this.#op("R(");
    this.value(callee);
    this.#tuple(args);
    this.#dict(Object.keys(kwargs), Object.values(kwargs));
    this.#op("Ntb)R");
  }
}

function pickle(value: PickleValue): Uint8Array {
  const writer = new PickleWriter();
  writer.value(value);
  return writer.finish();
}

/** The worker that KilledWorker names. */
export interface LastWorker {
  readonly address: string;
  readonly name: WireValue;
  readonly pid: number;
  readonly nthreads: number;
  readonly memory_limit_bytes: number;
  readonly local_directory: string;
  readonly nanny: string | null;
  readonly server_id: string;
}

/** `KilledWorker(task, last_worker, allowed_failures)`. */
export function killedWorker(task: WireValue, worker: LastWorker, allowed_failures: number): Uint8Array {
  const state = new Call(new Global("distributed.scheduler", "WorkerState"), [], {
    address: worker.address,
    status: new Call(new Global("distributed.core", "Status"), ["closed"]),
    pid: worker.pid,
    name: worker.name,
    nthreads: worker.nthreads,
    memory_limit: worker.memory_limit_bytes,
    local_directory: worker.local_directory,
    nanny: worker.nanny,
    server_id: worker.server_id,
  });
  return pickle(
    new Call(new Global("distributed.scheduler", "KilledWorker"), [task, state, allowed_failures]),
  );
}

/** `NoValidWorkerError(task, host, worker and resource restrictions, timeout)`. */
export function noValidWorkerError(
  task: WireValue,
  workers: ReadonlySet<string> | null,
  resources: ReadonlyMap<string, number> | null,
  timeout_s: number,
): Uint8Array {
  const restrictions = [new WireSet([]), new WireSet([...(workers ?? [])]), WireMap.from(resources ?? [])];
  const args = [task, ...restrictions, new WireFloat(timeout_s)];
  return pickle(new Call(new Global("distributed.scheduler", "NoValidWorkerError"), args));
}

/** `NoWorkerError(task, timeout)`. */
export function noWorkerError(task: WireValue, timeout_s: number): Uint8Array {
  const args = [task, new WireFloat(timeout_s)];
  return pickle(new Call(new Global("distributed.scheduler", "NoWorkerError"), args));
}
