import { keySplit } from "../base/key-split.ts";

/** The names under which Dask counts a task with others: `('sum-1a2b', 0)` is of group `sum-1a2b`, prefix `sum`. */
export interface KeyNames {
  readonly group: string;
  readonly prefix: string;
}

const OTHER: KeyNames = { group: "Other", prefix: "Other" };
const HASH_32 = /^[a-f0-9]{32}$/;
const utf8 = new TextDecoder();

/** The names of a key, from its canonical msgpack bytes (the rules of `key_split_group` and `key_split`). */
export function keyNames(key: Uint8Array): KeyNames {
  const text = textAt(key, 0);
  if (text !== null) return { group: groupOf(text), prefix: keySplit(text) };
  if (!isTuple(key)) return OTHER;
  const first = textAt(key, tupleHeaderBytes(key));
  if (first !== null) return { group: first, prefix: keySplit(first) };
  // A tuple in a tuple, a number: Dask's group is that value itself, whatever it is.
  const inner = keyNames(key.subarray(tupleHeaderBytes(key)));
  return { group: `(${inner.group})`, prefix: inner.prefix };
}

function groupOf(text: string): string {
  if (text.startsWith("(")) return text.split(",", 1)[0]!.replace(/^[()"']+|[()"']+$/g, "");
  return HASH_32.test(text) ? "data" : keySplit(text);
}

/** Whether the key is a msgpack array: a tuple of Python's. */
export function isTuple(key: Uint8Array): boolean {
  const byte = key[0]!;
  return (byte >= 0x90 && byte < 0xa0) || byte === 0xdc || byte === 0xdd;
}

/** Where a tuple's first element begins. */
export function tupleHeaderBytes(key: Uint8Array): number {
  return key[0] === 0xdd ? 5 : key[0] === 0xdc ? 3 : 1;
}

/** Where the text at `at` begins: behind its header; −1: it is no text (nor bytes, which Dask takes for text). */
export function textStart(key: Uint8Array, at: number): number {
  const byte = key[at];
  if (byte === undefined) return -1;
  if (byte >= 0xa0 && byte < 0xc0) return at + 1;
  if (byte === 0xd9 || byte === 0xc4) return at + 2;
  if (byte === 0xda || byte === 0xc5) return at + 3;
  return byte === 0xdb || byte === 0xc6 ? at + 5 : -1;
}

/** Where the text at `at` ends; only where {@link textStart} finds one. */
export function textEnd(key: Uint8Array, at: number): number {
  const start = textStart(key, at);
  if (start === at + 1) return start + (key[at]! & 0x1f);
  let length = 0;
  for (let i = at + 1; i < start; i++) length = length * 256 + key[i]!;
  return start + length;
}

function textAt(key: Uint8Array, at: number): string | null {
  const start = textStart(key, at);
  return start < 0 ? null : utf8.decode(key.subarray(start, textEnd(key, at)));
}
