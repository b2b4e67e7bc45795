import { expect } from "vitest";
import { NONE } from "../../src/base/ids.ts";
import { PAYLOAD_PENDING } from "../../src/core/payloads.ts";
import { ERRED, FORGOTTEN, MEMORY, QUEUED } from "../../src/core/states.ts";
import type { Policy } from "../../src/schedulers/policy.ts";
import type { WorkerPeer } from "./peers.ts";
import { type Graph, World } from "./world.ts";

/** One move of the world: what to do, and two numbers that pick whom it happens to. Plain data: shrinks, replays. */
export type Step = readonly [move: number, a: number, b: number];

const CLIENTS = ["alice", "bob", "carol"];
const NAMES_MAX = 14;

/**
 * Anything that workers, clients and the network may do to a scheduler, in any order: messages wait in inboxes until a
 * step lets them be read, reports are stale and repeated, peers come and go. Every step is checked by the world.
 */
export class Chaos {
  readonly world: World;
  #joined = 0;

  /** `slice`: tasks that are placed, and let go of, at once. */
  constructor(policy: Policy, slice: number) {
    this.world = new World({ policy, slice, prompt: false, allowed_failures: 1 });
    this.world.run_s = 0.25;
  }

  run(steps: readonly Step[]): void {
    for (let i = 0; i < steps.length; i++) {
      if (steps[i]![0] === MOVES.length) {
        const end = Math.min(steps.length, i + 2 + (steps[i]![1] % 4));
        this.world.batch(() => {
          for (i++; i < end; i++) this.#take(steps[i]!);
        });
        i--;
      } else this.#take(steps[i]!);
      // As a server does that has nothing to do.
      this.world.scheduler.books.trim(4);
    }
  }

