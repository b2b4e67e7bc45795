import type { Machine } from "../../base/machine.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { GraphIntake } from "../graphs/intake.ts";
import type { HandlerTable } from "../rpc/context.ts";
import type { StreamOutbox } from "../stream/outbox.ts";
import { ClusterDump } from "./dump.ts";
import { Inspector } from "./inspector.ts";
import { WorkerMemory } from "./memory.ts";
import { MemorySampler } from "./memory-sampler.ts";
import { PerformanceReport } from "./performance-report.ts";
import type { Reports } from "./reports.ts";
import { Story } from "./story.ts";
import { TaskMetadata } from "./task-metadata.ts";
import { TaskStream } from "./task-stream.ts";
import { WorkerQuestions } from "./worker-questions.ts";

export interface DiagnosticsParts {
  readonly scheduler: Scheduler;
  readonly cluster: CoreCluster;
  readonly outbox: StreamOutbox;
  readonly intake: GraphIntake;
  readonly reports: Reports;
  /** Unmanaged memory of workers counts as lasting after so long. */
  readonly memory_old_ms: number;
  readonly machine: Machine;
}

/** What clients can ask of the scheduler's and the workers' state. Nothing of it is on a task's way unless it is used. */
export class Diagnostics {
  readonly inspector: Inspector;
  readonly memory: WorkerMemory;
  readonly story: Story;
  readonly dump: ClusterDump;
  readonly handlers: HandlerTable;
  readonly #sampler: MemorySampler;

  constructor(parts: DiagnosticsParts) {
    const { scheduler, cluster, outbox, intake, reports, memory_old_ms, machine } = parts;
    const now_ms = (): number => machine.wall_ms();
    this.inspector = new Inspector(scheduler);
    this.memory = new WorkerMemory(cluster, memory_old_ms);
    this.story = new Story(
      scheduler.books,
      () => outbox.turn,
      () => now_ms() / 1000,
    );
    this.dump = new ClusterDump(this.inspector, cluster, this.memory, this.story);
    this.#sampler = new MemorySampler(this.memory, cluster, machine);
    const stream = new TaskStream(reports, now_ms);
    const questions = new WorkerQuestions(this.inspector);
    this.handlers = new Map([
      ...this.story.handlers,
      ...this.dump.handlers,
      ...this.#sampler.handlers,
      ...stream.handlers,
      ...new TaskMetadata(reports, intake).handlers,
      ...questions.handlers,
      ...new PerformanceReport(stream, questions, now_ms).handlers,
    ]);
  }

  close(): void {
    this.#sampler.close();
  }
}
