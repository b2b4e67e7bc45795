import { serialize } from "node:v8";
import { externalCommand } from "../../src/schedulers/index.ts";
import { merge, random, tree } from "../workloads/generators.ts";
import type { Workload } from "../workloads/index.ts";
import { union } from "../workloads/union.ts";
import type { Runner } from "./measure.ts";
import type { ZeroRunOptions } from "./options.ts";
import { startRunner } from "./start-runner.ts";

/** More than arrays by worker have room for at first: what grows later is another array to the compiled code. */
const WORKERS = 80;
const FEW_WORKERS = 4;
const TASKS = 1000;
const TREE_EXPONENT = 10;
/** After so many V8 has compiled what a task passes through, and found its first guesses wrong. */
const ROUNDS = 6;

/** What is to be trained: the code that these options lead through. */
export type TrainingOptions = Pick<
  ZeroRunOptions,
  "scheduler" | "transport" | "release" | "flush" | "order" | "trace" | "seed"
>;

/** What it took. */
export interface Training {
  readonly seconds: number;
  readonly cpu_s: number;
}

/**
 * Has V8 compile a scheduler's code before there is work for it: small graphs are computed by a server of its own
 * with zero workers beside it, all in this process. A scheduler that was not trained spends four times as much on its
 * first 10,000 tasks (docs/decisions/0020-training.md). null when `signal` aborted it: what was compiled by then
 * stays. Rejects where a server cannot listen on 127.0.0.1.
 */
export async function train(options: TrainingOptions, signal: AbortSignal): Promise<Training | null> {
  const began_ms = performance.now();
  const cpu = process.cpuUsage();
  // The first Buffer that comes out of a Serializer, as of the first message to a child process, makes V8 throw away
  // all code that was compiled for typed arrays: now there is none yet.
  serialize(null);
  const mixed = union("mixed", [
    merge("merge", TASKS),
    tree("tree", TREE_EXPONENT),
    random("random", TASKS, 1),
  ]);
  // A world before the one that counts: what V8 takes for constant, since it was made but once and never grew, is made
  // again, and grows by large packets.
  await trainOn(merge("merge", FEW_WORKERS * TASKS), { workers: FEW_WORKERS, rounds: 1 }, options, signal);
  await trainOn(mixed, { workers: WORKERS, rounds: ROUNDS }, options, signal);
  if (signal.aborted) return null;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - began_ms) / 1e3, cpu_s: (user + system) / 1e6 };
}

async function trainOn(
  workload: Workload,
  { workers, rounds }: { readonly workers: number; readonly rounds: number },
  options: TrainingOptions,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  const runner = await startRunner({
    options: {
      ...options,
      workload: workload.name,
      zero_workers: workers,
      repeats: rounds,
      // Somebody else's process is not asked about graphs that there are not.
      scheduler: externalCommand(options.scheduler) === null ? options.scheduler : "workstealing",
    },
    workload,
    log: () => undefined,
    together: true,
  });
  await runRounds(runner, rounds, signal).finally(() => (signal.aborted ? runner.abort() : runner.close()));
}

async function runRounds(runner: Runner, rounds: number, signal: AbortSignal): Promise<void> {
  const aborted = new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  for (let round = 0; round < rounds && !signal.aborted; round++) {
    const run = runner.run(round);
    // Its peers may be about to be taken from under it: how it fails then is of no interest.
    run.catch(() => undefined);
    await Promise.race([run, aborted]);
  }
}
