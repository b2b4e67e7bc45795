import { createHash } from "node:crypto";
import { NONE, type TaskId } from "../../src/base/ids.ts";
import type { TaskError } from "../../src/core/books.ts";
import type { GraphBuilder } from "../../src/core/graph-builder.ts";
import type { Outbox } from "../../src/core/outbox.ts";
import { PAYLOAD_PICKLED } from "../../src/core/payloads.ts";
import { Scheduler } from "../../src/core/scheduler.ts";
import { PROCESSING } from "../../src/core/states.ts";
import {
  type Effect,
  type GraphStep,
  keyOfText,
  type Plain,
  restrictionsOf,
  type Stimulus,
} from "../../src/core/stimuli.ts";
import { type StimulusHeader, settingsOfPlain } from "../../src/core/stimulus-header.ts";
import { validate } from "../../src/core/validate.ts";
import type { WorkerBook, WorkerFacts, WorkerStatus } from "../../src/core/worker-book.ts";
import { createPolicy } from "../../src/schedulers/index.ts";

/** With more tasks in the books they are validated after each batch instead of each stimulus. */
const EACH_TASKS_MAX = 2_000;
/** The server makes the next call before anybody else has a say: what they leave behind is no whole. */
const HALVES = new Set(["keyNamed", "payloadLost"]);

/** Where a replay went another way than what was recorded. */
export interface Difference {
  /** The stimulus' place in the log, from 1. */
  readonly stimulus: number;
  readonly given: Stimulus;
  readonly recorded: readonly Plain[];
  readonly replayed: readonly Plain[];
}

/**
 * A core of its own, which is told what another one was told, and held against what that one said. Its numbers of tasks, workers
 * and clients are the same as long as it does the same.
 */
export class StimulusReplay {
  readonly core: Scheduler;
  stimuli = 0;
  batches = 0;
  effects = 0;
  tasks_max = 0;
  differences = 0;
  first_difference: Difference | null = null;
  readonly #said: Effect[] = [];
  readonly #hash = createHash("sha256");
  /**
   * Each task that is known: its number may be given to another one when the recorded core's was, which hung on when
   * messages had been written.
   */
  readonly #pinned = new Set<TaskId>();

  constructor(header: StimulusHeader) {
    const { scheduler, seed, settings, allowed_failures } = header;
    this.core = new Scheduler({
      policy: createPolicy(scheduler, seed, settingsOfPlain(settings)),
      outbox: outboxOf((effect) => this.#said.push(effect)),
      key_seed: 1,
      allowed_failures,
    });
  }

  /** Of all that the core has said so far. */
  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  /** One stimulus, then all invariants. Throws InvariantError where they do not hold. */
  apply(stimulus: Stimulus, recorded: readonly Effect[]): void {
    this.stimuli++;
    const answers = this.#answer(stimulus);
    const replayed = [...this.#said.splice(0), ...answers.map((answer) => ["answer", answer] as const)];
    this.#hash.update(JSON.stringify(replayed));
    this.effects += replayed.length - answers.length;
    const { tasks } = this.core.books;
    this.tasks_max = Math.max(this.tasks_max, tasks.live);
    if (stimulus[0] === "endBatch") this.batches++;
    if (stimulus[0] === "endBatch" || (tasks.live <= EACH_TASKS_MAX && !HALVES.has(stimulus[0])))
      validate(this.core);
    const expected = [...recorded, ...recordedAnswers(stimulus).map((answer) => ["answer", answer] as const)];
    if (JSON.stringify(replayed) === JSON.stringify(expected)) return;
    this.differences++;
    this.first_difference ??= { stimulus: this.stimuli, given: stimulus, recorded: expected, replayed };
  }

  /** What the core answers, beside what it says: numbers that it gave out. */
  #answer(stimulus: Stimulus): readonly Plain[] {
    try {
      return this.#call(stimulus);
    } catch (error) {
      if (error instanceof UnknownStimulusError) throw error;
      this.#said.push(["threw", error instanceof Error ? error.name : "?"]);
      return recordedAnswers(stimulus);
    }
  }

  #call([name, ...given]: Stimulus): readonly Plain[] {
    if (name === "graph") return this.#graph(given);
    if (name === "recycled") {
      this.#recycle(given[0] as readonly TaskId[]);
      return [];
    }
    const decode = DECODERS[name];
    if (decode === undefined) throw new UnknownStimulusError(name);
    const answer = decode(this.core, given);
    if (name === "keyNamed") this.#pin(Number(answer));
    if (name === "schedule") return [Number.isFinite(answer) ? Number(answer) : null];
    return answer === undefined ? [] : [Number(answer)];
  }

