/**
 * A value as Dask's wire can hold it: nothing is lost between decoding and encoding.
 * Integers are `number` up to ±2^53 and `bigint` beyond; floats are `number` where JavaScript can tell them from an
 * integer (fractions, NaN, infinities), else {@link WireFloat}. Tuples and lists are both arrays on the wire.
 */
export type WireValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | WireFloat
  | WireValue[]
  | WireMap
  | WireSet
  | WireEnum
  | Serialized
  | Pickled
  | RawValue;

/** A float64 that a plain number would turn into an integer on the wire: 1.0, -0.0, 1e300. */
export class WireFloat {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Maps up to this many entries are searched one by one; for larger ones an index is made on the first get(). */
const INDEX_FROM = 12;

/** A map that keeps the order of its entries and takes keys of any kind, tuples and floats among them. */
export class WireMap {
  readonly keys: WireValue[];
  readonly values: WireValue[];
  #index: Map<string, number> | null = null;
  /** Entries that the index knows: `keys` is open to its owner, and may have grown since. */
  #indexed = 0;

  /** Takes ownership of both arrays, which must be of one length. */
  constructor(keys: WireValue[] = [], values: WireValue[] = []) {
    this.keys = keys;
    this.values = values;
  }

  static of(record: Readonly<Record<string, WireValue>>): WireMap {
    return new WireMap(Object.keys(record), Object.values(record));
  }

  static from(entries: Iterable<readonly [WireValue, WireValue]>): WireMap {
    const map = new WireMap();
    for (const [key, value] of entries) {
      map.keys.push(key);
      map.values.push(value);
    }
    return map;
  }

  get size(): number {
    return this.keys.length;
  }

  /** The value under a string key; of equal keys the last one counts, as in Python. */
  get(name: string): WireValue | undefined {
    const at = this.#find(name);
    return at < 0 ? undefined : this.values[at];
  }

  has(name: string): boolean {
    return this.#find(name) >= 0;
  }

  /** Changes the value under a string key in its place, or adds it at the end. */
  set(name: string, value: WireValue): this {
    const at = this.#find(name);
    if (at >= 0) {
      this.values[at] = value;
      return this;
    }
    this.keys.push(name);
    this.values.push(value);
    return this;
  }

  #find(name: string): number {
    const keys = this.keys;
    if (keys.length <= INDEX_FROM) return keys.lastIndexOf(name);
    this.#index ??= new Map();
    for (; this.#indexed < keys.length; this.#indexed++) {
      const key = keys[this.#indexed];
      if (typeof key === "string") this.#index.set(key, this.#indexed);
    }
    return this.#index.get(name) ?? -1;
  }
}

/** A Python set: `{"__Set__": true, "as-list": […]}`. */
export class WireSet {
  readonly items: WireValue[];

  constructor(items: WireValue[]) {
    this.items = items;
  }
}

/** A member of a Python enum: `{"__Enum__": true, name, __module__, __name__}`. */
export class WireEnum {
  /** The member's name. */
  readonly name: string;
  readonly module: string;
  /** The class's name, `__name__` on the wire. */
  readonly qualname: string;

  constructor(name: string, module: string, qualname: string) {
    this.name = name;
    this.module = module;
    this.qualname = qualname;
  }
}

/** A serialized object: the msgpack bytes of its sub-header and its payload frames, passed on and never opened. */
export class Serialized {
  readonly header: Uint8Array;
  readonly frames: Uint8Array[];

  constructor(header: Uint8Array, frames: Uint8Array[]) {
    this.header = header;
    this.frames = frames;
  }
}

/** A pickled object (`__Pickled__`): its receiver unpickles it at once; otherwise as {@link Serialized}. */
export class Pickled {
  readonly header: Uint8Array;
  readonly frames: Uint8Array[];

  constructor(header: Uint8Array, frames: Uint8Array[]) {
    this.header = header;
    this.frames = frames;
  }
}

/** Only for encoding: one msgpack value that is ready already. */
export class RawValue {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** The number that a value stands for, or undefined if it is none. A bigint loses what a float64 cannot hold. */
export function toNumber(value: WireValue | undefined): number | undefined {
  if (typeof value === "number") return value;
  if (value instanceof WireFloat) return value.value;
  if (typeof value === "bigint") return Number(value);
  return undefined;
}
