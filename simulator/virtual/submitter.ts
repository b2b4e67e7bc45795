import { type ClientId, NONE, type TaskId } from "../../src/base/ids.ts";
import { grown } from "../../src/base/typed-arrays.ts";
import { PAYLOAD_PICKLED } from "../../src/core/payloads.ts";
import type { Scheduler } from "../../src/core/scheduler.ts";
import type { WorkerBook } from "../../src/core/worker-book.ts";
import { packValue } from "../../src/protocol/msgpack.ts";
import type { Workload } from "../workloads/index.ts";

/**
 * When a recording's graphs come: `recorded`, when they came; `results`, one that had waited for what its client wanted
 * before waits for that again.
 */
export type SubmitTimes = "recorded" | "results";

export interface SubmitterParts {
  readonly workload: Workload;
  readonly scheduler: Scheduler;
  readonly times: SubmitTimes;
  /** Has something happen in the scheduler's next batch from that time on, ns. */
  at(time_ns: number, event: () => void): void;
  /** The data is with a worker, which is answered, from here on: the one in place of the recording's of this number. */
  holds(task: TaskId, worker: number): WorkerBook;
}

interface Graph {
  readonly client: number;
  readonly positions: number[];
  /** It depends on what these bring. */
  readonly needs: Set<number>;
}

/** Of one client: the graphs that it has not submitted, and how many wanted keys it does not know of yet. */
interface Client {
  readonly id: ClientId;
  readonly graphs: number[];
  next: number;
  missing: number;
  /** When its last graph was submitted, ns. */
  submitted_ns: number;
}

/** The clients of a simulated run: they bring the workload's graphs into the books, and wait for the wanted keys. */
export class Submitter {
  /** Wanted keys that no client knows of yet. */
  missing = 0;
  /** Position in the workload of each task's id. */
  position = new Int32Array(1024).fill(NONE);
  readonly #parts: SubmitterParts;
  readonly #graphs: Graph[];
  readonly #clients: Client[] = [];
  readonly #client_of = new Map<ClientId, Client>();
  /** Wants what later graphs need, so that it is not forgotten meanwhile. */
  readonly #keeper: ClientId;
  readonly #ids: Int32Array;
  readonly #wanted: Uint8Array;
  /** 1: a later graph needs it. */
  readonly #kept: Uint8Array;
  readonly #entered: boolean[] = [];
  /** Their time has come, but not that of what they need. */
  #blocked: number[] = [];

  constructor(parts: SubmitterParts) {
    this.#parts = parts;
    const { workload, scheduler } = parts;
    const { recorded } = workload;
    this.#ids = new Int32Array(workload.tasks).fill(NONE);
    this.#wanted = new Uint8Array(workload.tasks);
    this.#kept = new Uint8Array(workload.tasks);
    for (const position of workload.wanted) this.#wanted[position] = recorded?.data[position] === 1 ? 0 : 1;
    this.#graphs = this.#split();
    for (const [index, { client, positions }] of this.#graphs.entries()) {
      this.#clients[client] ??= {
        id: scheduler.clientJoined(`client-${client}`),
        ...{ graphs: [], next: 0, missing: 0, submitted_ns: 0 },
      };
      this.#clients[client].graphs.push(index);
      for (const position of positions) this.missing += this.#wanted[position]!;
    }
    for (const client of this.#clients) if (client !== undefined) this.#client_of.set(client.id, client);
    this.#keeper = scheduler.clientJoined("keeper");
  }

