import { ConfigError } from "./collect.ts";
import { type ConfigMap, type ConfigValue, lookUp } from "./tree.ts";
import { durationMs, sizeBytes } from "./units.ts";

/**
 * What the configuration decides of a scheduler, where the command line does not. Defaults are Dask's,
 * but for the backlog: as many peers as a large cluster's workers may knock at once.
 */
export interface SchedulerSettings {
  /** A task may be on so many workers that died; one more errs it. */
  readonly allowed_failures: number;
  readonly validate: boolean;
  /** Requests that are refused by name. */
  readonly blocked_handlers: readonly string[];
  /** The address that peers are told of; null: where the scheduler listens. */
  readonly contact_address: string | null;
  /** Null: never. */
  readonly idle_timeout_ms: number | null;
  /** Null: workers are never taken for dead. */
  readonly worker_ttl_ms: number | null;
  /** Dask's modules that stand for paths of HTTP; null: its default. */
  readonly http_routes: readonly string[] | null;
  readonly dashboard_tls: TlsFiles;
  /** A template with {scheme}, {host}, {port} and environment variables. */
  readonly dashboard_link: string;
  readonly prometheus_namespace: string;
  /** For reaching a worker. */
  readonly connect_ms: number;
  /** Connections that may knock at once. */
  readonly socket_backlog: number;
  /** Null: as the command line's certificates have it. */
  readonly require_encryption: boolean | null;
  readonly tls: TlsSettings;
  /** `tcp`, `tls`, `ws` or `wss`, where the address does not say. */
  readonly default_scheme: string;
  /** Lines that `get_logs` may answer. */
  readonly log_length: number;
  /** Events that are kept of each topic. */
  readonly events_length: number;
  /** Users' pickles may be opened where Dask would run them in its scheduler. */
  readonly pickle: boolean;
  /** Tasks that no worker could take for so long are erred; null: never. */
  readonly no_workers_timeout_ms: number | null;
  readonly memory: MemorySettings;
  readonly policy: PolicySettings;
  /** The least level that is printed, in capitals. */
  readonly log_level: string;
}

