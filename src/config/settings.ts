import { DEFAULT_SERVER_SETTINGS, type ServerSettings } from "../server/peers/options.ts";
import { type ConfigMap, lookUp } from "./tree.ts";
import { type TlsVersion, Values } from "./values.ts";

/**
 * What the configuration decides of a scheduler, where the command line does not. What the server itself is told, it says,
 * and its defaults are the ones here.
 */
export interface SchedulerSettings extends Omit<ServerSettings, "tls" | "require_encryption"> {
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
  /** Null: as the command line's certificates have it. */
  readonly require_encryption: boolean | null;
  readonly tls: TlsSettings;
  /** `tcp`, `tls`, `ws` or `wss`, where the address does not say. */
  readonly default_scheme: string;
  /** Lines that `get_logs` may answer. */
  readonly log_length: number;
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
  terminate: "distributed.worker.memory.terminate",
} as const;

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const REDUCE_REPLICAS = "distributed.active_memory_manager.ReduceReplicas";

/** Reads the settings; throws ConfigError for a value that cannot be one. */
export function settingsOf(config: ConfigMap): SchedulerSettings {
  const from = new Values(config);
  return {
    ...serverSettings(from),
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
    log_level: logLevel(config),
  };
}

const DEFAULTS = DEFAULT_SERVER_SETTINGS;

function serverSettings(from: Values): Omit<ServerSettings, "tls" | "require_encryption"> {
  return {
    allowed_failures: from.count(KEYS.allowed_failures, DEFAULTS.allowed_failures),
    validate: from.flag(KEYS.validate) ?? DEFAULTS.validate,
    blocked_handlers: from.texts(KEYS.blocked_handlers) ?? DEFAULTS.blocked_handlers,
    connect_ms: from.time(KEYS.connect, DEFAULTS.connect_ms),
    socket_backlog: from.count(KEYS.socket_backlog, DEFAULTS.socket_backlog),
    events_length: from.count(KEYS.events_length, DEFAULTS.events_length),
    pickle: from.flag(KEYS.pickle) ?? DEFAULTS.pickle,
    no_workers_timeout_ms: from.duration(KEYS.no_workers_timeout, DEFAULTS.no_workers_timeout_ms),
    memory: memorySettings(from),
    policy: policySettings(from),
  };
}

function memorySettings(from: Values): ServerSettings["memory"] {
  const { manager, rebalance, scaling, old_ms, terminate } = DEFAULTS.memory;
  return {
    manager: {
      start: from.flag(KEYS.manager_start) ?? manager.start,
      interval_ms: from.time(KEYS.manager_interval, manager.interval_ms),
      measure: from.measure(KEYS.manager_measure, manager.measure),
      reduce_replicas: from.names(KEYS.manager_policies, REDUCE_REPLICAS, manager.reduce_replicas),
    },
    rebalance: {
      measure: from.measure(KEYS.rebalance_measure, rebalance.measure),
      sender_min: from.share(KEYS.rebalance_sender_min, rebalance.sender_min),
      recipient_max: from.share(KEYS.rebalance_recipient_max, rebalance.recipient_max),
      gap: from.share(KEYS.rebalance_gap, rebalance.gap),
    },
    scaling: {
      target_duration_ms: from.time(KEYS.target_duration, scaling.target_duration_ms),
      unknown_task_ms: from.time(KEYS.unknown_task, scaling.unknown_task_ms),
    },
    old_ms: from.time(KEYS.recent_to_old, old_ms),
    terminate: from.hasShare(KEYS.terminate, terminate),
  };
}

function policySettings(from: Values): ServerSettings["policy"] {
  const { policy } = DEFAULTS;
  return {
    worker_saturation: from.saturation(KEYS.worker_saturation, policy.worker_saturation),
    rootish_groups: from.count(KEYS.rootish_groups, policy.rootish_groups),
    rootish_tasks: from.count(KEYS.rootish_tasks, policy.rootish_tasks),
    stealing: from.flag(KEYS.stealing) ?? policy.stealing,
    // A bare number is one of milliseconds, unlike elsewhere.
    stealing_interval_ns: 1e6 * from.time(KEYS.stealing_interval, policy.stealing_interval_ns / 1e6, "ms"),
    bandwidth: from.bytes(KEYS.bandwidth, policy.bandwidth),
    unknown_nbytes: from.bytes(KEYS.default_data_size, policy.unknown_nbytes),
    default_durations_s: from.durations_s(KEYS.default_durations, policy.default_durations_s),
    unknown_duration_s: from.time(KEYS.unknown_task, policy.unknown_duration_s * 1_000) / 1_000,
  };
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
