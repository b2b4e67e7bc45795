import { packValue } from "../../protocol/msgpack.ts";
import { WireEnum, WireMap, type WireValue } from "../../protocol/values.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import type { Request } from "./request.ts";

/** A dict of the tree; its entries by the packed bytes of their keys, which may be of any kind. */
interface Node {
  readonly entries: Map<string, { readonly key: WireValue; value: WireValue | NodeBox }>;
}
/** Tells our nested dicts from values. */
class NodeBox {
  readonly node: Node = { entries: new Map() };
}

/** What users note on the scheduler under paths of keys (`Client.set_metadata`): nested dicts. */
export class MetadataStore {
  readonly #root = new NodeBox();

  /** Makes the dicts on the way; a value that is none gives way to one. */
  set(path: readonly WireValue[], value: WireValue): void {
    let box = this.#root;
    for (const key of path.slice(0, -1)) {
      const entry = box.node.entries.get(idOf(key));
      if (entry?.value instanceof NodeBox) {
        box = entry.value;
        continue;
      }
      const next = new NodeBox();
      box.node.entries.set(idOf(key), { key, value: next });
      box = next;
    }
    const last = path.at(-1);
    if (last === undefined) throw new PythonError("ValueError", "set_metadata needs at least one key");
    box.node.entries.set(idOf(last), { key: last, value: fromWire(value) });
  }

  /** Undefined: nothing there. An empty path: everything. */
  get(path: readonly WireValue[]): WireValue | undefined {
    let value: WireValue | NodeBox = this.#root;
    for (const key of path) {
      if (value instanceof NodeBox) {
        const entry: { value: WireValue | NodeBox } | undefined = value.node.entries.get(idOf(key));
        if (entry === undefined) return undefined;
        value = entry.value;
      } else if (Array.isArray(value) && typeof key === "number") {
        const item: WireValue | undefined = value.at(key);
        if (item === undefined) return undefined;
        value = item;
      } else return undefined;
    }
    return toWire(value);
  }
}

/** `set_metadata {keys, value?}`. */
function setMetadata(request: Request, context: RpcContext): WireValue {
  context.metadata.set(request.list("keys"), request.value("value"));
  return null;
}

/** `get_metadata {keys, default?}`. "No default" is a text in 2022 and a member of an enum since. */
function getMetadata(request: Request, context: RpcContext): WireValue {
  const path = request.list("keys");
  const found = context.metadata.get(path);
  if (found !== undefined) return found;
  const fallback = request.fields.get("default");
  const none =
    fallback === undefined ||
    fallback === "__no_default__" ||
    (fallback instanceof WireEnum && fallback.qualname === "_NoDefault");
  if (none) throw new PythonError("KeyError", path.map(String).join(", "));
  return fallback;
}

function fromWire(value: WireValue): WireValue | NodeBox {
  if (!(value instanceof WireMap)) return value;
  const box = new NodeBox();
  for (let i = 0; i < value.size; i++) {
    const key = value.keys[i] ?? null;
    box.node.entries.set(idOf(key), { key, value: fromWire(value.values[i] ?? null) });
  }
  return box;
}

function toWire(value: WireValue | NodeBox): WireValue {
  if (!(value instanceof NodeBox)) return value;
  const map = new WireMap();
  for (const entry of value.node.entries.values()) {
    map.keys.push(entry.key);
    map.values.push(toWire(entry.value));
  }
  return map;
}

function idOf(key: WireValue): string {
  return Buffer.from(packValue(key)).toString("latin1");
}

export const METADATA_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["set_metadata", setMetadata],
  ["get_metadata", getMetadata],
];
