import { connect, createServer, type Socket } from "node:net";
import type { TaskTable } from "../../src/results/csv.ts";
import type { FleetThread, RepeatInput, RunInput } from "../../src/results/input.ts";
import type { Ledger, RunFacts } from "../../src/results/summary.ts";
import { processCpuUs } from "../../src/trace/cpu.ts";
import { HOP, PHASE, STAMP } from "../../src/trace/phases.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { TaskRows } from "../../src/trace/task-rows.ts";

/** Hops that both sides of a `tcp` run take, stamped by this stand-in at the moments that its echo has. */
const BATCH = 20;

/**
 * A small recorded run over real sockets: "tasks" go out in batches and come back, one window a repeat. It is no
 * scheduler, but its spans, waits, hops and counts are real.
 */
export async function recordRun(run: RunFacts): Promise<{ input: RunInput; tables: TaskTable[] }> {
  const traced = run.trace !== "off";
  const recorder = traced ? new Recorder() : null;
  const repeats: RepeatInput[] = [];
  const tables: TaskTable[] = [];
  const started_at_ms = Date.now();
  for (let i = 0; i < run.repeats; i++) {
    const rows = new TaskRows();
    repeats.push(await recordRepeat(run, recorder, rows));
    if (run.trace !== "tasks") continue;
    tables.push({
      repeat: i,
      rows,
      key: (row) => `('a, "b"', ${row})`,
      worker: (worker) => `tcp://127.0.0.1:${worker}`,
      origin_ns: 0,
    });
  }
  recorder?.close();
  const cold = { makespan_s: 0.5, scheduler_cpu_us: 1000 };
  return {
    input: { run, started_at_ms, cold, repeats, memory_bytes_per_task: 120.5, rss_max_bytes: 1e8 },
    tables,
  };
}

async function recordRepeat(run: RunFacts, recorder: Recorder | null, rows: TaskRows): Promise<RepeatInput> {
  const server = createServer((peer) => {
    peer.setNoDelay();
    peer.on("data", (chunk) => peer.write(chunk));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const socket = connect(address !== null && typeof address === "object" ? address.port : 0, "127.0.0.1");
  await new Promise<void>((connected) => socket.once("connect", connected));
  const window_start_ms = Date.now();
  const cpu_before = processCpuUs();
  const start = recorder?.openWindow() ?? 0;
  await exchange(socket, run.tasks, recorder, rows);
  const figures = recorder === null ? null : await recorder.closeWindow();
  const scheduler_cpu_us = processCpuUs() - cpu_before;
  socket.destroy();
  server.close();
  const makespan_s =
    figures === null ? (Date.now() - window_start_ms + 1) / 1e3 : (figures.end_ns - start) / 1e9;
  const thread: FleetThread = { cpu_ns: 5e6, figures };
  return {
    makespan_s,
    graph_s: makespan_s / 10,
    first_task_s: makespan_s / 20,
    scheduler_cpu_us,
    figures,
    loop: figures === null ? { turns: 3, turn_max_ms: 2, turn_p999_ms: 1 } : null,
    fleet:
      run.transport === "tcp" ? [{ ...thread, figures: figures && { ...figures, hop_histograms: [] } }] : [],
    graphs: [
      {
        bytes: 10,
        decode_s: 1,
        wait_s: 0,
        unpack_s: 0,
        order_s: 0,
        insert_s: 1,
        first_task_s: 1,
        last_task_s: 2,
      },
    ],
    ledger: ledger(run.tasks),
    window_start_ms,
  };
}

async function exchange(
  socket: Socket,
  tasks: number,
  recorder: Recorder | null,
  rows: TaskRows,
): Promise<void> {
  let sent = 0;
  let sent_at = 0;
  let finished = 0;
  const send = (): void => {
    const placed = recorder?.enter(PHASE.placement) ?? 0;
    const batch = Buffer.alloc(BATCH * 100, sent);
    const encoded = recorder?.exit() ?? 0;
    recorder?.enter(PHASE.write);
    socket.write(batch);
    sent_at = recorder?.exit() ?? 0;
    recorder?.hops(HOP.readyPlaced, 0, BATCH);
    recorder?.hops(HOP.placedEncoded, encoded - placed, BATCH);
    recorder?.hops(HOP.encodedWritten, sent_at - encoded, BATCH);
    for (let i = 0; i < BATCH; i++) rows.stamp(sent + i, STAMP.written, sent_at);
    sent += BATCH;
  };
  await new Promise<void>((done) => {
    let bytes = 0;
    socket.on("data", (chunk) => {
      const read = recorder?.begin("read") ?? 0;
      recorder?.enter(PHASE.transition);
      bytes += chunk.length;
      const count = Math.floor(bytes / 100) - finished;
      finished += count;
      const finished_at = recorder?.exit() ?? 0;
      recorder?.hops(HOP.reportedRead, read - sent_at, count);
      recorder?.hops(HOP.readFinished, finished_at - read, count);
      if (finished === tasks) done();
      else if (finished === sent) send();
      recorder?.end();
    });
    send();
  });
}

function ledger(tasks: number): Ledger {
  return {
    tasks_sent: tasks + 3,
    tasks_finished: tasks + 1,
    steals_asked: 4,
    steals_done: 2,
    bytes_in: tasks * 100,
    bytes_out: tasks * 100,
    messages_in: tasks,
    messages_out: tasks,
    batches_in: tasks / BATCH,
    batches_out: tasks / BATCH,
    recomputed: 1,
  };
}

export function facts(more: Partial<RunFacts> = {}): RunFacts {
  return {
    workload: "merge:2000",
    tasks: 2000,
    dependencies: 2000,
    zero_workers: 24,
    scheduler: "workstealing",
    transport: "tcp",
    release: "2026.8",
    trace: "phases",
    seed: 1,
    repeats: 3,
    ...more,
  };
}
