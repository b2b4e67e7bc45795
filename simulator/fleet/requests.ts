import { ProtocolError } from "../../src/protocol/errors.ts";
import { keyBytes, keyValue } from "../../src/protocol/keys.ts";
import { WireFloat, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { errorReply, okReply, resultValue } from "./answers.ts";
import type { FleetContext } from "./fleet-context.ts";
import { RESULT_NBYTES } from "./report-writer.ts";
import type { ZeroWorker } from "./zero-worker.ts";

/** What the request handlers know of their worker. */
export interface RequestSubject {
  readonly worker: ZeroWorker;
  readonly context: FleetContext;
  readonly server_id: string;
  readonly scheduler_address: string;
  readonly versions: WireMap;
  /** The worker's recent log lines, newest last. */
  readonly log_lines: readonly string[];
  /** Ends the worker after the reply is out. */
  close(reason: string): void;
}

/** A reply, and what the asker must do next. */
export interface Answer {
  /** Absent: distributed sends no reply to it. */
  readonly reply: WireValue;
  /** `get_data`: the asker confirms with the bare text "OK". */
  readonly expects_ok?: boolean;
}

type Handler = (subject: RequestSubject, request: WireMap) => WireValue;

/** Why an operation is refused, by operation: a zero worker has no Python, no data and no disk of its own. */
const REFUSED: Readonly<Record<string, string>> = {
  run: "it has no Python to run a function with",
  run_coroutine: "it has no Python to run a coroutine with",
  actor_execute: "it holds no actor",
  actor_attribute: "it holds no actor",
  upload_file: "it has no place for a file",
  "plugin-add": "it has no Python to run a plugin in",
  "plugin-remove": "it has no plugins",
  shuffle_receive: "a P2P shuffle needs workers that hold data",
  shuffle_inputs_done: "a P2P shuffle needs workers that hold data",
  shuffle_fail: "a P2P shuffle needs workers that hold data",
  benchmark_disk: "it measures nothing",
  benchmark_memory: "it measures nothing",
  benchmark_network: "it measures nothing",
};

const HANDLERS: Readonly<Record<string, Handler>> = {
  identity,
  keys: ({ worker, context }) => context.held.keysOf(worker.index).map(keyValue),
  ping: () => Buffer.from("pong"),
  echo: (_, request) => request.get("data") ?? null,
  versions: ({ versions }) => versions,
  get_logs: getLogs,
  call_stack: () => WireMap.of({}),
  profile: () => emptyProfile(),
  profile_metadata: () => WireMap.of({ counts: [], keys: [] }),
  get_monitor_info: ({ context }) => monitorInfo(context),
  get_story: () => [],
  dump_state: dumpState,
  gather: (subject, request) => {
    holdAll(subject, mapOf(request, "who_has").keys);
    return okReply();
  },
  update_data: updateData,
  free_keys: freeKeys,
  terminate: (subject, request) => {
    const reason = request.get("reason");
    subject.close(typeof reason === "string" ? reason : "terminate");
    return "OK";
  },
};

/**
 * Answers one request as the release's real worker would, from what a zero worker knows. What it cannot do is
 * refused with an error that clients raise; an operation that no worker has is answered nil, as distributed does.
 */
export function answerRequest(subject: RequestSubject, op: string, request: WireMap): Answer {
  if (op === "get_data") return { reply: getData(subject, request), expects_ok: true };
  const refused = Object.hasOwn(REFUSED, op) ? REFUSED[op] : undefined;
  if (refused !== undefined) {
    subject.context.logOnce(`request ${op}`, `a zero worker refused ${op}: ${refused}`);
    return { reply: errorReply(`a zero worker cannot do ${op}: ${refused}`) };
  }
  const handler = Object.hasOwn(HANDLERS, op) ? HANDLERS[op] : undefined;
  if (handler !== undefined) return { reply: handler(subject, request) };
  subject.context.logOnce(
    `request ${op}`,
    `a zero worker was asked for ${JSON.stringify(op)}, which no worker has`,
  );
  return { reply: null };
}

/** Every key that is held is worth 42, also one that was scattered: a zero worker keeps no data. */
function getData({ worker, context }: RequestSubject, request: WireMap): WireMap {
  const data = new WireMap();
  for (const value of arrayOf(request, "keys")) {
    const key = keyBytes(value);
    if (!context.held.has(worker.index, key, 0, key.length)) continue;
    data.keys.push(value);
    data.values.push(resultValue());
  }
  return okReply({ data });
}

function identity({ context, server_id, scheduler_address }: RequestSubject): WireMap {
  return WireMap.of({
    type: "Worker",
    id: server_id,
    scheduler: scheduler_address,
    nthreads: 1,
    memory_limit: 2 ** 30,
    zero_worker: context.traits.release,
  });
}

/** Newest first, as distributed gives them. */
function getLogs({ log_lines }: RequestSubject, request: WireMap): WireValue {
  const limit = request.get("n");
  const lines = [...log_lines].reverse();
  return lines.slice(0, typeof limit === "number" ? limit : lines.length).map((line) => ["INFO", line]);
}

/** The profile of a worker that never computed: `distributed.profile.create()`. */
function emptyProfile(): WireMap {
  return WireMap.of({
    count: 0,
    children: WireMap.of({}),
    identifier: "root",
    description: WireMap.of({ filename: "", name: "", line_number: 0, line: "" }),
  });
}

function monitorInfo(context: FleetContext): WireMap {
  const unix_s = context.clock.unixSeconds(context.clock.now());
  return WireMap.of({ range_query: WireMap.of({}), count: 0, last_time: new WireFloat(unix_s) });
}

function dumpState({ worker, context, server_id }: RequestSubject): WireMap {
  const tasks = context.held.keysOf(worker.index).map((key) => {
    const value = keyValue(key);
    return [value, WireMap.of({ key: value, state: "memory", nbytes: RESULT_NBYTES })] as const;
  });
  return WireMap.of({
    type: "Worker",
    id: server_id,
    status: worker.status,
    tasks: WireMap.from(tasks),
    logs: [],
  });
}

/** Scattered data: the keys are held from here on, the values are dropped. Sizes are those of every result. */
function updateData(subject: RequestSubject, request: WireMap): WireMap {
  const keys = mapOf(request, "data").keys;
  holdAll(subject, keys);
  return WireMap.of({ nbytes: WireMap.from(keys.map((key) => [key, RESULT_NBYTES] as const)), status: "OK" });
}

function freeKeys({ worker }: RequestSubject, request: WireMap): WireValue {
  worker.release(arrayOf(request, "keys"), request.get("stimulus_id") ?? null);
  return null;
}

function holdAll({ worker }: RequestSubject, keys: readonly WireValue[]): void {
  for (const key of keys) worker.hold(keyBytes(key));
}

function arrayOf(request: WireMap, name: string): readonly WireValue[] {
  const value = request.get(name);
  if (Array.isArray(value)) return value;
  throw new ProtocolError("BAD_REQUEST", `a request without a list of ${name}`);
}

function mapOf(request: WireMap, name: string): WireMap {
  const value = request.get(name);
  if (value instanceof WireMap) return value;
  throw new ProtocolError("BAD_REQUEST", `a request without a map of ${name}`);
}
