import { describe, expect, test } from "vitest";
import { NONE, type TaskId, type WorkerId } from "../../src/base/ids.ts";
import type { IndexedSet } from "../../src/base/indexed-set.ts";
import { Prng } from "../../src/base/prng.ts";
import { PAYLOAD_PICKLED } from "../../src/core/payloads.ts";
import { Scheduler } from "../../src/core/scheduler.ts";
import { keyBytes } from "../../src/protocol/keys.ts";
import { DaskPolicy } from "../../src/schedulers/dask/policy.ts";
import { DEFAULT_DASK_SETTINGS } from "../../src/schedulers/dask/settings.ts";
import { createPolicy } from "../../src/schedulers/index.ts";
import type { ClusterView, PlacementSink, Policy, StealSink } from "../../src/schedulers/policy.ts";
import { RandomPolicy } from "../../src/schedulers/random.ts";
import { WorkStealingPolicy } from "../../src/schedulers/work-stealing.ts";
import { ClientPeer, PeerOutbox, WorkerPeer } from "../core/peers.ts";

/** Counts what a policy asks of the cluster. */
class CountingView implements ClusterView {
  questions = 0;
  readonly #view: ClusterView;

  constructor(view: ClusterView) {
    this.#view = view;
  }

  #ask(): ClusterView {
    this.questions++;
    return this.#view;
  }

  get running(): IndexedSet {
    return this.#ask().running;
  }
  get underloaded(): IndexedSet {
    return this.#ask().underloaded;
  }
  get overloaded(): IndexedSet {
    return this.#ask().overloaded;
  }
  get hosts(): number {
    return this.#ask().hosts;
  }
  threads(worker: WorkerId): number {
    return this.#ask().threads(worker);
  }
  load(worker: WorkerId): number {
    return this.#ask().load(worker);
  }
  host(worker: WorkerId): number {
    return this.#ask().host(worker);
  }
  dependencyCount(task: TaskId): number {
    return this.#ask().dependencyCount(task);
  }
  dependency(task: TaskId, index: number): TaskId {
    return this.#ask().dependency(task, index);
  }
  nbytes(task: TaskId): number {
    return this.#ask().nbytes(task);
  }
  firstDependent(task: TaskId): number {
    return this.#ask().firstDependent(task);
  }
  nextDependent(record: number): number {
    return this.#ask().nextDependent(record);
  }
  dependent(record: number): TaskId {
    return this.#ask().dependent(record);
  }
  order(task: TaskId): number {
    return this.#ask().order(task);
  }
  heldBytes(worker: WorkerId): number {
    return this.#ask().heldBytes(worker);
  }
  readKey(task: TaskId, target: Uint8Array): number {
    return this.#ask().readKey(task, target);
  }
  holds(task: TaskId, worker: WorkerId): boolean {
    return this.#ask().holds(task, worker);
  }
  firstHolder(task: TaskId): number {
    return this.#ask().firstHolder(task);
  }
  nextHolder(record: number): number {
    return this.#ask().nextHolder(record);
  }
  holder(record: number): WorkerId {
    return this.#ask().holder(record);
  }
  firstNeed(task: TaskId): number {
    return this.#ask().firstNeed(task);
  }
  nextNeed(record: number): number {
    return this.#ask().nextNeed(record);
  }
  need(record: number): WorkerId {
    return this.#ask().need(record);
  }
  candidates(task: TaskId): readonly WorkerId[] | null {
    return this.#ask().candidates(task);
  }
  queueable(task: TaskId): boolean {
    return this.#ask().queueable(task);
  }
  newestProcessing(worker: WorkerId): TaskId {
    return this.#ask().newestProcessing(worker);
  }
  olderProcessing(task: TaskId): TaskId {
    return this.#ask().olderProcessing(task);
  }
  stealable(task: TaskId, thief: WorkerId): boolean {
    return this.#ask().stealable(task, thief);
  }
}

/** A policy whose questions are counted, apart for placing and balancing. */
class CountedPolicy implements Policy {
  readonly name: string;
  readonly balances: NonNullable<Policy["balances"]>;
  placing = 0;
  balancing = 0;
  watching: CountingView | null = null;
  readonly watch?: NonNullable<Policy["watch"]>;
  readonly order?: NonNullable<Policy["order"]>;
  readonly openSlots?: NonNullable<Policy["openSlots"]>;
  readonly #policy: Policy;

  constructor(policy: Policy) {
    this.#policy = policy;
    this.name = policy.name;
    this.balances = policy.balances ?? "uneven";
    if (policy.openSlots !== undefined) this.openSlots = policy.openSlots;
    if (policy.order !== undefined) this.order = policy.order;
    const { watch } = policy;
    if (watch === undefined) return;
    this.watch = (view) => {
      this.watching = new CountingView(view);
      return watch(this.watching);
    };
  }

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    const counting = new CountingView(view);
    this.#policy.place(ready, count, counting, sink);
    this.placing += counting.questions;
  }

  balance(now_ns: number, view: ClusterView, sink: StealSink): number {
    const counting = new CountingView(view);
    const again_ns = this.#policy.balance(now_ns, counting, sink);
    this.balancing += counting.questions;
    return again_ns;
  }

  stealAnswered(granted: boolean): void {
    this.#policy.stealAnswered(granted);
  }
}

