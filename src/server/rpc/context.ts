import type { Machine } from "../../base/machine.ts";
import type { WireMap, WireValue } from "../../protocol/values.ts";

import type { Extensions } from "../extensions/extensions.ts";

import type { LiveTrace } from "../live/live-trace.ts";

import type { Channel } from "../peers/channel.ts";
import type { Cluster } from "../peers/cluster.ts";
import type { Log } from "../peers/log.ts";
import type { PeerLimits } from "../peers/options.ts";
import type { Registration } from "../registration/registration.ts";
import type { Shuffles } from "../shuffle/shuffles.ts";
import type { Datasets } from "./datasets.ts";
import type { EventBroker } from "./event-broker.ts";
import type { MetadataStore } from "./metadata.ts";
import type { PluginStore } from "./plugin-store.ts";
import type { Request } from "./request.ts";
import type { WorkerPool } from "./worker-pool.ts";

/** All that an RPC handler may use. One for each server. */
export interface RpcContext {
  readonly cluster: Cluster;
  readonly registration: Registration;
  readonly pool: WorkerPool;
  readonly events: EventBroker;
  readonly plugins: PluginStore;
  readonly metadata: MetadataStore;
  readonly datasets: Datasets;
  readonly shuffles: Shuffles;
  readonly extensions: Extensions;
  readonly server: ServerFacts;
  /** Null where there is nothing to trace. */
  readonly live: LiveTrace | null;
  /** Versions of the Python that opens graphs and of its packages; empty where there is none. */
  readonly pythonPackages: () => Promise<ReadonlyMap<string, string | null>>;
  readonly limits: PeerLimits;
  readonly log: Log;
  readonly machine: Machine;
  /** Milliseconds since the epoch. */
  readonly now_ms: () => number;
  /** Requests with an op that the table does not have, by name: a named defect, not an answer. */
  readonly unknown_ops: Map<string, number>;
  /** Starts to end the server; returns at once, so that the request that asked for it is answered. */
  shutdown(reason: string): void;
}

/** What the server says of itself. */
interface ServerFacts {
  /** `Scheduler-<uuid>`. */
  readonly id: string;
  /** Where peers reach it; "" before it listens. */
  address: string;
  /** Since when, in seconds since the epoch. */
  readonly started_s: number;
  readonly version: string;
  /** Ports of further services by name: `dashboard`. */
  readonly services: WireMap;
}

/** The handler answers nothing: it wrote its own reply, or none is wanted. */
export const NO_REPLY = Symbol("no reply");
/** The connection has become something else (a stream); the loop of requests lets go of it. */
export const HANDED_OVER = Symbol("handed over");

export type Reply = WireValue | typeof NO_REPLY | typeof HANDED_OVER;
/** `channel`: the connection that asks, for handlers that do more with it than answer. */
export type Handler = (request: Request, context: RpcContext, channel: Channel) => Reply | Promise<Reply>;
export type HandlerTable = ReadonlyMap<string, Handler>;
