import { packValue, unpackValue } from "../../protocol/msgpack.ts";
import { RawValue, WireMap, type WireValue } from "../../protocol/values.ts";

/** Nested deeper, it is no span of a client's. */
const TAGS_MAX = 1000;

/** What `distributed.span` annotates tasks with: the span's name and its id, those of the spans around it before it. */
export interface SpanAnnotation {
  /** As many as `ids`, at least one. */
  readonly name: readonly string[];
  readonly ids: readonly string[];
  /** msgpack of the span's own id, the last one. */
  readonly id_bytes: Uint8Array;
}

const known = new WeakMap<object, SpanAnnotation | null>();

/** The span that tasks with these annotations belong to, or null. Tasks of one layer share one map: it is read once. */
export function spanOf(annotations: WireMap): SpanAnnotation | null {
  let span = known.get(annotations);
  if (span === undefined) {
    span = readSpan(annotations.get("span"));
    known.set(annotations, span);
  }
  return span;
}

function readSpan(value: WireValue | undefined): SpanAnnotation | null {
  const map = value instanceof RawValue ? unpackValue(value.bytes) : value;
  if (!(map instanceof WireMap)) return null;
  const name = texts(map.get("name"));
  const ids = texts(map.get("ids"));
  if (name === null || ids === null || name.length !== ids.length || name.length === 0) return null;
  return { name, ids, id_bytes: packValue(ids.at(-1)!) };
}

function texts(value: WireValue | undefined): string[] | null {
  if (!Array.isArray(value) || value.length > TAGS_MAX) return null;
  return value.every((item) => typeof item === "string") ? (value as string[]) : null;
}
