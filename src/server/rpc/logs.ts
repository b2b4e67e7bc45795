import type { WireValue } from "../../protocol/values.ts";
import { formatRecord } from "../peers/log.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import type { Request } from "./request.ts";
import { floatValue } from "./wire-shapes.ts";

/** `get_logs {start?, n?, timestamps?}`: our own log, newest first, as [level, line] or [time, level, line]. */
function getLogs(request: Request, context: RpcContext): WireValue {
  return logLines(context, {
    start_ms: (request.optionalNumber("start") ?? 0) * 1000,
    n: request.optionalNumber("n") ?? 0,
    timestamps: request.boolean("timestamps", false),
  });
}

/** The last `n` lines of our own log (0: all that are kept), newest first. */
export function logLines(
  context: RpcContext,
  { start_ms, n, timestamps }: { start_ms: number; n: number; timestamps: boolean },
): WireValue[] {
  const lines: WireValue[] = [];
  const { records } = context.log;
  for (let i = records.length - 1; i >= 0; i--) {
    const record = records[i]!;
    if ((n > 0 && lines.length >= n) || record.time_ms < start_ms) break;
    const line = formatRecord(record);
    lines.push(timestamps ? [floatValue(record.time_ms / 1000), record.level, line] : [record.level, line]);
  }
  return lines;
}

/** `log_event {topic, msg}`: one topic or several. */
function logEvent(request: Request, context: RpcContext): WireValue {
  context.events.publish(topicsOf(request.value("topic")), request.value("msg"));
  return null;
}

/** `events {topic?}`. */
function events(request: Request, context: RpcContext): WireValue {
  const topic = request.optionalString("topic");
  return topic === null ? context.events.allEvents() : context.events.events(topic);
}

/** A name, or several. */
export function topicsOf(value: WireValue): string[] {
  const topics = Array.isArray(value) ? value : [value];
  return topics.map((topic) => {
    if (typeof topic !== "string") throw new PythonError("TypeError", "a topic must be a string");
    return topic;
  });
}

export const LOG_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["get_logs", getLogs],
  ["logs", getLogs],
  ["log_event", logEvent],
  ["events", events],
];
