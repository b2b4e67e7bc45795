import type { TaskId } from "../../src/base/ids.ts";
import { PAYLOAD_PICKLED } from "../../src/core/payloads.ts";
import { Scheduler } from "../../src/core/scheduler.ts";
import { orderGraph } from "../../src/ordering/index.ts";
import { packValue } from "../../src/protocol/msgpack.ts";
import type { Ledger } from "../../src/results/summary.ts";
import { createPolicy } from "../../src/schedulers/index.ts";
import { MonotonicClock } from "../../src/trace/clock.ts";
import { schedulerCpu, startCpuWatch } from "../../src/trace/cpu.ts";
import { LoopMeter } from "../../src/trace/loop-meter.ts";
import { HOP, PHASE } from "../../src/trace/phases.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { DirectFleet } from "./direct-fleet.ts";
import {
  ledgerBetween,
  type Measured,
  openStamps,
  type Runner,
  type RunnerParts,
  taskTable,
} from "./measure.ts";

const KEY_SEED = 0x5eed;

/** Scheduling alone: the core, its policy, and a fleet that speaks in calls. */
export class DirectRunner implements Runner {
  readonly #parts: RunnerParts;
  readonly #fleet = new DirectFleet();
  readonly #scheduler: Scheduler;
  readonly #recorder: Recorder | null;
  readonly #clock = new MonotonicClock();
  readonly #client: number;
  #fleet_ns = 0;
  /** Of the present submission's tasks. */
  #ids = new Int32Array(0);

