import { buildResults } from "../results/build.ts";
import type { TaskTable } from "../results/csv.ts";
import { writeResultFolder } from "../results/folder.ts";
import type { FleetThread, RunInput } from "../results/input.ts";
import { type GraphRow, type Json, LIVE_WORKLOAD, type Machine, type Summary } from "../results/summary.ts";
import type { LiveFacts, LiveWindow } from "../server/live/window.ts";

/** A window of a running scheduler as a result folder, in the form of a run with one repeat. */
export async function writeLiveFolder(
  folder: string,
  window: LiveWindow,
  asked: Readonly<Record<string, Json>>,
): Promise<Summary> {
  const { summary, histograms, traceEvents } = buildResults(liveInput(window, asked));
  const written = await writeResultFolder(folder, summary, histograms, traceEvents, tablesOf(window));
  return written.summary;
}

function liveInput({ facts, figures }: LiveWindow, asked: Readonly<Record<string, Json>>): RunInput {
  const window_s = (figures.end_ns - figures.start_ns) / 1e9;
  const largest = facts.graphs[0];
  return {
    run: { ...liveRun(facts), ...asked },
    started_at_ms: facts.started_at_ms,
    machine: facts.machine as unknown as Machine,
    // No run comes before a window and is discarded.
    cold: { makespan_s: 0, scheduler_cpu_us: 0 },
    repeats: [
      {
        makespan_s: window_s,
        graph_s: largest?.last_task_s ?? 0,
        first_task_s: largest?.first_task_s ?? 0,
        scheduler_cpu_us: facts.scheduler_cpu_us,
        ...(facts.scheduler_thread_cpu_us === null
          ? {}
          : { scheduler_thread_cpu_us: facts.scheduler_thread_cpu_us }),
        ...(facts.unpacker_cpu_us === null ? {} : { unpacker_cpu_us: facts.unpacker_cpu_us }),
        figures,
        loop: null,
        fleet: fleetOf(facts),
        graphs: facts.graphs as readonly GraphRow[],
        ledger: facts.counts,
        window_start_ms: facts.started_at_ms,
      },
    ],
    memory_bytes_per_task: null,
    rss_max_bytes: facts.rss_max_bytes,
  };
}

function liveRun(facts: LiveFacts): RunInput["run"] {
  const { counts } = facts;
  return {
    workload: LIVE_WORKLOAD,
    tasks: counts.tasks_finished - counts.recomputed,
    dependencies: facts.dependencies,
    zero_workers: facts.zero_workers,
    workers: facts.workers,
    clients: facts.clients,
    scheduler: facts.scheduler,
    transport: "tcp",
    release: facts.releases.join(", "),
    trace: facts.trace,
    seed: 1,
    repeats: 1,
    clocks: { ...facts.clocks },
    tasks_without_row: facts.tasks_left_out,
  };
}

function fleetOf({ zero_workers, fleet_cpu_ns }: LiveFacts): FleetThread[] {
  return zero_workers > 0 ? [{ cpu_ns: fleet_cpu_ns, figures: null }] : [];
}

function tablesOf({ tasks, figures }: LiveWindow): TaskTable[] {
  return tasks === null ? [] : [{ repeat: 0, ...tasks, origin_ns: figures.start_ns }];
}
