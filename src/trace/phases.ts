/**
 * The phases and hops of the result documents. A span names a *leaf* phase; its parent is the sum of its leaves.
 * `gc` and `idle` are top-level phases too, but nobody enters them: the collector and libuv report them.
 */

/** Ids of the phases that a span may have: small integers, so that every table over them is a typed array. */
export const PHASE = {
  graph: 0,
  transition: 1,
  placement: 2,
  balance: 3,
  encode: 4,
  decode: 5,
  compress: 6,
  unpack: 7,
  read: 8,
  write: 9,
  worker: 10,
  policy: 11,
} as const;

export type Phase = (typeof PHASE)[keyof typeof PHASE];

/** Number of phases that a span may have; ids are 0 … PHASE_COUNT − 1. */
export const PHASE_COUNT = 12;

/** The top-level phases, in the order of the documents. They are exclusive. */
export const TOP_PHASES = ["scheduling", "encoding", "network", "worker", "gc", "idle"] as const;

export type TopPhase = (typeof TOP_PHASES)[number];

/** For each span phase, by id: its name and the top-level phase that it is a part of; `worker` is its own top. */
export const SPAN_PHASES: readonly { readonly name: string; readonly top: TopPhase }[] = [
  { name: "graph", top: "scheduling" },
  { name: "transition", top: "scheduling" },
  { name: "placement", top: "scheduling" },
  { name: "balance", top: "scheduling" },
  { name: "encode", top: "encoding" },
  { name: "decode", top: "encoding" },
  { name: "compress", top: "encoding" },
  { name: "unpack", top: "encoding" },
  { name: "read", top: "network" },
  { name: "write", top: "network" },
  { name: "worker", top: "worker" },
  { name: "policy", top: "scheduling" },
];

/** Ids of the hops of a task's life: from one stamp to the next. */
export const HOP = {
  submitKnown: 0,
  knownReady: 1,
  readyPlaced: 2,
  placedEncoded: 3,
  encodedWritten: 4,
  writtenReceived: 5,
  receivedReported: 6,
  reportedRead: 7,
  writtenStart: 8,
  startStop: 9,
  stopRead: 10,
  readFinished: 11,
  finishedClient: 12,
} as const;

export type Hop = (typeof HOP)[keyof typeof HOP];

export const HOP_COUNT = 13;

/** Where a hop is taken: in every run, by a zero worker's fleet, or from a real worker's start and stop stamps. */
export type HopKind = "every" | "zero" | "real";

/** For each hop, by id: its name in the documents and the runs that have it. */
export const HOPS: readonly { readonly name: string; readonly kind: HopKind }[] = [
  { name: "submit→known", kind: "every" },
  { name: "known→ready", kind: "every" },
  { name: "ready→placed", kind: "every" },
  { name: "placed→encoded", kind: "every" },
  { name: "encoded→written", kind: "every" },
  { name: "written→received", kind: "zero" },
  { name: "received→reported", kind: "zero" },
  { name: "reported→read", kind: "zero" },
  { name: "written→start", kind: "real" },
  { name: "start→stop", kind: "real" },
  { name: "stop→read", kind: "real" },
  { name: "read→finished", kind: "every" },
  { name: "finished→client", kind: "every" },
];

/** The moments that hops lie between, in a task's own time line: a column each in `--trace tasks`. */
export const STAMP = {
  submit: 0,
  known: 1,
  ready: 2,
  placed: 3,
  encoded: 4,
  written: 5,
  received: 6,
  reported: 7,
  start: 8,
  stop: 9,
  read: 10,
  finished: 11,
  client: 12,
} as const;

export type Stamp = (typeof STAMP)[keyof typeof STAMP];

export const STAMP_COUNT = 13;

/** Names of the stamps by id. */
export const STAMP_NAMES: readonly string[] = Object.keys(STAMP);
