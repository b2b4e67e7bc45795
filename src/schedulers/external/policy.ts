import { NONE, type TaskId, type WorkerId } from "../../base/ids.ts";
import { keyNames } from "../key-names.ts";
import {
  type ClusterView,
  type PlacementSink,
  type Policy,
  type PolicyWatch,
  type StealSink,
  UNWATCHED,
} from "../policy.ts";
import { WorkStealingPolicy } from "../work-stealing.ts";
import { type Batch, type News, PolicyAnswerError, readAnswer } from "./messages.ts";

export interface ExternalPolicyOptions {
  /** Takes a message to the other side; its answer comes back by {@link ExternalPolicy.answer}, sooner or later. */
  readonly send: (batch: Batch) => void;
  /** Of the policy that stands in: for what the other side may not decide, and for everything once it has failed. */
  readonly seed: number;
}

interface Worker {
  readonly id: WorkerId;
  readonly number: number;
}

interface Task {
  readonly id: TaskId;
  readonly number: number;
  state: "waiting" | "withheld" | "placed" | "done";
  /** Where the other side wants it. */
  wanted: Worker | null;
  /** Where it is. */
  worker: Worker | null;
}

interface Steal {
  readonly from: Worker;
  readonly to: Worker;
}

/**
 * RSDS's protocol between scheduler and policy, for a policy that lives elsewhere: it is told what happens in batches, and
 * answers with assignments whenever it has decided. Tasks that are ready before wait in the scheduler; a task that is assigned before it
 * is ready goes to its worker when it is; one that was given to another worker already is stolen from there. Numbers on the
 * wire are never used again, so that a late answer cannot hit another task.
 */
export class ExternalPolicy implements Policy {
  readonly name = "external";
  readonly balances = "always";
  /** Why the other side is not asked any more, or null. */
  failure: string | null = null;
  readonly #send: (batch: Batch) => void;
  readonly #stand_in: WorkStealingPolicy;
  #view!: ClusterView;
  #news: News[] = [];
  #sent = 0;
  #answered = 0;
  #last_worker = 0;
  #last_task = 0;
  /** Tasks that wait and are not told of yet. */
  readonly #fresh = new Set<TaskId>();
  readonly #workers = new Map<number, Worker>();
  readonly #worker_of: (Worker | undefined)[] = [];
  readonly #tasks = new Map<number, Task>();
  readonly #task_of: (Task | undefined)[] = [];
  /** Withheld tasks that were assigned since the last turn. */
  #picked: TaskId[] = [];
  #moves: [Task, Worker][] = [];
  readonly #steals = new Map<Task, Steal>();
  /** The run that ended last, for the event that says what it led to. */
  #stopped: TaskId = NONE;
  #stopped_on: Worker | null = null;
  #duration_s: number | null = null;
  #key = new Uint8Array(256);

  constructor(options: ExternalPolicyOptions) {
    this.#send = options.send;
    this.#stand_in = new WorkStealingPolicy(options.seed);
  }

  /** Batches that wait for their answers. */
  get unanswered(): number {
    return this.#sent - this.#answered;
  }

