// What reading costs, in ns a task, the best of many rounds: a client's graph (2022.12's form) up to the tables, and
// workers' reports up to the reader's columns: `npm run build && node profiles/bench-decode.mjs [WORKLOAD] [ROUNDS]`.

import { clientOrder, GraphMessage, packGraph } from "../dist/simulator/fleet/graph-message.js";
import { ReportBatch } from "../dist/simulator/fleet/report-batch.js";
import { ReportWriter } from "../dist/simulator/fleet/report-writer.js";
import { parseWorkload } from "../dist/simulator/workloads/index.js";
import { Scheduler } from "../dist/src/core/scheduler.js";
import { FRAME_LIMITS, FrameReader } from "../dist/src/protocol/frames.js";
import { packValue } from "../dist/src/protocol/msgpack.js";
import { createPolicy } from "../dist/src/schedulers/index.js";
import { HlgReader } from "../dist/src/server/graphs/hlg.js";
import { TypeTable } from "../dist/src/server/stream/type-table.js";
import { WorkerReader } from "../dist/src/server/stream/worker-reader.js";
import { Probe } from "../dist/src/trace/tracer.js";

const WORKERS = 168;
const REPORTS_A_PACKET = 200;

const workload = await parseWorkload(process.argv[2] ?? "merge:100000");
const rounds = Number(process.argv[3] ?? 30);
const best = new Map();

function timed(name, tasks, work) {
  const start = performance.now();
  const result = work();
  const ns = ((performance.now() - start) * 1e6) / tasks;
  best.set(name, Math.min(best.get(name) ?? Number.POSITIVE_INFINITY, ns));
  return result;
}

/** A scheduler whose effects nobody takes, but for the assignments. */
function scheduler(assigned) {
  const nothing = () => undefined;
  const outbox = new Proxy({ computeTask: assigned }, { get: (own, name) => own[name] ?? nothing });
  return new Scheduler({
    policy: createPolicy("workstealing", 1),
    outbox,
    key_seed: 1,
    tracer: null,
    probe: new Probe(),
  });
}

function cut(bytes) {
  let message = null;
  const reader = new FrameReader(FRAME_LIMITS, (found) => {
    message = found;
  });
  reader.push(bytes, false);
  return message;
}

function graphs() {
  const core = scheduler(() => undefined);
  const client = core.clientJoined("bench");
  const source = new GraphMessage(packGraph(workload, clientOrder(workload.tasks)));
  for (let round = 0; round < rounds; round++) {
    const bytes = Buffer.concat(source.chunks(`-${round % 7}`));
    const message = timed("graph: frames", workload.tasks, () => cut(bytes));
    const builder = core.graph({ client, buffer: message.bytes, generation: 0, user_priority: 0 });
    const reader = new HlgReader(message, builder, core.books.keys);
    const { wanted } = timed("graph: keys, payloads, dependencies, priorities", workload.tasks, () =>
      // One message in a list: its map begins behind the list's header.
      reader.read(message.frameStart(0) + 1, message.frameEnd(0)),
    );
    timed("graph: tables", workload.tasks, () => {
      reader.define((i) => reader.orderOf(i));
      builder.commit(wanted);
    });
    timed("graph: release", workload.tasks, () => {
      for (const task of wanted) core.clientReleasesKey(client, task);
      core.endBatch();
    });
  }
}

/** Every task of the first turn's assignments, reported by its worker. */
function packets(core, assignments) {
  const written = [];
  for (const [worker, tasks] of assignments) {
    const batch = new ReportBatch();
    const writer = new ReportWriter({ has_run_id: true }, batch);
    writer.setTime(Date.now() / 1e3);
    for (let i = 0; i < tasks.length; i += REPORTS_A_PACKET) {
      for (const task of tasks.slice(i, i + REPORTS_A_PACKET)) {
        const key = core.books.keys.bytes(task);
        const both = Buffer.concat([key, packValue(core.books.tasks.run_id[task])]);
        writer.taskFinished(both, 0, key.length, key.length, both.length);
      }
      written.push({ book: core.books.worker(worker), bytes: Buffer.from(batch.take()) });
    }
  }
  return written;
}

function reports() {
  const assignments = new Map();
  const core = scheduler((worker, task) => {
    if (!assignments.has(worker)) assignments.set(worker, []);
    assignments.get(worker).push(task);
  });
  for (let i = 0; i < WORKERS; i++) {
    const facts = { host: "h", alias: String(i), threads: 1, resources: new Map() };
    const worker = core.workerJoined({ address: `tcp://127.0.0.1:${40_000 + i}`, ...facts });
    core.workerStatusChanged(worker, "running");
  }
  const source = new GraphMessage(packGraph(workload, clientOrder(workload.tasks)));
  const message = cut(Buffer.concat(source.chunks("-reports")));
  const client = core.clientJoined("bench");
  const builder = core.graph({ client, buffer: message.bytes, generation: 0, user_priority: 0 });
  const graph = new HlgReader(message, builder, core.books.keys);
  const { wanted } = graph.read(message.frameStart(0) + 1, message.frameEnd(0));
  graph.define((i) => graph.orderOf(i));
  builder.commit(wanted);
  core.now_ns = 1;
  core.schedule();
  const written = packets(core, assignments);
  const rows = [...assignments.values()].reduce((sum, tasks) => sum + tasks.length, 0);
  const reader = new WorkerReader(core.books, new TypeTable());
  for (let round = 0; round < rounds; round++)
    timed("reports", rows, () => {
      for (const { book, bytes } of written) reader.read(cut(bytes), book);
    });
}

graphs();
reports();
process.stdout.write(`${workload.name}: ns a task, best of ${rounds} rounds\n`);
for (const [name, ns] of best) process.stdout.write(`  ${name.padEnd(50)} ${ns.toFixed(0)}\n`);
