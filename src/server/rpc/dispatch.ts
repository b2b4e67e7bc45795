import { ProtocolError } from "../../protocol/errors.ts";
import type { FramedMessage } from "../../protocol/frames.ts";
import { decodeMessage } from "../../protocol/message.ts";
import { WireMap } from "../../protocol/values.ts";
import { type Channel, ChannelClosedError } from "../peers/channel.ts";
import {
  HANDED_OVER,
  type Handler,
  type HandlerTable,
  NO_REPLY,
  type Reply,
  type RpcContext,
} from "./context.ts";
import { PythonError, uncaughtError } from "./python-error.ts";
import { Request } from "./request.ts";
import { UnreachableError } from "./worker-pool.ts";

/** Names of unknown operations that are counted apart: peers make them up. */
const UNKNOWN_OPS_MAX = 1_000;

/**
 * Serves the requests of one connection, one after the other, until it ends or becomes a stream. Resolves to true
 * if it was handed over. Throws ProtocolError for what is no request: the caller drops the connection.
 */
export async function serveRequests(
  channel: Channel,
  table: HandlerTable,
  context: RpcContext,
): Promise<boolean> {
  const { limits } = context;
  for (;;) {
    const message = await channel.read();
    if (message === null) return false;
    const request = parseRequest(message);
    const { fields, op } = request;
    const wants_reply = fields.get("reply") !== false;
    if (op === "close") {
      if (wants_reply) channel.write("OK");
      channel.close();
      return false;
    }
    const reply = await answer(request, table.get(op), context, channel);
    if (reply === HANDED_OVER) return true;
    if (reply !== NO_REPLY && wants_reply) channel.write(reply);
    if (fields.get("close") === true) {
      channel.close();
      return false;
    }
    if (!(await channel.drained(limits.rpc_pending_bytes_max, limits.rpc_stall_ms))) {
      throw new ProtocolError("NOT_READ", `did not read its answers for ${limits.rpc_stall_ms} ms`);
    }
  }
}

function parseRequest(message: FramedMessage): Request {
  const fields = decodeMessage(message);
  if (!(fields instanceof WireMap)) throw new ProtocolError("BAD_REQUEST", "a request that is no dict");
  const op = fields.get("op");
  if (typeof op !== "string") throw new ProtocolError("BAD_REQUEST", "a request without 'op'");
  return new Request(op, fields);
}

async function answer(
  request: Request,
  handler: Handler | undefined,
  context: RpcContext,
  channel: Channel,
): Promise<Reply> {
  if (handler === undefined) {
    countUnknown(request.op, context);
    return null;
  }
  try {
    return await handler(request, context, channel);
  } catch (error) {
    // The request could not be answered in part (the peer's own connection ended): nobody is left to be told.
    if (error instanceof ChannelClosedError) return NO_REPLY;
    const known = asPythonError(error);
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    // A TimeoutError mostly has no text.
    const text = known === null ? stack : known.message || known.python_name;
    context.log.writeLimited(
      "ERROR",
      `op ${request.op}`,
      `Exception while handling op ${request.op}: ${text}`,
    );
    return uncaughtError(known ?? new PythonError("RuntimeError", `rsds: ${String(error)}`));
  }
}

/** Null: none of the failures that a handler is expected to have, so one of our own bugs. */
export function asPythonError(error: unknown): PythonError | null {
  if (error instanceof PythonError) return error;
  if (error instanceof UnreachableError) return new PythonError("CommClosedError", error.message);
  if (error instanceof ProtocolError) return new PythonError("ValueError", error.message);
  return null;
}

/** Dask answers None as well; here the log names the operation once in a while, and the count is kept. */
function countUnknown(op: string, context: RpcContext): void {
  const counted = context.unknown_ops.get(op);
  if (counted === undefined && context.unknown_ops.size >= UNKNOWN_OPS_MAX) return;
  context.unknown_ops.set(op, (counted ?? 0) + 1);
  if (counted === undefined) context.log.write("WARNING", `No handler ${op} found in Scheduler`);
}
