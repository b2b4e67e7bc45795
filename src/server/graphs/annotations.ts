import { NONE, type TaskId } from "../../base/ids.ts";
import type { GraphBuilder } from "../../core/graph-builder.ts";
import type { KeyTable } from "../../core/key-table.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { toNumber, WireMap, WireSet, type WireValue } from "../../protocol/values.ts";

/** The annotations that a scheduler heeds, from a map of them; the whole map goes on to the worker. */
export function readAnnotations(map: WireMap): Parameters<GraphBuilder["annotate"]>[1] {
  const priority = toNumber(map.get("priority"));
  const retries = toNumber(map.get("retries"));
  const workers = texts(map.get("workers"));
  const resources = map.get("resources");
  const restricted = workers !== null || resources instanceof WireMap;
  return {
    ...(priority === undefined ? {} : { user_priority: -priority }),
    ...(retries === undefined ? {} : { retries }),
    ...(restricted
      ? {
          restrictions: {
            workers,
            loose: map.get("allow_other_workers") === true,
            resources: resources instanceof WireMap ? amounts(resources) : null,
          },
        }
      : {}),
    message: map,
  };
}

/** `actors: true` means the wanted keys, as in Dask: what they are made from are ordinary tasks. A list: just these. */
export function annotateActors(
  builder: GraphBuilder,
  keys: KeyTable,
  actors: WireValue,
  wanted: readonly TaskId[],
): void {
  if (actors === true) for (const task of wanted) builder.annotate(task, { actor: true });
  if (!Array.isArray(actors)) return;
  for (const actor of actors) {
    const task: TaskId = keys.findKey(packValue(actor));
    if (task !== NONE) builder.annotate(task, { actor: true });
  }
}

function texts(value: WireValue | undefined): ReadonlySet<string> | null {
  if (typeof value === "string") return new Set([value]);
  const items = value instanceof WireSet ? value.items : Array.isArray(value) ? value : [];
  return items.length > 0 ? new Set(items.map(String)) : null;
}

function amounts(map: WireMap): ReadonlyMap<string, number> {
  return new Map(map.keys.map((key, i) => [String(key), toNumber(map.values[i]) ?? 0]));
}