const TASKS = 10_000;
const INFINITE = { ...DEFAULT_DASK_SETTINGS, worker_saturation: Number.POSITIVE_INFINITY };

/**
 * Half sources, half tasks on two of them, in order; workers report one task a batch, the worst case for a policy
 * that is asked once for each batch. A restricted task in ten may run on half of the workers.
 */
function run(policy: CountedPolicy, workers: number): CountedPolicy {
  const outbox = new PeerOutbox();
  const scheduler = new Scheduler({ policy, outbox, key_seed: 1 });
  outbox.scheduler = scheduler;
  const client = scheduler.clientJoined("alice");
  outbox.clients.set(client, new ClientPeer("alice", client));
  for (let number = 0; number < workers; number++) {
    const book = scheduler.workerJoined({
      address: `tcp://10.0.${number % 8}.1:${number}`,
      host: `10.0.${number % 8}.1`,
      alias: `w${number}`,
      threads: 1 + (number % 2),
      resources: new Map(number % 2 === 0 ? [["GPU", 1]] : []),
    });
    outbox.workers.set(book.id, new WorkerPeer(number, book));
    scheduler.workerStatusChanged(book, "running");
  }
  submit(scheduler, client);
  scheduler.schedule();
  scheduler.endBatch();
  const { tasks } = scheduler.books;
  const prng = new Prng(9);
  for (let done = 0; done < TASKS; done++) {
    const busy = [...outbox.workers.values()];
    let worker = busy[prng.below(busy.length)]!.book;
    while (worker.first_processing === NONE) worker = busy[prng.below(busy.length)]!.book;
    const task = worker.first_processing;
    outbox.workers.get(worker.id)!.promised.delete(outbox.keyOf(task));
    scheduler.now_ns += 1e5;
    scheduler.taskFinished(worker, task, tasks.run_id[task]!, 100, 0);
    scheduler.schedule();
    scheduler.endBatch();
  }
  expect(scheduler.counts.tasks_finished).toBe(TASKS);
  return policy;
}

function submit(scheduler: Scheduler, client: number): void {
  const builder = scheduler.graph({ client, buffer: new Uint8Array(8), generation: 0, user_priority: 0 });
  const payload = { kind: PAYLOAD_PICKLED, offset: 0, header_bytes: 4, body_bytes: 4 };
  const restrictions = { workers: null, loose: false, resources: new Map([["GPU", 1]]) };
  const ids: TaskId[] = [];
  for (let i = 0; i < TASKS; i++) {
    const key = keyBytes(`t${i}`);
    const task = builder.internKey(key);
    const half = TASKS / 2;
    const inputs = i < half ? [] : [ids[i - half]!, ids[(i - half + 1) % half]!];
    builder.define(task, payload, inputs, 0, inputs.length, i);
    if (i % 10 === 0) builder.annotate(task, { restrictions });
    ids.push(task);
  }
  builder.commit(ids);
}

describe.each([
  ["random", () => new CountedPolicy(new RandomPolicy(1)), 5],
  ["workstealing", () => new CountedPolicy(new WorkStealingPolicy(1)), 60],
  ["dask", () => new CountedPolicy(new DaskPolicy()), 60],
  ["blevel", () => new CountedPolicy(createPolicy("blevel", 1)), 120],
  ["blevel-gt", () => new CountedPolicy(createPolicy("blevel-gt", 1)), 120],
  ["etf", () => new CountedPolicy(createPolicy("etf", 1)), 1000],
  ["mcp", () => new CountedPolicy(createPolicy("mcp", 1)), 100],
  ["single", () => new CountedPolicy(createPolicy("single", 1)), 20],
  ["dask, nothing withheld", () => new CountedPolicy(new DaskPolicy(INFINITE)), 60],
] as const)("%s", (_, make, questions_max) => {
  test("asks as much for ten thousand tasks on a thousand workers as on a hundred", () => {
    const hundred = run(make(), 100);
    const thousand = run(make(), 1000);
    // A start on empty workers asks each of them about twenty times, once.
    expect(thousand.placing - 30 * 1000).toBeLessThan(1.5 * hundred.placing);
    expect(thousand.placing / TASKS).toBeLessThan(questions_max);
    expect(thousand.balancing).toBeLessThan(3 * hundred.balancing + 30 * 1000);
    expect(thousand.balancing / TASKS).toBeLessThan(questions_max);
    const told = (policy: CountedPolicy): number => policy.watching?.questions ?? 0;
    expect(told(thousand)).toBeLessThan(1.1 * told(hundred) + 1);
    expect(told(thousand) / TASKS).toBeLessThan(questions_max);
  });
});
