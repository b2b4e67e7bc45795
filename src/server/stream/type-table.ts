import { NONE } from "../../base/ids.ts";

/** Distinct types beyond this many are not remembered: a hostile worker could send a new one with each report. */
const TYPES_MAX = 1 << 16;
/** Nor those that would make the table larger than this: a type that is defined in a script is pickled by value. */
const TYPES_BYTES_MAX = 64 * 1024 * 1024;
const NIL = Uint8Array.of(0xc0);

/**
 * The pickled types of results, each kept once: msgpack bytes of the byte string, and of its name. Tasks carry the
 * number. A program has few types, and neighbours mostly the same, so the last one is tried before any look-up.
 */
export class TypeTable {
  readonly #types: Uint8Array[] = [];
  readonly #names: string[] = [];
  readonly #by_text = new Map<string, number>();
  #last = NONE;
  #bytes = 0;

  /** {@link intern} for a type and a name that do not lie in one buffer. */
  internValue(type: Uint8Array, name: string): number {
    const bytes = Buffer.concat([type, Buffer.from(name)]);
    return this.intern(bytes, 0, type.length, type.length, bytes.length);
  }

  /** The number of the type whose msgpack bytes are `bytes[start … end)`; NONE when the table is full. */
  intern(bytes: Buffer, start: number, end: number, name_start: number, name_end: number): number {
    if (this.#last !== NONE && equal(this.#types[this.#last]!, bytes, start, end)) return this.#last;
    const text = bytes.latin1Slice(start, end);
    let type = this.#by_text.get(text);
    if (type === undefined) {
      const total = this.#bytes + end - start + name_end - name_start;
      if (this.#types.length >= TYPES_MAX || total > TYPES_BYTES_MAX) return NONE;
      this.#bytes = total;
      type = this.#types.length;
      this.#types.push(Uint8Array.from(bytes.subarray(start, end)));
      this.#names.push(bytes.utf8Slice(name_start, name_end));
      this.#by_text.set(text, type);
    }
    this.#last = type;
    return type;
  }

  /** msgpack of the pickled type, nil where there is none. */
  bytes(type: number): Uint8Array {
    return this.#types[type] ?? NIL;
  }

  /** The type's name, such as `int`; empty where it is not known. */
  name(type: number): string {
    return this.#names[type] ?? "";
  }
}

function equal(own: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (own.length !== end - start) return false;
  for (let i = 0; i < own.length; i++) if (own[i] !== bytes[start + i]) return false;
  return true;
}