/** Paths of PEM files; null: none is named. */
export interface TlsFiles {
  readonly ca_file: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

interface TlsSettings extends TlsFiles {
  /** In OpenSSL's words; null: the usual ones. */
  readonly ciphers: string | null;
  readonly min_version: TlsVersion | null;
  readonly max_version: TlsVersion | null;
}

type TlsVersion = "TLSv1.2" | "TLSv1.3";

/** The key that each setting is read from. docs/configuration.md lists them, and a test compares the two. */
export const KEYS = {
  allowed_failures: "distributed.scheduler.allowed-failures",
  validate: "distributed.scheduler.validate",
  blocked_handlers: "distributed.scheduler.blocked-handlers",
  contact_address: "distributed.scheduler.contact-address",
  idle_timeout: "distributed.scheduler.idle-timeout",
  worker_ttl: "distributed.scheduler.worker-ttl",
  http_routes: "distributed.scheduler.http.routes",
  dashboard_ca_file: "distributed.scheduler.dashboard.tls.ca-file",
  dashboard_cert: "distributed.scheduler.dashboard.tls.cert",
  dashboard_key: "distributed.scheduler.dashboard.tls.key",
  dashboard_link: "distributed.dashboard.link",
  prometheus_namespace: "distributed.dashboard.prometheus.namespace",
  connect: "distributed.comm.timeouts.connect",
  socket_backlog: "distributed.comm.socket-backlog",
  default_scheme: "distributed.comm.default-scheme",
  require_encryption: "distributed.comm.require-encryption",
  tls_ca_file: "distributed.comm.tls.ca-file",
  tls_cert: "distributed.comm.tls.scheduler.cert",
  tls_key: "distributed.comm.tls.scheduler.key",
  tls_ciphers: "distributed.comm.tls.ciphers",
  tls_min_version: "distributed.comm.tls.min-version",
  tls_max_version: "distributed.comm.tls.max-version",
  log_length: "distributed.admin.log-length",
  events_length: "distributed.admin.low-level-log-length",
  pickle: "distributed.scheduler.pickle",
  no_workers_timeout: "distributed.scheduler.no-workers-timeout",
  unknown_task: "distributed.scheduler.unknown-task-duration",
  default_durations: "distributed.scheduler.default-task-durations",
  worker_saturation: "distributed.scheduler.worker-saturation",
  rootish_groups: "distributed.scheduler.rootish-taskgroup",
  rootish_tasks: "distributed.scheduler.rootish-taskgroup-dependencies",
  stealing: "distributed.scheduler.work-stealing",
  stealing_interval: "distributed.scheduler.work-stealing-interval",
  bandwidth: "distributed.scheduler.bandwidth",
  default_data_size: "distributed.scheduler.default-data-size",
  target_duration: "distributed.adaptive.target-duration",
  manager_start: "distributed.scheduler.active-memory-manager.start",
  manager_interval: "distributed.scheduler.active-memory-manager.interval",
  manager_measure: "distributed.scheduler.active-memory-manager.measure",
  manager_policies: "distributed.scheduler.active-memory-manager.policies",
  rebalance_measure: "distributed.worker.memory.rebalance.measure",
  rebalance_sender_min: "distributed.worker.memory.rebalance.sender-min",
  rebalance_recipient_max: "distributed.worker.memory.rebalance.recipient-max",
  rebalance_gap: "distributed.worker.memory.rebalance.sender-recipient-gap",
  recent_to_old: "distributed.worker.memory.recent-to-old-time",
} as const;

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const COUNT_MAX = 10_000_000;
const REDUCE_REPLICAS = "distributed.active_memory_manager.ReduceReplicas";

/** What workers' memory can be measured by (`distributed.scheduler.MemoryState`). */
const MEASURES = [
  "process",
  "managed",
  "spilled",
  "managed_total",
  "unmanaged",
  "unmanaged_old",
  "unmanaged_recent",
  "optimistic",
] as const;
type MemoryMeasure = (typeof MEASURES)[number];

/** Copies of results, their distribution, and how many workers there should be. */
interface MemorySettings {
  readonly manager: {
    readonly start: boolean;
    readonly interval_ms: number;
    readonly measure: MemoryMeasure;
    readonly reduce_replicas: boolean;
  };
  readonly rebalance: {
    readonly measure: MemoryMeasure;
    readonly sender_min: number;
    readonly recipient_max: number;
    readonly gap: number;
  };
  readonly scaling: { readonly target_duration_ms: number; readonly unknown_task_ms: number };
  readonly old_ms: number;
}

/** What the policy `dask` goes by. */
interface PolicySettings {
  readonly worker_saturation: number;
  readonly rootish_groups: number;
  readonly rootish_tasks: number;
  readonly stealing: boolean;
  readonly stealing_interval_ns: number;
  readonly bandwidth: number;
  readonly unknown_nbytes: number;
  readonly default_durations_s: ReadonlyMap<string, number>;
  readonly unknown_duration_s: number;
}

const DEFAULT_DURATIONS_S: ReadonlyMap<string, number> = new Map(
  ["rechunk-split", "split-shuffle", "split-taskshuffle", "split-stage"].map((prefix) => [prefix, 1e-6]),
);

/** Reads the settings; throws ConfigError for a value that cannot be one. */
export function settingsOf(config: ConfigMap): SchedulerSettings {
  const from = new Values(config);
  return {
    allowed_failures: from.count(KEYS.allowed_failures, 3),
    validate: from.flag(KEYS.validate) ?? false,
    blocked_handlers: from.texts(KEYS.blocked_handlers) ?? [],
    contact_address: from.text(KEYS.contact_address),
    idle_timeout_ms: from.duration(KEYS.idle_timeout, null) || null,
    // 0 is none to Dask.
    worker_ttl_ms: from.duration(KEYS.worker_ttl, 300_000) || null,
    http_routes: from.texts(KEYS.http_routes),
    dashboard_tls: {
      ca_file: from.text(KEYS.dashboard_ca_file),
      cert: from.text(KEYS.dashboard_cert),
      key: from.text(KEYS.dashboard_key),
    },
    dashboard_link: from.text(KEYS.dashboard_link) ?? "{scheme}://{host}:{port}/status",
    prometheus_namespace: from.text(KEYS.prometheus_namespace, "dask") ?? "",
    connect_ms: from.duration(KEYS.connect, 30_000) ?? 30_000,
    socket_backlog: from.count(KEYS.socket_backlog, 4_096),
    default_scheme: from.text(KEYS.default_scheme) ?? "tcp",
    require_encryption: from.flag(KEYS.require_encryption),
    tls: {
      ca_file: from.text(KEYS.tls_ca_file),
      cert: from.text(KEYS.tls_cert),
      key: from.text(KEYS.tls_key),
      ciphers: from.text(KEYS.tls_ciphers),
      min_version: from.tlsVersion(KEYS.tls_min_version),
      max_version: from.tlsVersion(KEYS.tls_max_version),
    },
    log_length: from.count(KEYS.log_length, 10_000),
    events_length: from.count(KEYS.events_length, 1_000),
    pickle: from.flag(KEYS.pickle) ?? true,
    no_workers_timeout_ms: from.duration(KEYS.no_workers_timeout, null),
    memory: memorySettings(from),
    policy: policySettings(from),
    log_level: logLevel(config),
  };
}

function memorySettings(from: Values): MemorySettings {
  return {
    manager: {
      start: from.flag(KEYS.manager_start) ?? true,
      interval_ms: from.duration(KEYS.manager_interval, 2_000) ?? 2_000,
      measure: from.measure(KEYS.manager_measure),
      reduce_replicas: from.policies(KEYS.manager_policies).includes(REDUCE_REPLICAS),
    },
    rebalance: {
      measure: from.measure(KEYS.rebalance_measure),
      sender_min: from.share(KEYS.rebalance_sender_min, 0.3),
      recipient_max: from.share(KEYS.rebalance_recipient_max, 0.6),
      gap: from.share(KEYS.rebalance_gap, 0.1),
    },
    scaling: {
      target_duration_ms: from.duration(KEYS.target_duration, 5_000) ?? 5_000,
      unknown_task_ms: from.duration(KEYS.unknown_task, 500) ?? 500,
    },
    old_ms: from.duration(KEYS.recent_to_old, 30_000) ?? 30_000,
  };
}

function policySettings(from: Values): PolicySettings {
  return {
    worker_saturation: from.saturation(KEYS.worker_saturation, 1.1),
    rootish_groups: from.count(KEYS.rootish_groups, 5),
    rootish_tasks: from.count(KEYS.rootish_tasks, 5),
    stealing: from.flag(KEYS.stealing) ?? true,
    // A bare number is one of milliseconds, unlike elsewhere.
    stealing_interval_ns: 1e6 * (from.duration(KEYS.stealing_interval, 1_000, "ms") ?? 1_000),
    bandwidth: from.bytes(KEYS.bandwidth, 100_000_000),
    unknown_nbytes: from.bytes(KEYS.default_data_size, 1_024),
    default_durations_s: from.durations_s(KEYS.default_durations, DEFAULT_DURATIONS_S),
    unknown_duration_s: (from.duration(KEYS.unknown_task, 500) ?? 500) / 1_000,
  };
}

/** Typed reading of keys: an absent key is its default, one that is none of what it should be names itself. */
class Values {
  readonly #config: ConfigMap;

