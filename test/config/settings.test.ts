import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { durationMs, sizeBytes } from "../../src/base/units.ts";
import { ConfigError, collectConfig } from "../../src/config/collect.ts";
import { KEYS, type SchedulerSettings, settingsOf } from "../../src/config/settings.ts";
import { assign, type ConfigMap, type ConfigValue, lookUp } from "../../src/config/tree.ts";
import { RELEASES } from "../interop/support/processes.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

function settings(entries: Record<string, ConfigValue> = {}): SchedulerSettings {
  const config: ConfigMap = new Map();
  for (const [path, value] of Object.entries(entries)) assign(config, path, value);
  return settingsOf(config);
}

/** Dask's own defaults, from the file that its package carries. */
function dasksDefaults(release: string): ConfigMap {
  const package_folder = join(ROOT, ".venvs", `dask-${release}`, "lib");
  const version = ["python3.10", "python3.11", "python3.12", "python3.13", "python3.14"].find((name) =>
    existsSync(join(package_folder, name)),
  );
  const file = join(package_folder, `${version}`, "site-packages/distributed/distributed.yaml");
  const nowhere = join(ROOT, "no such folder");
  const env = { DASK_ROOT_CONFIG: nowhere, HOME: nowhere, DASK_CONFIG: file };
  return collectConfig({ env, python_prefix: null });
}

/** The keys of the tables below a heading of docs/configuration.md. */
function documented(heading: string): string[] {
  const text = readFileSync(join(ROOT, "docs/configuration.md"), "utf8");
  const section = text.split(`## ${heading}\n`)[1]!.split("\n## ")[0]!;
  return [...section.matchAll(/^\| `(distributed\.[\w.-]+)` \|/gm)].map(([, key]) => key!);
}

function leaves(value: ConfigValue | undefined, path: string): string[] {
  if (!(value instanceof Map) || value.size === 0) return [path];
  return [...value].flatMap(([name, item]) => leaves(item, `${path}.${name}`));
}

describe("docs/configuration.md", () => {
  test("lists the keys that are read", () => {
    expect(documented("Heeded").sort()).toEqual(Object.values(KEYS).sort());
  });

  test.each(RELEASES)("knows every key of the scheduler's in Dask %s, once", (release) => {
    const defaults = dasksDefaults(release);
    const listed = [...documented("Heeded"), ...documented("Not heeded")];
    expect(new Set(listed).size).toBe(listed.length);
    const keys = ["scheduler", "comm", "admin", "dashboard"].flatMap((section) => {
      return leaves(lookUp(defaults, `distributed.${section}`), `distributed.${section}`);
    });
    expect(keys.length).toBeGreaterThan(60);
    const unlisted = keys.filter((key) => !listed.some((name) => key === name || key.startsWith(`${name}.`)));
    expect(unlisted).toEqual([]);
  });
});

test.each(RELEASES)("without configuration, settings are those of Dask %s", (release) => {
  // The backlog is the one that is larger here; Dask's own list of routes stands for ours.
  const dasks = settingsOf(dasksDefaults(release));
  expect(dasks.tls.min_version).toBe("TLSv1.2");
  // Older releases look at the balance ten times as often.
  const policy = { ...dasks.policy, stealing_interval_ns: 1e9 };
  if (release === "2026.8.0") expect(dasks.policy).toEqual(policy);
  const own = { socket_backlog: 4_096, http_routes: null, policy, tls: { ...dasks.tls, min_version: null } };
  expect({ ...dasks, ...own }).toEqual(settings());
});

test("settings are read in the forms that Dask takes", () => {
  const entries = {
    [KEYS.allowed_failures]: 7,
    [KEYS.idle_timeout]: "1h",
    [KEYS.worker_ttl]: null,
    [KEYS.connect]: 5,
    [KEYS.http_routes]: ["distributed.http.health"],
    [KEYS.blocked_handlers]: "run_function",
    [KEYS.log_length]: 0,
    [KEYS.worker_saturation]: "inf",
    [KEYS.stealing_interval]: 250,
    [KEYS.bandwidth]: "1 GB",
    [KEYS.terminate]: false,
    [KEYS.default_durations]: new Map<string, ConfigValue>([
      ["load", "2 minutes"],
      ["add", 0.5],
    ]),
  };
  expect(settings(entries)).toMatchObject({
    allowed_failures: 7,
    idle_timeout_ms: 3_600_000,
    worker_ttl_ms: null,
    connect_ms: 5_000,
    http_routes: ["distributed.http.health"],
    blocked_handlers: ["run_function"],
    log_length: 0,
    memory: { terminate: false },
    policy: {
      worker_saturation: Number.POSITIVE_INFINITY,
      stealing_interval_ns: 250e6,
      bandwidth: 1e9,
      default_durations_s: new Map([
        ["load", 120],
        ["add", 0.5],
      ]),
    },
  });
});

test.each([
  [KEYS.allowed_failures, "many"],
  [KEYS.allowed_failures, 1.5],
  [KEYS.allowed_failures, -1],
  [KEYS.idle_timeout, "a while"],
  [KEYS.worker_ttl, true],
  [KEYS.http_routes, [1]],
  [KEYS.default_scheme, 5],
  [KEYS.tls_min_version, 1.1],
  [KEYS.require_encryption, "yes"],
  [KEYS.contact_address, new Map()],
  [KEYS.worker_saturation, 0],
  [KEYS.terminate, "80%"],
  [KEYS.worker_saturation, "much"],
  [KEYS.default_durations, "1s"],
])("%s: %j is refused in one line that names it", (key, value) => {
  const run = (): unknown => settings({ [key]: value });
  expect(run).toThrow(ConfigError);
  expect(run).toThrow(new RegExp(`^configuration ${key.replaceAll(".", "\\.")}: .* is not .*$`));
});

test.each<[Record<string, ConfigValue>, string]>([
  [{}, "INFO"],
  [{ distributed: "warning" }, "WARNING"],
  [{ distributed: "warning", "distributed.scheduler": "error" }, "ERROR"],
  [{ version: 1, root: new Map() }, "INFO"],
])("logging %j means %s", (loggers, level) => {
  const config: ConfigMap = new Map([["logging", new Map(Object.entries(loggers))]]);
  expect(settingsOf(config).log_level).toBe(level);
});

test.each([
  ["64MiB", 67_108_864],
  ["8 mib", 8_388_608],
  ["1kB", 1_000],
  ["100", 100],
  ["5 GB", 5e9],
  ["1.5k", 1_500],
  ["MB", 1e6],
  ["", null],
  ["five", null],
  ["1 iB", null],
])("a size of %j is %s bytes", (text, bytes) => {
  expect(sizeBytes(text)).toBe(bytes);
});

test("a time may be in scientific notation, as YAML writes small numbers", () => {
  expect(durationMs("1e-3")).toBe(1);
  expect(durationMs("1e-3 s")).toBe(1);
});
