import type { TlsContext } from "../../comm/tls.ts";
import { type DaskPolicySettings, DEFAULT_DASK_SETTINGS } from "../../schedulers/dask/settings.ts";
import { DEFAULT_MEMORY_SETTINGS, type MemorySettings } from "../memory/settings.ts";
import type { Log } from "./log.ts";

/** What a server is started with. Only what the command line or an embedding test decides; the rest is fixed. */
export interface ServerOptions {
  /** Where to listen, `tcp://host:port`; port 0: any free one; no host: all interfaces. */
  readonly listen_address: string;
  /** What peers are told instead of where the server listens; null: that itself. */
  readonly contact_address: string | null;
  /** The host that peers are told of, where the listening one is a wildcard. */
  readonly contact_host: string | null;
  /** Name of the scheduling policy. */
  readonly scheduler: string;
  /** The interpreter that opens pickled graphs; null: `$VIRTUAL_ENV`'s, else `python3`. */
  readonly python: string | null;
  readonly trace: "off" | "phases" | "tasks";
  /** Where all that the core is told is written; null: nowhere. */
  readonly stimulus_log: string | null;
  /** The result folder that the trace is written to at the end; null: a name of its own. */
  readonly out: string | null;
  /** Compiles the scheduler's code before there is work for it. */
  readonly training: boolean;
  /** Zero workers that stand in for real ones, in a process of their own. */
  readonly zero_workers: number;
  /** Ends the server after so long without work; null: never. */
  readonly idle_timeout_ms: number | null;
  /** A worker without a heartbeat for so long is removed (`distributed.scheduler.worker-ttl`); null: none is. */
  readonly worker_ttl_ms: number | null;
  readonly limits: PeerLimits;
  readonly settings: ServerSettings;
  readonly log: Log;
}

/** What Dask's configuration decides of a server. */
export interface ServerSettings {
  /** A task may be on so many workers that died unexpectedly; one more errs it. */
  readonly allowed_failures: number;
  /** The books are checked after each turn, and a breach ends the process: for tests. */
  readonly validate: boolean;
  /** Requests that are refused by their names. */
  readonly blocked_handlers: readonly string[];
  /** For reaching a worker, its handshake included. */
  readonly connect_ms: number;
  /** Connections that may knock at once. */
  readonly socket_backlog: number;
  /** Events that are kept of each topic. */
  readonly events_length: number;
  /** What `tls://` and `wss://` need; null: they are not spoken. */
  readonly tls: TlsContext | null;
  /** Nobody is spoken to in the clear. */
  readonly require_encryption: boolean;
  /** Users' pickles may be opened where Dask would run them in its scheduler. */
  readonly pickle: boolean;
  /** Tasks that no worker could take for so long are erred; null: never. */
  readonly no_workers_timeout_ms: number | null;
  readonly memory: MemorySettings;
  /** What the policy `dask` goes by. */
  readonly policy: DaskPolicySettings;
}

/** Dask's defaults, but for the backlog: as many peers as a large cluster's workers may knock at once. */
export const DEFAULT_SERVER_SETTINGS: ServerSettings = {
  allowed_failures: 3,
  validate: false,
  blocked_handlers: [],
  connect_ms: 30_000,
  socket_backlog: 4_096,
  events_length: 1_000,
  tls: null,
  require_encryption: false,
  pickle: true,
  no_workers_timeout_ms: null,
  memory: DEFAULT_MEMORY_SETTINGS,
  policy: DEFAULT_DASK_SETTINGS,
};

/** A started server. */
export interface RunningServer {
  /** Where peers reach it: never a wildcard. */
  readonly address: string;
  /** Where HTTP is served. */
  readonly dashboard_port: number;
  /** Resolves once the server has ended, for whatever reason; answers that reason. */
  readonly finished: Promise<string>;
  /** The document of the scheduler file: what `identity` answers, as plain JSON. */
  identityJson(): unknown;
  close(reason: string): Promise<void>;
}

/** Bounds on what one peer may cost. */
export interface PeerLimits {
  /** A peer that has not finished the handshake by then is dropped. */
  readonly handshake_ms: number;
  /** A peer that has asked for nothing by then, counted from the handshake, is dropped. */
  readonly first_message_ms: number;
  /** Bytes written to a registered worker or client that it has not read; more, and it is dropped. */
  readonly stream_pending_bytes_max: number;
  /** Above this an RPC peer's next request waits until its answers are read. */
  readonly rpc_pending_bytes_max: number;
  /** An RPC peer that has not read its answers for so long is dropped. */
  readonly rpc_stall_ms: number;
  /** Connections at once; further ones are closed at once. */
  readonly connections_max: number;
}

/**
 * Streams: one worker's share of a graph is written at once, payloads included; 100,000 tasks of 2 kB on one
 * worker are 200 MB that an honest peer needs seconds to read, so the bound is above that and still leaves a
 * common machine standing when one peer hangs. RPC: an answer may itself be large (`gather`), so not its size
 * is bounded but that there is one: further requests wait, and a reader that stands still is dropped.
 */
export const DEFAULT_PEER_LIMITS: PeerLimits = {
  handshake_ms: 10_000,
  first_message_ms: 60_000,
  stream_pending_bytes_max: 512 * 1024 * 1024,
  rpc_pending_bytes_max: 1024 * 1024,
  rpc_stall_ms: 120_000,
  connections_max: 20_000,
};

/** The address to tell peers: the listener's, with the host put in where that is a wildcard. */
export function contactAddress(listener_address: string, contact_host: string | null): string {
  if (contact_host === null) return listener_address;
  const port = /:(\d+)$/.exec(listener_address)?.[1] ?? "";
  const host = contact_host.includes(":") ? `[${contact_host}]` : contact_host;
  return `${listener_address.split("://", 1)[0]}://${host}:${port}`;
}
