import { listOf } from "../../base/grouped.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";

/** Profiles as deep as Dask's own are at most; deeper ones come from nobody's thread. */
const DEPTH_MAX = 500;

/** A profile in which nothing was seen (`distributed.profile.create`). */
export function emptyProfile(): WireMap {
  return WireMap.of({
    description: WireMap.of({ filename: "", name: "", line_number: 0, line: "" }),
    children: new WireMap(),
    count: 0,
    identifier: "root",
  });
}

/** Adds up trees of stack frames that begin at the same frame (`distributed.profile.merge`). */
export function mergeProfiles(profiles: readonly WireMap[], depth = 0): WireMap {
  const [first] = profiles;
  if (first === undefined) return emptyProfile();
  const by_name = new Map<WireValue, WireMap[]>();
  let count = 0;
  for (const profile of profiles) {
    count += toNumber(profile.get("count")) ?? 0;
    const children = profile.get("children");
    if (!(children instanceof WireMap) || depth === DEPTH_MAX) continue;
    for (let i = 0; i < children.size; i++) {
      const child = children.values[i];
      if (!(child instanceof WireMap)) continue;
      listOf(by_name, children.keys[i]!).push(child);
    }
  }
  return WireMap.of({
    description: first.get("description") ?? null,
    children: WireMap.from(
      [...by_name].map(([name, same]) => [name, mergeProfiles(same, depth + 1)] as const),
    ),
    count,
    identifier: first.get("identifier") ?? null,
  });
}