  #take([move, a, b]: Step): void {
    if (move < MOVES.length) MOVES[move]!(this, a, b);
  }

  join(a: number, b: number): void {
    if (this.world.workers.size >= 6) return;
    const number = this.#joined++;
    this.world.join(
      number,
      {
        threads: 1 + (a % 3),
        host: `10.0.0.${b % 2}`,
        alias: `w${a % 4}`,
        resources: b % 3 === 0 ? { GPU: 1 } : {},
        // Results have some 100 bytes: a task of a few inputs is too much for it.
        memory_limit_bytes: b % 5 === 0 ? 150 : 0,
      },
      b % 7 === 0 ? "paused" : "running",
    );
  }

  worker(a: number): WorkerPeer | undefined {
    return [...this.world.workers.values()][a % Math.max(1, this.world.workers.size)];
  }

  client(a: number): string {
    return CLIENTS[a % CLIENTS.length]!;
  }

  /** Submits some of a fixed set of names; inputs have lower numbers, so that no two graphs make a cycle. */
  submit(a: number, b: number): void {
    const graph: Record<string, string[]> = {};
    const size = 1 + (a % 6);
    for (let i = 0; i < size; i++) {
      const number = (b + i * (1 + (a % 3))) % NAMES_MAX;
      const inputs = new Set<number>();
      for (let k = 1; k <= (a >> 3) % 4; k++)
        if (number - k * ((b % 3) + 1) >= 0) inputs.add(number - k * ((b % 3) + 1));
      graph[`g-${number}`] = [...inputs].map((input) => `g-${input}`);
    }
    if (a % 11 !== 0) this.#complete(graph);
    const keys = Object.keys(graph);
    const marked = keys[b % keys.length]!;
    this.world.submit(graph, {
      client: this.client(b),
      ...(a % 4 === 0 ? { wanted: keys } : {}),
      user_priority: b % 3,
      retries: a % 5 === 0 ? 1 : 0,
      ...(b % 6 === 0 ? { restrictions: { [marked]: RESTRICTIONS[a % RESTRICTIONS.length]! } } : {}),
      ...(b % 13 === 0 ? { actors: [marked] } : {}),
      ...(b % 5 === 0 ? { pending: [marked] } : {}),
      abort: a % 17 === 0,
    });
  }

  /** Inputs that nobody knows are tasks of the graph too (now and then they are left out). */
  #complete(graph: Record<string, string[]>): Graph {
    for (const inputs of Object.values(graph))
      for (const input of inputs)
        if (graph[input] === undefined && this.world.task(input) === NONE) graph[input] = [];
    return graph;
  }

  key(a: number): string {
    return a % 9 === 8 ? `s${a % 2}` : `g-${a % NAMES_MAX}`;
  }

  taskOf(worker: WorkerPeer | undefined, b: number): string | undefined {
    return worker === undefined ? undefined : [...worker.tasks.keys()][b % Math.max(1, worker.tasks.size)];
  }

  dataOf(worker: WorkerPeer | undefined, b: number): string | undefined {
    return worker === undefined ? undefined : [...worker.data][b % Math.max(1, worker.data.size)];
  }

  // ---- the end

  /** Nothing happens any more: true if something was done about that. */
  onQuiet: () => boolean = () => false;

  /** All faults stop: every message is read, every task runs. Then everything wanted is in memory or erred. */
  heal(): void {
    const { world } = this;
    for (let i = 0; i < 4; i++) {
      world.join(100 + i, { alias: `w${i}`, resources: { GPU: 1 }, threads: 2 });
    }
    for (let rounds = 0; this.#round() || this.onQuiet(); rounds++) expect(rounds, "L1").toBeLessThan(500);
    const { books } = world.scheduler;
    expect(books.steals.size).toBe(0);
    for (let task = 0; task < books.tasks.top; task++) {
      const state = books.tasks.state[task]!;
      if (state === FORGOTTEN || !books.isWanted(task)) continue;
      expect([MEMORY, ERRED], world.outbox.keyOf(task)).toContain(state);
    }
    this.checkHoldings();
  }

  /** One round of everyone doing all that they can; false when there was nothing left to do. */
  #round(): boolean {
    const { world } = this;
    let busy = false;
    for (const worker of [...world.workers.values()]) {
      if (worker.book.status !== "running") world.status(worker.number, "running");
      while (worker.receive()) busy = true;
      for (const key of [...worker.tasks.keys()]) worker.finish(key);
      if (worker.reports.length > 0) busy = true;
      world.readAll(worker.number);
    }
    const { tasks } = world.scheduler.books;
    for (let task = 0; task < tasks.top; task++)
      if (tasks.state[task] !== FORGOTTEN && tasks.payload_kind[task] === PAYLOAD_PENDING) {
        world.payload(world.outbox.keyOf(task), [4, 4, 4]);
        busy = true;
      }
    world.wait(2e9);
    return busy || [...world.workers.values()].some((w) => w.inbox.length > 0) || world.processing > 0;
  }

  /** What workers hold is what the books say, and nobody has anything to do any more. */
  checkHoldings(): void {
    const { replicas } = this.world.scheduler.books;
    for (const worker of this.world.workers.values()) {
      const booked = new Set<string>();
      for (let r = replicas.first_of_owner[worker.book.id]!; r !== NONE; r = replicas.next_of_owner[r]!)
        booked.add(this.world.outbox.keyOf(replicas.task[r]!));
      expect([...worker.data].sort(), `worker ${worker.number}`).toEqual([...booked].sort());
      expect([...worker.tasks.keys()]).toEqual([]);
      expect([...worker.promised.keys()]).toEqual([]);
    }
  }

  /** All clients let go: nothing may stay, here or on the workers (C4). */
  end(): void {
    const { world } = this;
    for (const name of [...world.clients.keys()]) world.leave(name);
    while (this.#round());
    const { books, moves } = world.scheduler;
    expect(books.tasks.live).toBe(0);
    expect(books.keys.size).toBe(0);
    expect([books.edges.live, books.replicas.live, books.wants.live, books.needs.live]).toEqual([0, 0, 0, 0]);
    const tables = [books.errors, books.restrictions, books.annotations, books.steals, books.lost_runs];
    expect(tables.map((table) => table.size)).toEqual([0, 0, 0, 0, 0]);
    expect([books.unrunnable.size, moves.queue.length, moves.ready.length]).toEqual([0, 0, 0]);
    expect(books.tasks.segments.live_bytes).toBe(0);
    expect(books.tasks.more_frames.size).toBe(0);
    this.checkHoldings();
    for (const worker of world.workers.values()) {
      expect([...worker.data]).toEqual([]);
      expect([worker.book.nbytes, worker.book.load, worker.book.processing]).toEqual([0, 0, 0]);
    }
  }
}