  constructor(config: ConfigMap) {
    this.#config = config;
  }

  /** Null where the key is null, or absent and no default is given. */
  text(key: string, absent: string | null = null): string | null {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent;
    if (value === null || typeof value === "string") return value;
    throw wrong(key, value, "a text");
  }

  flag(key: string): boolean | null {
    const value = lookUp(this.#config, key) ?? null;
    if (value === null || typeof value === "boolean") return value;
    throw wrong(key, value, "true, false or null");
  }

  tlsVersion(key: string): TlsVersion | null {
    const value = lookUp(this.#config, key) ?? null;
    if (value === null) return null;
    if (value === 1.2) return "TLSv1.2";
    if (value === 1.3) return "TLSv1.3";
    throw wrong(key, value, "1.2, 1.3 or null");
  }

  texts(key: string): readonly string[] | null {
    const value = lookUp(this.#config, key) ?? null;
    if (value === null) return null;
    const items: readonly ConfigValue[] = Array.isArray(value) ? value : [value];
    return items.map((item) => {
      if (typeof item === "string") return item;
      throw wrong(key, value, "a list of texts");
    });
  }

  /** False is none, as null is. `unit`: of a bare number. */
  duration(key: string, absent_ms: number | null, unit: "s" | "ms" = "s"): number | null {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent_ms;
    if (value === null || value === false) return null;
    const text = typeof value === "number" ? `${value}${unit}` : value;
    const ms = typeof text === "string" ? durationMs(text) : null;
    if (ms === null) throw wrong(key, value, "a time such as 300 or '5 minutes'");
    return ms;
  }

  bytes(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    const bytes = typeof value === "string" || typeof value === "number" ? sizeBytes(String(value)) : null;
    if (bytes === null) throw wrong(key, value, "a size such as 1000000 or '8 MiB'");
    return bytes;
  }

  /** Seconds by name. */
  durations_s(key: string, absent: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
    const value = lookUp(this.#config, key);
    if (value === undefined) return absent;
    if (value === null) return new Map();
    if (!(value instanceof Map)) throw wrong(key, value, "a dict of times");
    const times = new Map<string, number>();
    for (const [name, time] of value) {
      const text = typeof time === "number" || typeof time === "string" ? String(time) : "";
      const ms = durationMs(text);
      if (ms === null) throw wrong(`${key}.${name}`, time, "a time such as 300 or '5 minutes'");
      times.set(String(name), ms / 1_000);
    }
    return times;
  }

  saturation(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    const number = value === "inf" ? Number.POSITIVE_INFINITY : value;
    if (typeof number === "number" && number > 0) return number;
    throw wrong(key, value, "a number above 0, or inf");
  }

  share(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    if (typeof value === "number" && value >= 0 && value <= 1) return value;
    throw wrong(key, value, "a number from 0 to 1");
  }

  measure(key: string): MemoryMeasure {
    const value = lookUp(this.#config, key) ?? "optimistic";
    const measure = MEASURES.find((known) => known === value);
    if (measure === undefined) throw wrong(key, value, `one of ${MEASURES.join(", ")}`);
    return measure;
  }

  /** Names of the classes of the memory manager's policies; only Dask's own default is there. */
  policies(key: string): readonly string[] {
    const value = lookUp(this.#config, key);
    if (value === undefined) return [REDUCE_REPLICAS];
    const items: readonly ConfigValue[] = Array.isArray(value) ? value : [];
    const names = items.map((item) => (item instanceof Map ? item.get("class") : null));
    if (!Array.isArray(value) || names.some((name) => name !== REDUCE_REPLICAS))
      throw wrong(key, value, `a list of {class: ${REDUCE_REPLICAS}}, the only policy there is`);
    return [...names].map(String);
  }

  count(key: string, absent: number): number {
    const value = lookUp(this.#config, key) ?? absent;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX)
      return value;
    throw wrong(key, value, `a number from 0 to ${COUNT_MAX}`);
  }
}

/** `logging` names loggers of Dask's; ours stands for that of the scheduler, else for the one of all. */
function logLevel(config: ConfigMap): string {
  const loggers = lookUp(config, "logging");
  if (!(loggers instanceof Map)) return "INFO";
  const value = loggers.get("distributed.scheduler") ?? loggers.get("distributed") ?? "info";
  const level = String(value).toUpperCase();
  // A configuration for Python's own logging has other things in this place.
  return LEVELS.includes(level) ? level : "INFO";
}

function wrong(key: string, value: ConfigValue, expected: string): ConfigError {
  const shown = value instanceof Map ? "a dict" : JSON.stringify(value);
  return new ConfigError(`configuration ${key}: ${shown} is not ${expected}`);
}