  /** Tasks that are ready and wait for an assignment. */
  get withheld(): boolean {
    for (const task of this.#tasks.values()) if (task.state === "withheld") return true;
    return false;
  }

  // ---- the other side

  /** What the other side answered to the oldest batch that it has not answered. Throws PolicyAnswerError. */
  answer(value: unknown): void {
    if (this.failure !== null) return;
    if (this.unanswered === 0) throw new PolicyAnswerError("it answered what it was not asked");
    const { assignments } = readAnswer(value, this.#answered + 1);
    for (const [task, worker] of assignments) this.#check(task, worker);
    this.#answered++;
    for (const [task, worker] of assignments) this.#want(this.#tasks.get(task), this.#workers.get(worker));
  }

  #check(task: number, worker: number): void {
    if (task < 1 || task > this.#last_task) throw new PolicyAnswerError(`there was never a task ${task}`);
    if (worker < 1 || worker > this.#last_worker)
      throw new PolicyAnswerError(`there was never a worker ${worker}`);
  }

  /** Undefined: it has gone since the other side decided. */
  #want(task: Task | undefined, worker: Worker | undefined): void {
    if (task === undefined || worker === undefined) return;
    if (task.state === "placed") {
      if (task.worker !== worker) this.#moves.push([task, worker]);
      return;
    }
    task.wanted = worker;
    if (task.state === "withheld") this.#picked.push(task.id);
  }

  /** The other side is gone, or not to be trusted: everything is placed here from now on. */
  fail(reason: string): void {
    if (this.failure !== null) return;
    this.failure = reason;
    this.#news = [];
    this.#moves = [];
    this.#picked = [];
    this.#fresh.clear();
    for (const task of this.#tasks.values()) if (task.state === "withheld") this.#picked.push(task.id);
    this.#tasks.clear();
    this.#task_of.length = 0;
    this.#steals.clear();
  }

  // ---- what happens

  readonly watch = (view: ClusterView): PolicyWatch => {
    this.#view = view;
    return {
      ...UNWATCHED,
      taskWaiting: (task) => this.#taskWaiting(task),
      taskWaited: (task) => this.#taskWaited(task),
      taskForgotten: (task) => this.#taskForgotten(task),
      taskInMemory: (task) => this.#taskInMemory(task),
      taskStarted: (task, worker) => this.#taskStarted(task, worker),
      taskStopped: (task, worker) => this.#taskStopped(task, worker),
      taskMeasured: (task, duration_s) => {
        this.#stopped = task;
        this.#duration_s = duration_s;
      },
      workerJoined: (worker, threads) => this.#workerJoined(worker, threads),
      workerLeft: (worker) => this.#workerLeft(worker),
      workerRuns: (worker, running) => {
        const known = this.#worker_of[worker];
        if (known !== undefined) this.#tell({ op: "worker-status", worker: known.number, running });
      },
      stealEnded: (task, granted) => this.#stealEnded(task, granted),
    };
  };

  #tell(news: News): void {
    if (this.failure === null) this.#news.push(news);
  }

  #workerJoined(id: WorkerId, threads: number): void {
    const worker = { id, number: ++this.#last_worker };
    this.#worker_of[id] = worker;
    this.#workers.set(worker.number, worker);
    this.#tell({ op: "new-worker", worker: worker.number, threads, host: this.#view.host(id) });
  }

  #workerLeft(id: WorkerId): void {
    const worker = this.#worker_of[id]!;
    this.#worker_of[id] = undefined;
    this.#workers.delete(worker.number);
    this.#tell({ op: "worker-left", worker: worker.number });
  }

  #taskWaiting(id: TaskId): void {
    if (this.failure !== null) return;
    const known = this.#task_of[id];
    if (known !== undefined) {
      known.state = "waiting";
      known.wanted = null;
      this.#tell({ op: "task-waiting", task: known.number });
      return;
    }
    this.#fresh.add(id);
  }

  /** Tells of the tasks that came since the last time, each after its inputs. Graphs are deep: no recursion. */
  #tellFresh(): void {
    const stack: TaskId[] = [];
    for (const root of this.#fresh) {
      stack.push(root);
      while (stack.length > 0) {
        const id = stack[stack.length - 1]!;
        if (!this.#fresh.has(id)) stack.pop();
        else if (!this.#pushInputs(id, stack)) {
          stack.pop();
          this.#fresh.delete(id);
          this.#tellTask(id);
        }
      }
    }
  }

  /** Whether some inputs have to be told of first. */
  #pushInputs(id: TaskId, stack: TaskId[]): boolean {
    const view = this.#view;
    const before = stack.length;
    for (let i = view.dependencyCount(id) - 1; i >= 0; i--) {
      const input = view.dependency(id, i);
      if (this.#fresh.has(input)) stack.push(input);
    }
    return stack.length > before;
  }