  #pin(task: TaskId): void {
    if (this.#pinned.has(task)) return;
    this.#pinned.add(task);
    this.core.books.tasks.pin(task);
  }

  #recycle(list: readonly TaskId[]): void {
    const { tasks } = this.core.books;
    for (const task of list) if (this.#pinned.delete(task)) tasks.unpin(task);
    tasks.recycle();
  }

  #graph([client, steps, wanted]: readonly Plain[]): readonly Plain[] {
    const builder = this.core.graph({
      client: Number(client),
      buffer: NO_BYTES,
      ...{ generation: 0, user_priority: 0 },
    });
    const interned: TaskId[] = [];
    for (const step of steps as readonly GraphStep[])
      if (step[0] === "intern") {
        const task = builder.internKey(keyOfText(step[1]));
        interned.push(task);
        this.#pin(task);
      } else takeStep(builder, step);
    if (wanted === null) builder.abort();
    else builder.commit(wanted as readonly TaskId[]);
    return interned;
  }
}

/** A log of another version, or no log. */
export class UnknownStimulusError extends Error {
  override readonly name = "UnknownStimulusError";

  constructor(name: string) {
    super(`the core has no method '${name}': was this log written by another version of rsds?`);
  }
}

/** The numbers that the recorded core gave out on this. */
function recordedAnswers([name, ...given]: Stimulus): readonly Plain[] {
  if (name === "graph")
    return (given[1] as readonly GraphStep[]).filter((step) => step[0] === "intern").map((step) => step[2]);
  return ANSWERS.has(name) ? given.slice(-1) : [];
}

/** Whose last argument in a log is what was answered. */
const ANSWERS = new Set(["clientJoined", "workerJoined", "keyNamed", "schedule"]);

const NO_BYTES = new Uint8Array(0);
const NO_PAYLOAD = { kind: PAYLOAD_PICKLED, offset: 0, header_bytes: 0, body_bytes: -1 };

function takeStep(builder: GraphBuilder, step: Exclude<GraphStep, readonly ["intern", ...unknown[]]>): void {
  switch (step[0]) {
    case "priority":
      [, builder.generation, builder.user_priority] = step;
      break;
    case "define": {
      const [, task, pending, order, dependencies] = step;
      const ids = Int32Array.from(dependencies);
      builder.define(task, pending ? null : NO_PAYLOAD, ids, 0, ids.length, order);
      break;
    }
    case "annotate": {
      const [, task, user_priority, retries, actor, restrictions] = step;
      builder.annotate(task, {
        ...(user_priority === null ? {} : { user_priority }),
        ...(retries === null ? {} : { retries }),
        ...(restrictions === null ? {} : { restrictions: restrictionsOf(restrictions)! }),
        actor,
      });
      break;
    }
  }
}

function failure(blame: TaskId): TaskError {
  return {
    ...{ blame, exception: null, traceback: null },
    ...{ exception_text: "recorded", traceback_text: "", worker: "" },
  };
}

