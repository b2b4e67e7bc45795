import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { extname, join } from "node:path";
import { parse, type Tags, YAMLError } from "yaml";
import { interpretValue } from "./literal.ts";
import { assign, type ConfigMap, type ConfigValue, lookUp, mergeInto, take } from "./tree.ts";

/** A configuration that cannot be read. The message is one line that names the file or variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Where the configuration comes from. */
export interface ConfigSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Python's `sys.prefix`, whose `etc/dask` counts; null: no Python is known. */
  readonly python_prefix: string | null;
}

/**
 * Dask's configuration (`dask.config.collect`): YAML and JSON files of /etc/dask, PREFIX/etc/dask, ~/.config/dask and
 * $DASK_CONFIG, then DASK_* variables; what comes later wins. Nothing that is not there is a fault.
 * Throws ConfigError for a file that is malformed.
 */
export function collectConfig({ env, python_prefix }: ConfigSources): ConfigMap {
  const tree: ConfigMap = new Map();
  for (const path of configFiles(env, python_prefix)) {
    const config = readConfigFile(path);
    if (config !== null) mergeInto(tree, renamed(config));
  }
  mergeInto(tree, renamed(collectEnv(env)));
  return tree;
}

/** The files in the order in which they are read: those of one folder by name. */
function configFiles(env: ConfigSources["env"], python_prefix: string | null): string[] {
  const { DASK_ROOT_CONFIG, DASK_CONFIG, HOME } = env;
  const places = [DASK_ROOT_CONFIG ?? "/etc/dask"];
  if (python_prefix !== null) places.push(join(python_prefix, "etc", "dask"));
  places.push(join(HOME ?? homedir(), ".config", "dask"));
  if (DASK_CONFIG !== undefined) places.push(DASK_CONFIG);
  // A place that is named twice counts where it is named last.
  const unique = [...new Set(places.reverse())].reverse();
  return unique.flatMap((place) => {
    if (!existsSync(place)) return [];
    return statSync(place).isDirectory() ? filesIn(place) : [place];
  });
}

function filesIn(folder: string): string[] {
  const kinds = [".json", ".yaml", ".yml"];
  try {
    return readdirSync(folder)
      .filter((name) => kinds.includes(extname(name).toLowerCase()))
      .sort()
      .map((name) => join(folder, name));
  } catch (error) {
    if (isSystemError(error)) return [];
    throw error;
  }
}

/** Null: nothing is in it, or it may not be read. */
function readConfigFile(path: string): ConfigMap | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isSystemError(error)) return null;
    throw error;
  }
  let value: unknown;
  try {
    // Version 1.1 is what Python's YAML speaks: `yes` is true there.
    value = parse(text, { version: "1.1", customTags: asPyYaml, mapAsMap: true, logLevel: "error" });
  } catch (error) {
    // Too many aliases are told of by a ReferenceError.
    if (!(error instanceof YAMLError || error instanceof ReferenceError)) throw error;
    const why = error.message.split("\n", 1)[0];
    throw new ConfigError(`the dask config file ${path} is malformed: ${why}`);
  }
  if (value === null || value === undefined) return null;
  const config = configValue(value);
  if (config instanceof Map) return config;
  throw new ConfigError(`the dask config file ${path} is malformed: it must have a dict at the top level`);
}

/** YAML 1.1 has `y` and `n` for true and false; Python's reader leaves them as they are. */
function asPyYaml(tags: Tags): Tags {
  return tags.map((tag) => {
    if (typeof tag !== "object" || tag.collection !== undefined) return tag;
    if (tag.tag !== "tag:yaml.org,2002:bool") return tag;
    return { ...tag, test: tag.test?.test("yes") ? /^(?:yes|true|on)$/i : /^(?:no|false|off)$/i };
  });
}

/** `DASK_FOO__BAR_BAZ=123` is `foo.bar_baz`; what DASK_INTERNAL_INHERIT_CONFIG carries comes before all of them. */
function collectEnv(env: ConfigSources["env"]): ConfigMap {
  const tree: ConfigMap = new Map();
  const { DASK_INTERNAL_INHERIT_CONFIG } = env;
  if (DASK_INTERNAL_INHERIT_CONFIG !== undefined) {
    for (const [path, value] of deserialized(DASK_INTERNAL_INHERIT_CONFIG)) assign(tree, path, value);
  }
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith("DASK_") || text === undefined) continue;
    assign(tree, name.slice("DASK_".length).toLowerCase().replaceAll("__", "."), interpretValue(text));
  }
  return tree;
}

/** Text of JSON, or what Python writes there beyond JSON: Dask's own defaults have an `Infinity`. */
const PYTHONS_NUMBERS = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;

/** JSON in URL-safe base64 (`dask.config.serialize`). */
function deserialized(text: string): ConfigMap {
  const json = Buffer.from(text, "base64url")
    .toString()
    .replace(PYTHONS_NUMBERS, (token) => {
      if (token.startsWith('"')) return token;
      return token === "NaN" ? "null" : token.replace("Infinity", "1e999");
    });
  try {
    const value = configValue(JSON.parse(json));
    if (value instanceof Map) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ConfigError("DASK_INTERNAL_INHERIT_CONFIG is malformed: it must be a JSON object in base64");
}

/** Plain data of a parser as ours. What has no counterpart, such as a date, is its text. */
function configValue(value: unknown): ConfigValue {
  if (value === null || value === undefined) return null;
  if (typeof value === "boolean" || typeof value === "number" || typeof value === "string") return value;
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(configValue);
  if (value instanceof Set) return [...value].map(configValue);
  if (value instanceof Date) return value.toISOString();
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return new Map(entries.map(([key, item]: [unknown, unknown]) => [String(key), configValue(item)]));
}

/** Names that older releases had for keys of ours (distributed.config.deprecations). */
const RENAMED: readonly (readonly [old: string, now: string])[] = [
  ["allowed-failures", "distributed.scheduler.allowed-failures"],
  ["worker-ttl", "distributed.scheduler.worker-ttl"],
  ["connect-timeout", "distributed.comm.timeouts.connect"],
  ["default-scheme", "distributed.comm.default-scheme"],
  ["socket-backlog", "distributed.comm.socket-backlog"],
  ["diagnostics-link", "distributed.dashboard.link"],
  ["log-length", "distributed.admin.log-length"],
  ["transition-log-length", "distributed.admin.low-level-log-length"],
  ["distributed.scheduler.transition-log-length", "distributed.admin.low-level-log-length"],
  ["distributed.scheduler.events-log-length", "distributed.admin.low-level-log-length"],
];

function renamed(config: ConfigMap): ConfigMap {
  for (const [old, now] of RENAMED) {
    if (lookUp(config, old) === undefined) continue;
    const value = take(config, old);
    if (value !== undefined) assign(config, now, value);
  }
  return config;
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "code" in error && "syscall" in error;
}