  #tellTask(id: TaskId): void {
    const view = this.#view;
    const inputs: number[] = [];
    for (let i = 0; i < view.dependencyCount(id); i++) inputs.push(this.#inputNumber(view.dependency(id, i)));
    const task = this.#add(id);
    this.#tell({
      op: "new-task",
      task: task.number,
      inputs,
      name: this.#nameOf(id),
      order: view.order(id),
      tied: !view.queueable(id),
    });
  }

  #add(id: TaskId, state: Task["state"] = "waiting"): Task {
    const task: Task = { id, number: ++this.#last_task, state, wanted: null, worker: null };
    while (this.#task_of.length < id) this.#task_of.push(undefined);
    this.#task_of[id] = task;
    this.#tasks.set(task.number, task);
    return task;
  }

  /** An input that is not known is data that somebody brought. */
  #inputNumber(id: TaskId): number {
    const known = this.#task_of[id];
    if (known !== undefined) return known.number;
    const view = this.#view;
    const task = this.#add(id, "done");
    const workers: number[] = [];
    for (let r = view.firstHolder(id); r !== NONE; r = view.nextHolder(r))
      workers.push(this.#worker_of[view.holder(r)]!.number);
    this.#tell({ op: "new-data", task: task.number, workers, nbytes: Math.max(0, view.nbytes(id)) });
    return task.number;
  }

  #nameOf(id: TaskId): string {
    let length = this.#view.readKey(id, this.#key);
    if (length > this.#key.length) {
      this.#key = new Uint8Array(2 * length);
      length = this.#view.readKey(id, this.#key);
    }
    return keyNames(this.#key.subarray(0, length)).prefix;
  }

  #taskWaited(id: TaskId): void {
    const task = this.#task_of[id];
    if (task !== undefined && task.state === "waiting") task.state = "done";
  }

  #taskForgotten(id: TaskId): void {
    this.#fresh.delete(id);
    const task = this.#task_of[id];
    if (task === undefined) return;
    this.#task_of[id] = undefined;
    this.#tasks.delete(task.number);
    this.#tell({ op: "task-removed", task: task.number });
  }

  #taskStarted(id: TaskId, worker_id: WorkerId): void {
    const task = this.#task_of[id];
    if (task === undefined) return;
    const worker = this.#worker_of[worker_id]!;
    const asked = task.wanted === worker;
    task.state = "placed";
    task.worker = worker;
    task.wanted = null;
    if (!asked) this.#tell({ op: "task-placed", task: task.number, worker: worker.number });
  }

  #taskStopped(id: TaskId, worker: WorkerId): void {
    if (this.#stopped !== id) this.#duration_s = null;
    this.#stopped = id;
    this.#stopped_on = this.#worker_of[worker] ?? null;
    const task = this.#task_of[id];
    if (task === undefined) return;
    task.worker = null;
    task.state = "done";
  }

  #taskInMemory(id: TaskId): void {
    // Data that somebody brought is told of when a task needs it.
    this.#fresh.delete(id);
    const task = this.#task_of[id];
    if (task !== undefined) {
      task.state = "done";
      const ran = this.#stopped === id;
      this.#tell({
        op: "task-finished",
        task: task.number,
        worker: ran ? (this.#stopped_on?.number ?? null) : null,
        nbytes: Math.max(0, this.#view.nbytes(id)),
        duration: ran ? this.#duration_s : null,
      });
    }
    this.#stopped = NONE;
  }

  #stealEnded(id: TaskId, granted: boolean): void {
    const task = this.#task_of[id];
    const steal = task === undefined ? undefined : this.#steals.get(task);
    if (task === undefined || steal === undefined) return;
    this.#steals.delete(task);
    // Given up and not taken, because the thief has left since: the task waits again, which is told by itself.
    if (granted) task.wanted = steal.to;
    this.#answerSteal(task, steal, granted);
  }

  #answerSteal(task: Task, { from, to }: Steal, success: boolean): void {
    this.#tell({ op: "steal-response", task: task.number, from: from.number, to: to.number, success });
  }

  // ---- decisions

  readonly order = (): void => {
    if (this.failure !== null) return;
    if (this.#fresh.size > 0) this.#tellFresh();
    if (this.#news.length === 0) return;
    const news = this.#news;
    this.#news = [];
    this.#send({ batch: ++this.#sent, news });
  };

  readonly picks = (): readonly TaskId[] => {
    const picked = this.#picked;
    this.#picked = [];
    return [...new Set(picked)];
  };

  place(ready: Int32Array, count: number, view: ClusterView, sink: PlacementSink): void {
    if (this.failure !== null) {
      this.#stand_in.place(ready, count, view, sink);
      return;
    }
    const tied = new Int32Array(count);
    let tied_count = 0;
    for (let i = 0; i < count; i++) {
      const id = ready[i]!;
      const task = this.#task_of[id];
      const wanted = task?.wanted ?? null;
      if (task === undefined || !view.queueable(id)) tied[tied_count++] = id;
      else if (wanted !== null && view.running.has(wanted.id)) sink.assign(id, wanted.id);
      else {
        task.state = "withheld";
        sink.queue(id);
      }
    }
    this.#stand_in.place(tied, tied_count, view, sink);
  }

  balance(now_ns: number, view: ClusterView, sink: StealSink): number {
    if (this.failure !== null) return this.#stand_in.balance(now_ns, view, sink);
    const moves = this.#moves;
    this.#moves = [];
    for (const [task, to] of moves) {
      const from = task.worker;
      if (task.state !== "placed" || from === null || from === to) continue;
      const steal = { from, to };
      const possible =
        this.#worker_of[to.id] === to && view.running.has(to.id) && view.stealable(task.id, to.id);
      if (possible && !this.#steals.has(task)) {
        this.#steals.set(task, steal);
        sink.steal(task.id, to.id);
      } else this.#answerSteal(task, steal, false);
    }
    // A refusal is news: without it being sent nothing more might happen.
    return this.#news.length > 0 ? now_ns : Number.POSITIVE_INFINITY;
  }

  stealAnswered(granted: boolean): void {
    if (this.failure !== null) this.#stand_in.stealAnswered(granted);
  }
}
