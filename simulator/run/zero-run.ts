import type { RunInput } from "../../src/results/input.ts";
import { rsdsVersion } from "../../src/results/machine.ts";
import { parseWorkload, type Workload } from "../workloads/index.ts";
import { DirectRunner } from "./direct-run.ts";
import type { Measured, Runner } from "./measure.ts";
import { memoryBytesPerTask } from "./memory.ts";
import type { Progress, ZeroRunOptions } from "./options.ts";
import { WireRunner } from "./wire-run.ts";

/**
 * A pure overhead run: the full scheduler, zero workers, one workload; a warm-up, then the repeats on the same
 * scheduler with fresh keys. With `signal` aborted, what was measured so far is the result.
 * Throws WorkloadError for a workload that cannot be used.
 */
export async function zeroRun(
  options: ZeroRunOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<{ input: RunInput; interrupted: boolean }> {
  const workload = await parseWorkload(options.workload);
  const started_at_ms = Date.now();
  progress.say(
    `${workload.name}: ${workload.tasks} tasks, ${workload.dependencies} dependencies; ` +
      `${options.zero_workers} zero workers over ${options.transport}, scheduler ${options.scheduler}`,
  );
  const parts = { options, workload, log: (text: string) => progress.say(text) };
  const runner: Runner =
    options.transport === "direct" ? new DirectRunner(parts) : await WireRunner.start(parts, rsdsVersion());
  const repeats: Measured[] = [];
  let cold: Measured | null = null;
  try {
    for (let repeat = 0; repeat <= options.repeats && !signal.aborted; repeat++) {
      const measured = await runner.run(repeat);
      if (repeat === 0) cold = measured;
      else repeats.push(measured);
      progress.say(line(repeat, measured, workload));
    }
  } finally {
    await runner.close();
  }
  const input: RunInput = {
    run: runFacts(options, workload, repeats.length),
    started_at_ms,
    cold: cold === null ? null : { makespan_s: cold.makespan_s, scheduler_cpu_us: cold.scheduler_cpu_us },
    repeats,
    memory_bytes_per_task: signal.aborted ? null : memoryBytesPerTask(workload),
    rss_max_bytes: process.resourceUsage().maxRSS * 1024,
  };
  return { input, interrupted: signal.aborted };
}

function runFacts(options: ZeroRunOptions, workload: Workload, repeats: number): RunInput["run"] {
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
