import type { Profiler } from "node:inspector";
import type { TaskTable } from "../../src/results/csv.ts";
import type { RunInput } from "../../src/results/input.ts";
import { parseWorkload, type Workload } from "../workloads/index.ts";
import { CpuProfiler } from "./cpu-profiler.ts";
import type { Measured, RunnerParts } from "./measure.ts";
import { memoryBytesPerTask } from "./memory.ts";
import type { Progress, ZeroRunOptions } from "./options.ts";
import { startRunner } from "./start-runner.ts";
import { type Training, train } from "./training.ts";

/** What a run hands over: without a repeat there is nothing to write. */
interface ZeroRunResult {
  readonly input: RunInput;
  /** A table a repeat with `--trace tasks`. */
  readonly tables: readonly TaskTable[];
  /** With `cpu_profile`, once there is a repeat. */
  readonly profile: Profiler.Profile | null;
  readonly interrupted: boolean;
}

/**
 * A pure overhead run: the full scheduler, zero workers, one workload; a warm-up, then the repeats on the same
 * scheduler with fresh keys. When `signal` aborts, the repeat under way is given up and what was measured so far is
 * the result. Throws WorkloadError for a workload that cannot be used.
 */
export async function zeroRun(
  options: ZeroRunOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<ZeroRunResult> {
  const workload = await parseWorkload(options.workload);
  const started_at_ms = Date.now();
  progress.say(
    `${workload.name}: ${workload.tasks} tasks, ${workload.dependencies} dependencies; ` +
      `${options.zero_workers} zero workers over ${options.transport}, scheduler ${options.scheduler}`,
  );
  const parts = { options, workload, log: (text: string) => progress.say(text) };
  const training = await trainFor(options, progress, signal);
  const { measured, profile } = await measureAll(parts, progress, signal);
  const [cold, ...repeats] = measured;
  const input: RunInput = {
    run: runFacts(options, workload, repeats.length),
    started_at_ms,
    training,
    cold: cold ?? null,
    repeats,
    memory_bytes_per_task: signal.aborted ? null : memoryBytesPerTask(workload),
    rss_max_bytes: process.resourceUsage().maxRSS * 1024,
  };
  const tables = repeats.flatMap(({ tasks }) => tasks ?? []);
  return { input, tables, profile, interrupted: signal.aborted };
}

/** null: there was none, or it was interrupted. */
async function trainFor(
  options: ZeroRunOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<Training | null> {
  if (options.training === false) return null;
  const training = await train(options, signal);
  if (training !== null)
    progress.say(
      `  trained: ${(training.seconds * 1e3).toFixed(0)} ms, ${(training.cpu_s * 1e3).toFixed(0)} ms of CPU`,
    );
  return training;
}

interface AllMeasured {
  readonly measured: Measured[];
  readonly profile: Profiler.Profile | null;
}

/** The warm-up and the repeats, or as many of them as were over when `signal` aborted. */
async function measureAll(parts: RunnerParts, progress: Progress, signal: AbortSignal): Promise<AllMeasured> {
  const measured: Measured[] = [];
  let profile: Profiler.Profile | null = null;
  if (signal.aborted) return { measured, profile };
  const profiler = parts.options.cpu_profile === true ? new CpuProfiler() : null;
  const runner = await startRunner(parts);
  const aborted = new Promise<null>((resolve) => {
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  try {
    for (let repeat = 0; repeat <= parts.options.repeats && !signal.aborted; repeat++) {
      // The warm-up is in no figure, nor in the profile.
      if (repeat === 1) await profiler?.start();
      const run = runner.run(repeat);
      const one = await Promise.race([run, aborted]);
      if (one === null) {
        // Its peers are about to be taken from under it: how it fails is of no interest.
        run.catch(() => undefined);
        break;
      }
      measured.push(one);
      progress.say(line(repeat, one, parts.workload));
    }
    if (profiler !== null && measured.length > 1) profile = await profiler.stop();
  } finally {
    await (signal.aborted ? runner.abort() : runner.close());
  }
  return { measured, profile };
}

/** What the documents say of a run. */
export function runFacts(options: ZeroRunOptions, workload: Workload, repeats: number): RunInput["run"] {
  return {
    workload: options.workload,
    tasks: workload.tasks,
    dependencies: workload.dependencies,
    zero_workers: options.zero_workers,
    scheduler: options.scheduler,
    transport: options.transport,
    release: options.release,
    flush: options.flush,
    order: options.order,
    trace: options.trace,
    // Sampling has its cost: a run with it is not comparable with one without.
    ...(options.cpu_profile === true ? { cpu_profile: true } : {}),
    seed: options.seed,
    repeats,
  };
}

function line(repeat: number, measured: Measured, workload: Workload): string {
  const name = repeat === 0 ? "cold" : `repeat ${repeat}`;
  const us = (value: number): string => (value / workload.tasks).toFixed(2);
  return (
    `  ${name}: ${(measured.makespan_s * 1e3).toFixed(1)} ms, ${us(measured.makespan_s * 1e6)} us a task, ` +
    `scheduler CPU ${us(measured.scheduler_cpu_us)} us a task`
  );
}