/** What a call of the core was, from a log: by the method's name, the call itself. Answers a number that the core gives out. */
const DECODERS: Readonly<Record<string, (core: Scheduler, given: readonly Plain[]) => number | undefined>> = {
  clientJoined: (core, [name]) => core.clientJoined(String(name)),
  clientLeft: (core, [client]) => void core.clientLeft(Number(client)),
  payloadArrived: (core, [task]) =>
    void core.payloadArrived(Number(task), {
      ...{ kind: PAYLOAD_PICKLED, segment: NONE, offset: 0, frame_bytes: [0] },
    }),
  payloadLost: (core, [task]) => void core.payloadLost(Number(task)),
  keyNamed: (core, [key]) => core.keyNamed(keyOfText(String(key))),
  restrictionsChanged: (core, [task, restrictions]) =>
    void core.restrictionsChanged(Number(task), restrictionsOf(restrictions)),
  clientDesiresKey: (core, [client, task]) => void core.clientDesiresKey(Number(client), Number(task)),
  clientReleasesKey: (core, [client, task]) => void core.clientReleasesKey(Number(client), Number(task)),
  cancelKey: (core, [client, task, force]) =>
    void core.cancelKey(Number(client), Number(task), force === true),
  retryKey: (core, [task]) => void core.retryKey(Number(task)),
  workerJoined: (core, given) => core.workerJoined(factsOf(given)).id,
  workerStatusChanged: (core, [worker, status]) =>
    void core.workerStatusChanged(workerOf(core, worker), String(status) as WorkerStatus),
  resourcesChanged: (core, [worker, resources]) =>
    void core.resourcesChanged(workerOf(core, worker), new Map(resources as readonly [string, number][])),
  bandwidthMeasured: (core, [bytes_per_s]) => void core.bandwidthMeasured(Number(bytes_per_s)),
  taskRunning: (core, [task, since_s]) => void core.taskRunning(Number(task), Number(since_s)),
  workerLeft: (core, [worker, expected]) =>
    void core.workerLeft(workerOf(core, worker), expected === true, failure),
  taskFinished: (core, [worker, task, run_id, nbytes, type, duration_s]) =>
    void core.taskFinished(
      workerOf(core, worker),
      ...([task, run_id, nbytes, type].map(Number) as [number, number, number, number]),
      Number(duration_s ?? 0),
    ),
  taskErred: (core, [worker, task, run_id]) =>
    void core.taskErred(workerOf(core, worker), Number(task), Number(run_id), failure(Number(task))),
  taskFailed: (core, [task]) => void core.taskFailed(Number(task), failure(Number(task))),
  taskRescheduled: (core, [worker, task]) => void core.taskRescheduled(workerOf(core, worker), Number(task)),
  recompute: (core, [tasks]) => void core.recompute(tasks as readonly TaskId[]),
  taskLongRunning: (core, [worker, task, run_id, duration_s]) =>
    void core.taskLongRunning(workerOf(core, worker), Number(task), Number(run_id), Number(duration_s ?? 0)),
  keyAdded: (core, [worker, task]) => void core.keyAdded(workerOf(core, worker), Number(task)),
  keyReleased: (core, [worker, task]) => void core.keyReleased(workerOf(core, worker), Number(task)),
  dataReceived: (core, [worker, ...given]) =>
    void core.dataReceived(
      workerOf(core, worker),
      ...(given.map(Number) as [number, number, number, number]),
    ),
  stealAnswered: (core, [worker, task, steal_id, state]) =>
    void core.stealAnswered(
      workerOf(core, worker),
      Number(task),
      Number(steal_id),
      state === null ? null : String(state),
    ),
  // A core that does something else may not have given it out.
  steal: (core, [task, thief]) =>
    core.books.tasks.state[Number(task)] === PROCESSING
      ? void core.steal(Number(task), Number(thief))
      : undefined,
  schedule: (core, given) => {
    core.now_ns = Number(given[0]);
    // The last is the answer. Logs from when all was placed at once have no bound before it.
    return core.schedule(given.length > 2 ? Number(given[1]) : Number.POSITIVE_INFINITY);
  },
  endBatch: (core) => void core.endBatch(),
};

/** The names that a log may hold. */
export const REPLAYED_NAMES: readonly string[] = [...Object.keys(DECODERS), "graph", "recycled"];

function factsOf([address, host, alias, threads, resources, ...rest]: readonly Plain[]): WorkerFacts {
  // Behind them the answer, its id. Logs from when limits decided nothing have none before it.
  const memory_limit_bytes = rest.length > 1 ? Number(rest[0]) : 0;
  return {
    memory_limit_bytes,
    ...{ address: String(address), host: String(host), alias: String(alias), threads: Number(threads) },
    resources: new Map(resources as readonly [string, number][]),
  };
}

function workerOf({ books }: Scheduler, worker: Plain | undefined): WorkerBook {
  return books.worker(Number(worker));
}

function outboxOf(say: (effect: Effect) => void): Outbox {
  return {
    computeTask: (worker, task) => say(["computeTask", worker, task]),
    freeKeys: (worker, task) => say(["freeKeys", worker, task]),
    freeReplica: (worker, task) => say(["freeKeys", worker, task]),
    removeReplicas: (worker, task) => say(["removeReplicas", worker, task]),
    stealRequest: (worker, task, steal_id) => say(["stealRequest", worker, task, steal_id]),
    keyInMemory: (client, task) => say(["keyInMemory", client, task]),
    taskErred: (client, task) => say(["taskErred", client, task]),
    lostData: (client, task) => say(["lostData", client, task]),
    cancelledKeys: (client, task, reason) => say(["cancelledKeys", client, task, reason]),
    taskRetried: (client, task) => say(["taskRetried", client, task]),
  };
}