const RESTRICTIONS = [
  { workers: new Set(["w0"]) },
  { workers: new Set(["w1", "10.0.0.1"]), loose: true },
  { resources: new Map([["GPU", 1]]) },
  { workers: new Set(["w2"]), loose: true, resources: new Map([["GPU", 1]]) },
];

type Move = (chaos: Chaos, a: number, b: number) => void;

const receive: Move = (chaos, a) => void chaos.worker(a)?.receive();

const hear: Move = (chaos, a) => {
  const worker = chaos.worker(a);
  if (worker !== undefined && worker.reports.length > 0) chaos.world.read(worker.number);
};

const finish: Move = (chaos, a, b) => {
  const worker = chaos.worker(a);
  const key = chaos.taskOf(worker, b);
  if (worker !== undefined && key !== undefined) worker.finish(key, b % 100);
};

/** The moves; the likely ones stand here more than once. */
export const MOVES: readonly Move[] = [
  (chaos, a, b) => chaos.join(a, b),
  (chaos, a, b) => chaos.submit(a, b),
  (chaos, a, b) => chaos.submit(a, b),
  receive,
  receive,
  receive,
  hear,
  hear,
  hear,
  finish,
  finish,
  (chaos, a, b) => {
    const worker = chaos.worker(a);
    const task = worker?.tasks.get(chaos.taskOf(worker, b) ?? "");
    if (task !== undefined) task.state = "executing";
  },
  (chaos, a, b) => {
    const worker = chaos.worker(a);
    const key = chaos.taskOf(worker, b);
    if (worker !== undefined && key !== undefined) worker.fail(key);
  },
  function fetchReplica(chaos, a, b) {
    const worker = chaos.worker(a);
    const key = chaos.dataOf(chaos.worker(b), a);
    if (worker === undefined || key === undefined || worker.data.has(key)) return;
    // A worker that is to compute a key, or to drop it, does not fetch it. (Where an answer to an older report of it is on
    // its way, neither Dask nor this scheduler can tell the copies apart: such a ghost is found by who tries to fetch it.)
    if (worker.promised.has(key) || worker.inbox.some((message) => message.key === key)) return;
    if (worker.reports.some((report) => report.key === key)) return;
    worker.data.add(key);
    worker.reports.push({ op: "add-keys", key });
  },
  function dropData(chaos, a, b) {
    const worker = chaos.worker(a);
    const key = chaos.dataOf(worker, b);
    if (worker === undefined || key === undefined) return;
    worker.data.delete(key);
    worker.reports.push({ op: "release-worker-data", key });
  },
  function loseWorker(chaos, a, b) {
    const worker = chaos.worker(a);
    if (worker !== undefined && b % 2 === 0) chaos.world.lose(worker.number, b % 4 === 0);
  },
  function changeStatus(chaos, a, b) {
    const worker = chaos.worker(a);
    const statuses = ["running", "running", "paused", "closing_gracefully"] as const;
    if (worker !== undefined) chaos.world.status(worker.number, statuses[b % 4]!);
  },
  (chaos, a, b) => chaos.world.release(chaos.key(a), chaos.client(b)),
  (chaos, a, b) => chaos.world.release(chaos.key(a), chaos.client(b)),
  (chaos, a, b) => chaos.world.cancel(chaos.key(a), chaos.client(b), b % 5 === 0),
  function staleReport(chaos, a, b) {
    const worker = chaos.worker(a);
    const key = chaos.key(b);
    if (worker === undefined || chaos.world.task(key) === NONE || worker.promised.has(key)) return;
    worker.data.add(key);
    worker.reports.push({
      op: "task-finished",
      key,
      // A run is given to one worker only: another cannot report the one that counts.
      run_id: chaos.world.runOf(key) + 1000,
      nbytes: 3,
    });
  },
  function staleRun(chaos, a, b) {
    const worker = chaos.worker(a);
    const key = chaos.taskOf(worker, b);
    const task = worker?.tasks.get(key ?? "");
    if (worker === undefined || key === undefined || task === undefined) return;
    worker.reports.push({ op: b % 2 === 0 ? "task-erred" : "long-running", key, run_id: task.run_id + 1000 });
  },
  function repeatReport(chaos, a) {
    const worker = chaos.worker(a);
    const last = worker?.reports.at(-1);
    if (worker === undefined || last?.op !== "task-finished" || !worker.data.has(last.key)) return;
    worker.reports.push(last);
  },
  function steal(chaos, a, b) {
    const { books } = chaos.world.scheduler;
    const thief = chaos.worker(a);
    const task = chaos.world.task(chaos.key(b));
    if (thief === undefined || task === NONE || thief.book.status !== "running") return;
    if (books.stealable(task, thief.book.id)) chaos.world.steal(task, thief.book.id);
  },
  function scatter(chaos, a, b) {
    const worker = chaos.worker(a);
    // A worker that is busy with the key, or about to be told of it, would be another race.
    if (worker === undefined || worker.inbox.length > 0 || worker.reports.length > 0) return;
    chaos.world.scatter(b % 4 === 0 ? chaos.key(a) : `s${b % 2}`, worker.number, chaos.client(b), b % 50);
  },
  function desire(chaos, a, b) {
    if (chaos.world.task(chaos.key(a)) !== NONE) chaos.world.desire(chaos.key(a), chaos.client(b));
  },
  (chaos, a) => void chaos.world.retry(chaos.key(a)),
  function leave(chaos, a, b) {
    if (b % 4 === 0 && chaos.world.clients.has(chaos.client(a))) chaos.world.leave(chaos.client(a));
  },
  function secede(chaos, a, b) {
    const worker = chaos.worker(a);
    const key = chaos.taskOf(worker, b);
    const task = worker?.tasks.get(key ?? "");
    if (worker === undefined || key === undefined || task === undefined) return;
    task.state = "long-running";
    worker.reports.push({ op: "long-running", key, run_id: task.run_id });
  },
  function reschedule(chaos, a, b) {
    const worker = chaos.worker(a);
    const key = chaos.taskOf(worker, b);
    if (worker === undefined || key === undefined) return;
    worker.tasks.delete(key);
    worker.reports.push({ op: "reschedule", key });
  },
  function bringPayload(chaos, a) {
    const key = chaos.key(a);
    if (chaos.world.task(key) !== NONE) chaos.world.payload(key);
  },
  function giveUpPayload(chaos, a) {
    const task = chaos.world.task(chaos.key(a));
    const { tasks } = chaos.world.scheduler.books;
    if (task !== NONE && tasks.payload_kind[task] === PAYLOAD_PENDING) chaos.world.failTask(chaos.key(a));
  },
  (chaos, a) => chaos.world.wait((a % 100) * 1e6),
  function recompute(chaos, a, b) {
    // Mostly neighbours, as the inputs, barrier and outputs of a shuffle are.
    const keys = Array.from({ length: 1 + (b % 6) }, (_, i) => chaos.key(a + i));
    chaos.world.recompute(...keys);
  },
  function restrict(chaos, a, b) {
    const { books } = chaos.world.scheduler;
    const key = chaos.key(a);
    const task = chaos.world.task(key);
    // No policy may queue a task with restrictions: who restricts one that stands in the queue, is refused before.
    if (task === NONE || books.tasks.state[task] === QUEUED) return;
    const before = books.restrictions.get(task);
    const resources = before?.resources ?? null;
    if (resources !== null || b % 3 > 0)
      chaos.world.restrict(key, { workers: new Set([`w${b % 4}`]), loose: b % 2 === 0, resources });
    else chaos.world.restrict(key, null);
  },
];
