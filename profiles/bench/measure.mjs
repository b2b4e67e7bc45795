// One case of the table, measured by `rsds` itself in processes of its own.
import { rsdsJson } from "./processes.mjs";

/** V8 without its helper threads: what they do is done by the thread that asks for it. */
const WITHOUT_HELPERS = ["--single-threaded"];

/**
 * Four processes: with `--trace phases`, with `--trace off`, and for the cold run without V8's helper threads and
 * without training. `repeat`: the case's own unless given.
 * Figures in µs a task unless their name says otherwise; a figure that the system does not tell is null.
 */
export async function measureCase({ args, repeat: settled }, { repeat = settled, seed }) {
  const run = (more, options) => rsdsJson([...args, "--seed", seed, ...more], options);
  const traced = await run(["--trace", "phases", "--repeat", repeat]);
  const off = await run(["--trace", "off", "--repeat", repeat]);
  const alone = await run(["--trace", "off", "--repeat", 1], { node_args: WITHOUT_HELPERS });
  const untrained = await run(["--trace", "off", "--repeat", 1, "--training", "off"]);
  const of = (summary, name) => summary.repeats.map((one) => one[name] ?? null);
  return {
    tasks: traced.run.tasks,
    cpu_us: of(traced, "scheduler_cpu_us_per_task"),
    cpu_off_us: of(off, "scheduler_cpu_us_per_task"),
    makespan_us: of(traced, "us_per_task"),
    cold_us: traced.cold.scheduler_cpu_us_per_task,
    cold_thread_us: traced.cold.scheduler_thread_cpu_us_per_task ?? null,
    cold_alone_us: alone.cold.scheduler_cpu_us_per_task,
    cold_untrained_us: untrained.cold.scheduler_cpu_us_per_task,
    threads_us: threads(off),
    // Single messages of 8 MiB and more are read and written in one turn.
    turn_max_ms: traced.loop.turn_max_plain_ms,
    turn_p999_ms: traced.loop.turn_p999_ms,
    unattributed_share: traced.unattributed_share,
    probe_share: traced.probe.share,
    memory_bytes: traced.memory_bytes_per_task,
    rss_max_bytes: traced.rss_max_bytes,
  };
}

/** The scheduler's thread, V8's and libuv's helpers, and the fleet's process, with `--trace off`. */
function threads({ scheduler_cpu_us_per_task: all, scheduler_thread_cpu_us_per_task: main, fleet }) {
  return {
    main: main?.median ?? null,
    helpers: main === undefined ? null : Math.max(0, all.median - main.median),
    fleet: fleet?.cpu_us_per_task ?? null,
  };
}