  #split(): Graph[] {
    const { tasks, recorded, dependency_offsets, dependency_ids } = this.#parts.workload;
    const submits = recorded?.graphs ?? [{ client: 0 }];
    const graphs = submits.map(({ client }) => ({
      client,
      positions: [] as number[],
      needs: new Set<number>(),
    }));
    for (let position = 0; position < tasks; position++) {
      const graph = recorded?.graph_of[position] ?? 0;
      graphs[graph]!.positions.push(position);
      if (recorded === undefined) continue;
      for (let e = dependency_offsets[position]!; e < dependency_offsets[position + 1]!; e++) {
        const dependency = dependency_ids[e]!;
        if (recorded.graph_of[dependency] === graph) continue;
        graphs[graph]!.needs.add(recorded.graph_of[dependency]!);
        this.#kept[dependency] = 1;
      }
    }
    return graphs;
  }

  /** All that comes at a time that is known. */
  start(): void {
    const { workload, times } = this.#parts;
    if (times === "recorded" || workload.recorded === undefined)
      for (const index of this.#graphs.keys()) this.#bookAt(index, this.#submit_ns(index));
    else for (const client of this.#clients) if (client !== undefined) this.#goOn(client, 0);
  }

  /** A client was told that a key is in memory. */
  told(client: ClientId, now_ns: number): void {
    const who = this.#client_of.get(client);
    if (who === undefined) return;
    this.missing--;
    who.missing--;
    if (this.#parts.times === "results" && who.missing === 0) this.#goOn(who, now_ns);
  }

  /** Books the client's next graphs, up to one that waits for what its client wants. */
  #goOn(client: Client, now_ns: number): void {
    for (; client.next < client.graphs.length; client.next++) {
      const index = client.graphs[client.next]!;
      const { think_us } = this.#parts.workload.recorded!.graphs[index]!;
      if (think_us === null) {
        const before_ns = client.next === 0 ? 0 : this.#submit_ns(client.graphs[client.next - 1]!);
        client.submitted_ns += this.#submit_ns(index) - before_ns;
      } else if (client.missing > 0) return;
      else client.submitted_ns = Math.max(now_ns, client.submitted_ns) + think_us * 1e3;
      // Its own wants count from here on, before what comes behind it is looked at.
      for (const position of this.#graphs[index]!.positions) client.missing += this.#wanted[position]!;
      this.#bookAt(index, client.submitted_ns);
    }
  }

  #submit_ns(index: number): number {
    return (this.#parts.workload.recorded?.graphs[index]?.submit_us ?? 0) * 1e3;
  }

  #bookAt(index: number, submit_ns: number): void {
    const intake_us = this.#parts.workload.recorded?.graphs[index]?.intake_us ?? 0;
    this.#parts.at(submit_ns + intake_us * 1e3, () => this.#comes(index));
  }

  #comes(index: number): void {
    this.#blocked.push(index);
    for (let entered = true; entered; ) {
      const ready = this.#blocked.find((one) =>
        [...this.#graphs[one]!.needs].every((need) => this.#entered[need]),
      );
      entered = ready !== undefined;
      if (ready === undefined) break;
      this.#blocked = this.#blocked.filter((one) => one !== ready);
      this.#enter(ready);
    }
  }

  /** The graph is in the books from here on. */
  #enter(index: number): void {
    const { workload, scheduler } = this.#parts;
    const { positions, client } = this.#graphs[index]!;
    this.#entered[index] = true;
    const data = workload.recorded?.data;
    const tasks = data === undefined ? positions : positions.filter((position) => data[position] === 0);
    if (data !== undefined)
      for (const position of positions) if (data[position] === 1) this.#receive(position);
    const builder = scheduler.graph({
      client: this.#clients[client]!.id,
      buffer: NO_BYTES,
      ...{ generation: 1, user_priority: 0 },
    });
    for (const position of tasks) this.#name(position, builder.internKey(packValue(workload.key(position))));
    for (const position of tasks) {
      const dependencies = workload.dependency_ids.subarray(
        workload.dependency_offsets[position]!,
        workload.dependency_offsets[position + 1]!,
      );
      const ids = Int32Array.from(dependencies, (dependency) => this.#ids[dependency]!);
      builder.define(this.#ids[position]!, NO_PAYLOAD, ids, 0, ids.length, position);
    }
    builder.commit(
      tasks.filter((position) => this.#wanted[position] === 1).map((position) => this.#ids[position]!),
    );
    for (const position of tasks)
      if (this.#kept[position] === 1) scheduler.clientDesiresKey(this.#keeper, this.#ids[position]!);
  }

  /** Data that was there before. */
  #receive(position: number): void {
    const { workload, scheduler, holds } = this.#parts;
    const task = scheduler.books.internKey(packValue(workload.key(position)));
    this.#name(position, task);
    const worker = holds(task, workload.recorded!.worker[position]!);
    scheduler.dataReceived(worker, task, workload.nbytes?.[position] ?? 0, NONE, this.#keeper);
  }

  #name(position: number, task: TaskId): void {
    if (task >= this.position.length)
      this.position = grown(this.position, Math.max(2 * this.position.length, task + 1), NONE);
    this.position[task] = position;
    this.#ids[position] = task;
    // Workers still speak of tasks that the scheduler has forgotten: none of another graph may have their ids.
    if (this.#graphs.length > 1) this.#parts.scheduler.books.tasks.pin(task);
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_PAYLOAD = { kind: PAYLOAD_PICKLED, offset: 0, header_bytes: 0, body_bytes: -1 };
