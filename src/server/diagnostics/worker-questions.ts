import { listOf } from "../../base/grouped.ts";
import type { TaskId } from "../../base/ids.ts";
import { type KeyBytes, keyText } from "../../protocol/keys.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { askAllWorkers } from "../rpc/broadcast.ts";
import type { Handler, RpcContext } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue, keyList } from "../rpc/wire-shapes.ts";
import { UnreachableError } from "../rpc/worker-pool.ts";
import type { Inspector } from "./inspector.ts";
import { emptyProfile, mergeProfiles } from "./profiles.ts";

/** Requests that are answered by asking workers, and putting their answers together. */
export class WorkerQuestions {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["call_stack", (request, context) => this.#callStack(request, context)],
    ["profile", (request, context) => this.#profile(request, context)],
    ["benchmark_hardware", (_request, context) => benchmarkHardware(context)],
  ];
  readonly #inspector: Inspector;

  constructor(inspector: Inspector) {
    this.#inspector = inspector;
  }

  /** `call_stack {keys?}`: what the workers' threads are at, for the keys or for all that runs. */
  async #callStack(request: Request, context: RpcContext): Promise<WireValue> {
    const keys = request.optionalKeys("keys");
    const asked =
      keys === null
        ? new Map([...context.cluster.workers.keys()].map((address) => [address, null]))
        : this.#runningFor(keys);
    const answers = await Promise.all(
      [...asked].map(async ([address, wanted]) => {
        const list = wanted === null ? null : keyList(wanted.map((task) => this.#inspector.key(task)));
        const message = WireMap.of({ op: "call_stack", keys: list, reply: true });
        return [address, await context.pool.request(address, message)] as const;
      }),
    );
    return WireMap.from(answers.filter(([, stack]) => stack instanceof WireMap && stack.size > 0));
  }

  /** Workers with the tasks that they have to compute for these keys: themselves, or what they wait for. */
  #runningFor(keys: readonly KeyBytes[]): Map<string, TaskId[]> {
    const found = new Map<string, TaskId[]>();
    const stack = keys.map((key) => {
      const task = this.#inspector.find(key);
      if (task < 0) throw new PythonError("KeyError", keyText(key));
      return task;
    });
    const seen = new Set<TaskId>();
    for (let task = stack.pop(); task !== undefined; task = stack.pop()) {
      if (seen.has(task)) continue;
      seen.add(task);
      if (this.#inspector.state(task) === "waiting") stack.push(...this.#inspector.dependencies(task));
      const worker = this.#inspector.processingOn(task);
      if (worker !== null) listOf(found, worker).push(task);
    }
    return found;
  }

  /** `profile {workers?, scheduler?, server?, merge_workers?, start?, stop?, key?}`: where the threads' time goes. */
  async #profile(request: Request, context: RpcContext): Promise<WireValue> {
    // The scheduler's threads run no Python: nothing was seen on them.
    if (request.boolean("scheduler", false)) return emptyProfile();
    const asked = request.optionalStrings("workers");
    const addresses = [...context.cluster.workers.keys()].filter(
      (address) => asked?.includes(address) ?? true,
    );
    const message = WireMap.of({ op: "profile", reply: true, server: request.boolean("server", false) });
    for (const name of ["start", "stop", "key"]) message.set(name, request.value(name));
    const profiles = await profilesOf(addresses, message, context);
    if (!request.boolean("merge_workers", true)) return WireMap.from(profiles);
    return mergeProfiles(profiles.map(([, profile]) => profile));
  }

  /** Where all workers' threads were between two times, in seconds since the epoch. */
  async profileOf(
    { start_s, stop_s }: { start_s: number; stop_s: number },
    context: RpcContext,
  ): Promise<WireMap> {
    const times = { start: floatValue(start_s), stop: floatValue(stop_s) };
    const message = WireMap.of({ op: "profile", reply: true, server: false, key: null, ...times });
    const profiles = await profilesOf([...context.cluster.workers.keys()], message, context);
    return mergeProfiles(profiles.map(([, profile]) => profile));
  }
}

async function profilesOf(
  addresses: readonly string[],
  message: WireMap,
  context: RpcContext,
): Promise<(readonly [string, WireMap])[]> {
  const profiles: (readonly [string, WireMap])[] = [];
  await Promise.all(
    addresses.map(async (address) => {
      const profile = await answerOf(address, message, context);
      if (profile instanceof WireMap) profiles.push([address, profile]);
    }),
  );
  return profiles;
}

/** A worker that does not answer is left out of what is put together. */
async function answerOf(address: string, message: WireMap, context: RpcContext): Promise<WireValue> {
  try {
    return await context.pool.request(address, message);
  } catch (error) {
    if (error instanceof UnreachableError || error instanceof PythonError) return null;
    throw error;
  }
}

/** `benchmark_hardware`: bandwidths of memory, disk and network by size of the block, averaged over workers. */
async function benchmarkHardware(context: RpcContext): Promise<WireValue> {
  const result = new WireMap();
  for (const mode of ["memory", "disk"] as const) {
    const answers = await askAllWorkers(WireMap.of({ op: `benchmark_${mode}`, reply: true }), context);
    result.set(mode, averages(answers.values));
  }
  // Neighbours of a shuffled list: workers of one host would sit side by side in the order of their coming.
  const workers = [...context.cluster.workers.keys()];
  for (let i = workers.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [workers[i], workers[j]] = [workers[j]!, workers[i]!];
  }
  const pairs: Promise<WireValue>[] = [];
  for (let i = 0; i + 1 < workers.length; i += 2) {
    const message = WireMap.of({ op: "benchmark_network", address: workers[i + 1]!, reply: true });
    pairs.push(context.pool.request(workers[i]!, message));
  }
  return result.set("network", averages(await Promise.all(pairs)));
}

function averages(answers: readonly WireValue[]): WireMap {
  const sums = new Map<string, { sum: number; count: number }>();
  for (const answer of answers) {
    if (!(answer instanceof WireMap)) continue;
    answer.keys.forEach((size, i) => {
      const entry = sums.get(String(size)) ?? { sum: 0, count: 0 };
      entry.sum += toNumber(answer.values[i]) ?? 0;
      entry.count++;
      sums.set(String(size), entry);
    });
  }
  return WireMap.from([...sums].map(([size, { sum, count }]) => [size, floatValue(sum / count)] as const));
}
