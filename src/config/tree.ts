/** A value of the configuration: what YAML, JSON and Python's literals have in common. */
export type ConfigValue = null | boolean | number | string | readonly ConfigValue[] | ConfigMap;

/** A level of names. A Map, because the names are the user's. */
export type ConfigMap = Map<string, ConfigValue>;

/** The name under which `map` has the key: `-` and `_` are alike, and the first one to come decides (Dask's rule). */
function canonicalName(name: string, map: ConfigMap): string {
  if (map.has(name)) return name;
  const other = name.includes("_") ? name.replaceAll("_", "-") : name.replaceAll("-", "_");
  return map.has(other) ? other : name;
}

/** Puts what `added` has into `base`; where both have a value, that of `added` stays (`dask.config.update`). */
export function mergeInto(base: ConfigMap, added: ConfigMap): void {
  for (const [key, value] of added) {
    const name = canonicalName(key, base);
    if (!(value instanceof Map)) {
      base.set(name, value);
      continue;
    }
    const below = base.get(name);
    const target: ConfigMap = below instanceof Map ? below : new Map();
    base.set(name, target);
    mergeInto(target, value);
  }
}

/** Sets the value at a path such as `distributed.scheduler.idle-timeout`. */
export function assign(tree: ConfigMap, path: string, value: ConfigValue): void {
  let level = tree;
  const names = path.split(".");
  for (const name of names.slice(0, -1)) {
    const canonical = canonicalName(name, level);
    const below = level.get(canonical);
    const next: ConfigMap = below instanceof Map ? below : new Map();
    level.set(canonical, next);
    level = next;
  }
  const last = names.at(-1) ?? "";
  level.set(canonicalName(last, level), value);
}

/** The value at a path; undefined: none is set. */
export function lookUp(tree: ConfigMap, path: string): ConfigValue | undefined {
  let value: ConfigValue | undefined = tree;
  for (const name of path.split(".")) {
    if (!(value instanceof Map)) return undefined;
    value = value.get(canonicalName(name, value));
  }
  return value;
}

/** Takes the value at a path out of the tree; undefined: none was set. */
export function take(tree: ConfigMap, path: string): ConfigValue | undefined {
  const dot = path.lastIndexOf(".");
  const level = dot < 0 ? tree : lookUp(tree, path.slice(0, dot));
  if (!(level instanceof Map)) return undefined;
  const name = canonicalName(path.slice(dot + 1), level);
  const value = level.get(name);
  level.delete(name);
  return value;
}