  constructor(parts: RunnerParts) {
    const { options } = parts;
    this.#parts = parts;
    this.#recorder = options.trace === "off" ? null : new Recorder();
    this.#scheduler = new Scheduler({
      policy: createPolicy(options.scheduler, options.seed),
      outbox: this.#fleet,
      key_seed: KEY_SEED,
      probe: new Probe(this.#recorder),
    });
    this.#fleet.attach(this.#scheduler);
    for (let i = 0; i < options.zero_workers; i++) {
      const worker = this.#scheduler.workerJoined({
        address: `direct://${i}`,
        host: "direct",
        alias: String(i),
        threads: 1,
        resources: new Map(),
      });
      this.#scheduler.workerStatusChanged(worker, "running");
    }
    this.#client = this.#scheduler.clientJoined("stand-in");
  }

  async run(repeat: number): Promise<Measured> {
    const { workload } = this.#parts;
    const keys = Array.from({ length: workload.tasks }, (_, i) => packValue(`${workload.key(i)}-r${repeat}`));
    const meter = new LoopMeter();
    // The recorder's own turn of the loop: what came before is not the run's.
    await new Promise((resolve) => setImmediate(resolve));
    const before = this.#ledger();
    const stamps = openStamps(this.#scheduler.books, this.#parts, repeat);
    if (this.#recorder === null) meter.start();
    const window_start_ms = Date.now();
    const opened_ns = this.#recorder?.openWindow() ?? this.#clock.now();
    const cpuUsed = startCpuWatch();
    this.#fleet_ns = 0;
    const times = this.#submitAndWork(keys);
    const used = cpuUsed();
    const figures =
      (await this.#recorder?.closeWindow({ start_ns: opened_ns, end_ns: times.reported_ns })) ?? null;
    this.#scheduler.books.tasks.stamps = null;
    const measured: Measured = {
      makespan_s: (times.reported_ns - times.submitted_ns) / 1e9,
      graph_s: (times.known_ns - times.submitted_ns) / 1e9,
      first_task_s: (times.first_ns - times.submitted_ns) / 1e9,
      ...schedulerCpu(used, this.#fleet_ns / 1e3),
      figures,
      loop: this.#recorder === null ? meter.stop() : null,
      fleet: [],
      graphs: [],
      ledger: ledgerBetween(before, this.#ledger()),
      window_start_ms,
      tasks: stamps === null ? null : taskTable(stamps, repeat, times.submitted_ns),
    };
    for (const task of times.wanted) this.#scheduler.clientReleasesKey(this.#client, task);
    this.#scheduler.endBatch();
    return measured;
  }

  #submitAndWork(keys: readonly Uint8Array[]): {
    submitted_ns: number;
    known_ns: number;
    first_ns: number;
    reported_ns: number;
    wanted: TaskId[];
  } {
    const recorder = this.#recorder;
    const scheduler = this.#scheduler;
    const fleet = this.#fleet;
    const submitted_ns = recorder?.begin("other") ?? this.#clock.now();
    scheduler.now_ns = submitted_ns;
    recorder?.enter(PHASE.graph);
    const wanted = this.#submit(keys);
    const known_ns = recorder?.now() ?? this.#clock.now();
    if (recorder !== null) this.#stampKnown(recorder, submitted_ns, known_ns);
    fleet.reported = 0;
    scheduler.now_ns = known_ns;
    recorder?.swap(PHASE.transition);
    scheduler.schedule();
    scheduler.endBatch();
    recorder?.exit();
    const first_ns = this.#clock.now();
    while (fleet.busy) this.#turn();
    const reported_ns = recorder?.end() ?? this.#clock.now();
    if (fleet.reported !== wanted.length || fleet.failed > 0)
      throw new Error(
        `${fleet.reported} of ${wanted.length} wanted keys were reported, ${fleet.failed} failed`,
      );
    return { submitted_ns, known_ns, first_ns, reported_ns, wanted };
  }

  #turn(): void {
    const recorder = this.#recorder;
    const scheduler = this.#scheduler;
    const start_ns = recorder?.enter(PHASE.worker) ?? this.#clock.now();
    this.#fleet.work();
    // What a turn does between its phases is of transitions, as in the server's.
    const reported_ns = recorder?.swap(PHASE.transition) ?? this.#clock.now();
    this.#fleet_ns += reported_ns - start_ns;
    scheduler.now_ns = reported_ns;
    this.#fleet.report(recorder !== null);
    if (recorder !== null) this.#fleet.recordFinished(recorder, reported_ns, recorder.now());
    scheduler.schedule();
    // What the client is told of has no way to go: it is read in the same moment.
    this.#fleet.tell(recorder, recorder === null ? 0 : this.#clock.now());
    scheduler.endBatch();
    recorder?.exit();
  }

  #submit(keys: readonly Uint8Array[]): TaskId[] {
    const { workload, options } = this.#parts;
    const places = options.order ? this.#order() : null;
    const builder = this.#scheduler.graph({
      client: this.#client,
      buffer: NO_BYTES,
      generation: 1,
      user_priority: 0,
    });
    const ids = Int32Array.from(keys, (key) => builder.internKey(key));
    this.#ids = ids;
    const { dependency_offsets, dependency_ids } = workload;
    const dependencies = Int32Array.from(dependency_ids, (id) => ids[id]!);
    for (let i = 0; i < ids.length; i++) {
      const start = dependency_offsets[i]!;
      const count = dependency_offsets[i + 1]! - start;
      builder.define(ids[i]!, NO_PAYLOAD, dependencies, start, count, places === null ? i : places[i]!);
    }
    const wanted = workload.wanted.map((id) => ids[id]!);
    builder.commit(wanted);
    return wanted;
  }

  #order(): Int32Array {
    const { tasks, dependency_offsets, dependency_ids, key } = this.#parts.workload;
    return orderGraph({ count: tasks, dependency_offsets, dependencies: dependency_ids, text: key });
  }

  #stampKnown(recorder: Recorder, submitted_ns: number, known_ns: number): void {
    const { tasks } = this.#scheduler.books;
    recorder.hops(HOP.submitKnown, known_ns - submitted_ns, this.#parts.workload.tasks);
    tasks.stamp_ns.fill(known_ns, 0, tasks.top);
    if (tasks.stamps !== null) tasks.stamps.known(this.#ids, submitted_ns, known_ns);
  }

  #ledger(): Ledger {
    const { tasks_sent, tasks_finished, steals_asked, steals_done, recomputed } = this.#scheduler.counts;
    return {
      ...{ tasks_sent, tasks_finished, steals_asked, steals_done, recomputed },
      ...{ bytes_in: 0, bytes_out: 0, messages_in: 0, messages_out: 0, batches_in: 0, batches_out: 0 },
    };
  }

  close(): Promise<void> {
    this.#recorder?.close();
    return Promise.resolve();
  }

  /** A run blocks its thread from beginning to end, so there is none to interrupt. */
  abort(): Promise<void> {
    return this.close();
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_PAYLOAD = { kind: PAYLOAD_PICKLED, offset: 0, header_bytes: 0, body_bytes: -1 };
