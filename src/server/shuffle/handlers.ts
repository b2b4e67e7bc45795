import { setTimeout as sleep } from "node:timers/promises";
import { Pickled, WireMap, type WireValue } from "../../protocol/values.ts";
import { UnpackError } from "../../unpacker/graph.ts";
import { isBefore } from "../peers/release.ts";
import type { Handler, RpcContext } from "../rpc/context.ts";
import { PythonError, pickledException, uncaughtError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { UnreachableError } from "../rpc/worker-pool.ts";
import { nameOf, type ShuffleRun } from "./shuffles.ts";

/** Workers that cannot be reached are asked again after so long, and given up when none of them could three times. */
const BARRIER_RETRY_MS = 100;
const BARRIER_TRIES_MAX = 3;

/** `shuffle_get {id, worker}`: the present run of a shuffle, for a worker that takes part. */
function get(request: Request, context: RpcContext): WireValue {
  // 2022's says the columns of the frame, or None.
  if (request.fields.has("schema")) return context.shuffles.early.get(request);
  const worker = request.string("worker");
  const early = answersPlainly(context, worker);
  return answer(() => runReply(context.shuffles.join(request.string("id"), worker), early), early);
}

/** 2022's `shuffle_get_participating_workers {id}`. */
function participants(request: Request, context: RpcContext): WireValue {
  return context.shuffles.early.participantsOf(request.string("id"));
}

/** 2022's `shuffle_register_complete {id, worker}`. */
function registerComplete(request: Request, context: RpcContext): WireValue {
  context.shuffles.early.completed(request.string("id"), request.string("worker"));
  return null;
}

/**
 * `shuffle_get_or_create {shuffle_id, key, worker}`: as {@link get}, for a worker that runs an input task. Before 2024.11 it
 * has the shuffle's pickled specification, `spec`, in place of its id.
 */
async function getOrCreate(request: Request, context: RpcContext): Promise<WireValue> {
  const { shuffles } = context;
  const key = request.key("key");
  const worker = request.string("worker");
  const early = answersPlainly(context, worker);
  const spec = request.value("spec");
  try {
    const named = spec instanceof Pickled ? spec : null;
    const id = named === null ? request.string("shuffle_id") : shuffles.idOf(key);
    return runReply(await shuffles.joinOrCreate(id, key, worker, named), early);
  } catch (error) {
    return errorReply(error, early);
  }
}

/** Before 2024.6 the run is the whole answer, and an error is raised by the request itself. */
function answersPlainly({ cluster }: RpcContext, worker: string): boolean {
  return isBefore(cluster.workers.get(worker)?.versions, 2024, 6);
}

/** `shuffle_restrict_task {id, run_id, key, worker}`: an output task wants to be where its partition is. */
function restrictTask(request: Request, context: RpcContext): WireValue {
  return answer(() => {
    const id = request.string("id");
    context.shuffles.restrict(id, runId(request), request.key("key"), request.string("worker"));
    return WireMap.of({ status: "OK" });
  });
}

/**
 * `shuffle_barrier {id, run_id, consistent}`: all inputs are in, which is said to all who take part; the answer says
 * that they know. Inputs that went to different runs are computed again, all to one.
 */
async function barrier(request: Request, context: RpcContext): Promise<WireValue> {
  const run = context.shuffles.active(request.string("id"));
  const run_id = runId(request);
  if (run.run_id !== run_id)
    throw new PythonError("ValueError", `run_id=${run_id} does not match ${nameOf(run)}`);
  if (!request.boolean("consistent", true)) {
    context.shuffles.restart(run, "data inconsistency during barrier");
    return null;
  }
  // Where the run ends meanwhile, nothing is waited for: a worker may take 30 s to see that it cannot reach one that
  // is gone, and as long a thread of the worker that asks would be busy with a barrier that nobody needs any more.
  await Promise.race([tellAll(run, context), whenOver(run)]);
  return null;
}

/** Resolves when all who take part know that the inputs are in. Throws PythonError. */
async function tellAll(run: ShuffleRun, context: RpcContext): Promise<void> {
  let workers = [...run.participants];
  for (let tries = 0; workers.length > 0; ) {
    const missed = await tellInputsDone(run, workers, context);
    if (missed.length === 0) break;
    if (missed.some((worker) => !context.cluster.workers.has(worker)))
      throw new PythonError("RuntimeError", `Worker ${missed.join(", ")} left during shuffle ${nameOf(run)}`);
    tries = missed.length === workers.length ? tries + 1 : 0;
    if (tries >= BARRIER_TRIES_MAX) throw new PythonError("RuntimeError", stuckText(run, missed));
    await sleep(BARRIER_RETRY_MS);
    if (run.over.aborted) return;
    workers = missed;
  }
}

/** Rejects when the run is over. */
function whenOver({ over }: ShuffleRun): Promise<never> {
  return new Promise((_, reject) => {
    over.addEventListener("abort", () => reject(over.reason), { once: true });
  });
}

/** Answers the workers that could not be reached. Throws PythonError where one has failed. */
async function tellInputsDone(
  run: ShuffleRun,
  workers: readonly string[],
  context: RpcContext,
): Promise<string[]> {
  const message = { op: "shuffle_inputs_done", shuffle_id: run.id, run_id: run.run_id, reply: true };
  const missed: string[] = [];
  const faults: string[] = [];
  await Promise.all(
    workers.map(async (worker) => {
      try {
        await context.pool.request(worker, WireMap.of(message));
      } catch (error) {
        if (error instanceof UnreachableError) missed.push(worker);
        else if (error instanceof PythonError) faults.push(error.message);
        else throw error;
      }
    }),
  );
  if (faults.length > 0)
    throw new PythonError("RuntimeError", `Unexpected error encountered during P2P barrier: ${faults[0]}`);
  return missed;
}

function stuckText(run: ShuffleRun, missed: readonly string[]): string {
  return (
    `Broadcast not making progress for ${nameOf(run)}: ${missed.join(", ")} cannot be reached. Aborting. This is ` +
    "possibly due to overloaded workers."
  );
}

function runId(request: Request): number {
  const run_id = request.optionalNumber("run_id");
  if (run_id === null) throw new PythonError("TypeError", `${request.op}: 'run_id' must be given`);
  return run_id;
}

function runReply(run: ShuffleRun, plainly: boolean): WireValue {
  return plainly ? run.run_spec : WireMap.of({ status: "OK", run_spec: run.run_spec });
}

function answer(work: () => WireValue, plainly = false): WireValue {
  try {
    return work();
  } catch (error) {
    return errorReply(error, plainly);
  }
}

/** distributed's `error_message`: the worker raises the exception in the task that asked. */
function errorReply(error: unknown, plainly: boolean): WireMap {
  if (plainly) throw asRuntimeError(error);
  if (error instanceof UnpackError) {
    const exception = error.exception ?? pickledException("RuntimeError", error.message);
    const { traceback, traceback_text, message } = error;
    return WireMap.of({
      status: "error",
      exception,
      traceback,
      exception_text: message,
      traceback_text,
      message,
    });
  }
  // Other errors are this server's to report: as those of any request.
  if (!(error instanceof PythonError) || error.python_name !== "P2PConsistencyError") throw error;
  // Some workers read `message`, which Dask's own answer lacks.
  return uncaughtError(error).set("status", "error").set("message", error.message);
}

/** Releases before 2024.6 do not know P2PConsistencyError. */
function asRuntimeError(error: unknown): unknown {
  const known = error instanceof UnpackError || error instanceof PythonError;
  return known ? new PythonError("RuntimeError", error.message) : error;
}

export const SHUFFLE_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["shuffle_get", get],
  ["shuffle_get_participating_workers", participants],
  ["shuffle_register_complete", registerComplete],
  ["shuffle_get_or_create", getOrCreate],
  ["shuffle_restrict_task", restrictTask],
  ["shuffle_barrier", barrier],
];
