import type { ClientId, TaskId, WorkerId } from "../base/ids.ts";
import type { Restrictions } from "./books.ts";
import type { GraphBuilder } from "./graph-builder.ts";
import type { CancelReason, Outbox } from "./outbox.ts";
import { PAYLOAD_PENDING } from "./payloads.ts";
import type { Scheduler } from "./scheduler.ts";
import type { WorkerBook, WorkerFacts, WorkerStatus } from "./worker-book.ts";

/** What JSON can hold. Tasks, workers and clients are the core's numbers. */
export type Plain = null | boolean | number | string | readonly Plain[];

/** One call of the core: the name of the method, what it was given, what it answered. */
export type Stimulus = readonly [name: string, ...given: readonly Plain[]];

/** What the core had said on that: the name of the {@link Outbox}'s method, and what it was given; `threw`: an error's name. */
export type Effect = readonly [name: string, ...given: readonly Plain[]];

/** Restrictions as [workers or null, loose, [name, amount] of each resource or null]. */
type PlainRestrictions = readonly [
  readonly string[] | null,
  boolean,
  readonly (readonly [string, number])[] | null,
];

/**
 * What each call that changes the core's books becomes in a log. Payloads, errors and the names of types are left out: the
 * core does not look into them.
 */
const ENCODERS = {
  clientJoined: (name: string) => [name],
  clientLeft: (client: ClientId) => [client],
  payloadArrived: (task: TaskId) => [task],
  payloadLost: (task: TaskId) => [task],
  keyNamed: (key: Uint8Array) => [keyToText(key)],
  restrictionsChanged: (task: TaskId, restrictions: Restrictions | null) => [task, plain(restrictions)],
  clientDesiresKey: (client: ClientId, task: TaskId) => [client, task],
  clientReleasesKey: (client: ClientId, task: TaskId) => [client, task],
  cancelKey: (client: ClientId, task: TaskId, force: boolean) => [client, task, force],
  retryKey: (task: TaskId) => [task],
  workerJoined: ({ address, host, alias, threads, resources, memory_limit_bytes = 0 }: WorkerFacts) => [
    ...[address, host, alias, threads],
    [...resources],
    memory_limit_bytes,
  ],
  workerStatusChanged: (worker: WorkerBook, status: WorkerStatus) => [worker.id, status],
  resourcesChanged: (worker: WorkerBook, resources: ReadonlyMap<string, number>) => [
    worker.id,
    [...resources],
  ],
  bandwidthMeasured: (bytes_per_s: number) => [bytes_per_s],
  taskRunning: (task: TaskId, since_s: number) => [task, since_s],
  workerLeft: (worker: WorkerBook, expected: boolean) => [worker.id, expected],
  taskFinished: (worker: WorkerBook, ...given: readonly number[]) => [worker.id, ...given],
  taskErred: (worker: WorkerBook, task: TaskId, run_id: number) => [worker.id, task, run_id],
  taskFailed: (task: TaskId) => [task],
  taskRescheduled: (worker: WorkerBook, task: TaskId) => [worker.id, task],
  recompute: (tasks: readonly TaskId[]) => [tasks],
  taskLongRunning: (worker: WorkerBook, ...given: readonly number[]) => [worker.id, ...given],
  keyAdded: (worker: WorkerBook, task: TaskId) => [worker.id, task],
  keyReleased: (worker: WorkerBook, task: TaskId) => [worker.id, task],
  dataReceived: (worker: WorkerBook, ...given: readonly number[]) => [worker.id, ...given],
  stealAnswered: (worker: WorkerBook, task: TaskId, steal_id: number, state: string | null) => [
    ...[worker.id, task, steal_id, state],
  ],
  // The policy's are its own affair; one from outside is a stimulus.
  steal: (task: TaskId, thief: WorkerId) => [task, thief],
  schedule: () => [],
  endBatch: () => [],
} as const satisfies {
  readonly [Name in keyof Scheduler]?: Scheduler[Name] extends (
    ...given: infer Given extends never[]
  ) => unknown
    ? (...given: Given) => readonly Plain[]
    : never;
};

/** The methods of the core whose calls are stimuli; `graph` too, whose builder's calls are one stimulus together. */
export const STIMULUS_NAMES: readonly string[] = [...Object.keys(ENCODERS), "graph", "recycled"];

/** Calls of a {@link GraphBuilder}, as a log has them. */
export type GraphStep =
  | readonly ["intern", key: string, task: TaskId]
  | readonly ["define", task: TaskId, pending: boolean, order: number, dependencies: readonly TaskId[]]
  | readonly ["priority", generation: number, user_priority: number]
  | readonly [
      ...["annotate", task: TaskId, user_priority: number | null, retries: number | null, actor: boolean],
      restrictions: PlainRestrictions | null,
    ];

/**
 * Writes down all that a core is told, and what it says on that, so that the same can be told to another one and held
 * against it. Who does not make one pays nothing for it.
 *
 * A stimulus is complete once the call is over. One that is made within another (by who is told of a change) stands behind it.
 */
export class StimulusLog {
  readonly #write: (stimulus: Stimulus, effects: readonly Effect[]) => void;
  #effects: Effect[] = [];
  /** Stimuli within the one that is under way. */
  #nested: Stimulus[] = [];
  #depth = 0;

  constructor(write: (stimulus: Stimulus, effects: readonly Effect[]) => void) {
    this.#write = write;
  }

  /** The outbox that the core is to be given in place of this one. */
  outbox(outbox: Outbox): Outbox {
    const heard = this.#heard;
    return {
      computeTask: (worker, task) => {
        heard(["computeTask", worker, task]);
        outbox.computeTask(worker, task);
      },
      freeKeys: (worker, task) => {
        heard(["freeKeys", worker, task]);
        outbox.freeKeys(worker, task);
      },
      // The same message: how long it may wait is no affair of the core's.
      freeReplica: (worker, task) => {
        heard(["freeKeys", worker, task]);
        outbox.freeReplica(worker, task);
      },
      removeReplicas: (worker, task) => {
        heard(["removeReplicas", worker, task]);
        outbox.removeReplicas(worker, task);
      },
      stealRequest: (worker, task, steal_id) => {
        heard(["stealRequest", worker, task, steal_id]);
        outbox.stealRequest(worker, task, steal_id);
      },
      keyInMemory: (client, task) => {
        heard(["keyInMemory", client, task]);
        outbox.keyInMemory(client, task);
      },
      taskErred: (client, task) => {
        heard(["taskErred", client, task]);
        outbox.taskErred(client, task);
      },
      lostData: (client, task) => {
        heard(["lostData", client, task]);
        outbox.lostData(client, task);
      },
      cancelledKeys: (client, task, reason: CancelReason) => {
        heard(["cancelledKeys", client, task, reason]);
        outbox.cancelledKeys(client, task, reason);
      },
      taskRetried: (client, task) => {
        heard(["taskRetried", client, task]);
        outbox.taskRetried(client, task);
      },
    };
  }

  readonly #heard = (effect: Effect): void => {
    this.#effects.push(effect);
  };

  /** The core, as everybody is to see it from here on. */
  attach(core: Scheduler): Scheduler {
    core.books.tasks.onRecycled = (tasks) => this.#done(["recycled", tasks]);
    const replaced = new Map<PropertyKey, unknown>();
    for (const [name, encode] of Object.entries(ENCODERS)) {
      const method: unknown = Reflect.get(core, name);
      if (typeof method !== "function") continue;
      replaced.set(name, (...given: readonly never[]) => {
        const encoded: readonly Plain[] = Reflect.apply(encode, null, given);
        const now = name === "schedule" ? [core.now_ns, ...given] : [];
        return this.#call(
          () => Reflect.apply(method, core, given) as unknown,
          (answer) => [name, ...encoded, ...now, ...idOf(answer)],
        );
      });
    }
    replaced.set("graph", (options: Parameters<Scheduler["graph"]>[0]) =>
      this.#builder(core.graph(options), options.client, [options.generation, options.user_priority]),
    );
    return new Proxy(core, {
      get: (target, name) => replaced.get(name) ?? (Reflect.get(target, name, target) as unknown),
      set: (target, name, value) => Reflect.set(target, name, value, target),
    });
  }

  /** A call that throws is written too: what broke the core must not be missing. */
  #call<T>(call: () => T, stimulus: (answer: T | undefined) => Stimulus): T {
    this.#depth++;
    let answer: T | undefined;
    try {
      answer = call();
      return answer;
    } catch (error) {
      this.#effects.push(["threw", error instanceof Error ? error.name : "?"]);
      throw error;
    } finally {
      this.#depth--;
      this.#done(stimulus(answer));
    }
  }

  #done(stimulus: Stimulus): void {
    if (this.#depth > 0) {
      this.#nested.push(stimulus);
      return;
    }
    const [effects, nested] = [this.#effects, this.#nested];
    this.#effects = [];
    this.#nested = [];
    this.#write(stimulus, effects);
    for (const one of nested) this.#write(one, []);
  }

  /** All of its calls, until it is over, are one stimulus: nothing else happens in between. */
  #builder(
    builder: GraphBuilder,
    client: ClientId,
    [generation, user_priority]: readonly [number, number],
  ): GraphBuilder {
    const steps: GraphStep[] = [["priority", generation, user_priority]];
    let before = `${generation} ${user_priority}`;
    const noted = (): void => {
      const present = `${builder.generation} ${builder.user_priority}`;
      if (present !== before) steps.push(["priority", builder.generation, builder.user_priority]);
      before = present;
    };
    const replaced: Pick<GraphBuilder, "intern" | "internKey" | "define" | "annotate" | "commit" | "abort"> =
      {
        intern: (view, start, end) => {
          const task = builder.intern(view, start, end);
          const key = new Uint8Array(view.buffer, view.byteOffset + start, end - start);
          steps.push(["intern", keyToText(key), task]);
          return task;
        },
        internKey: (key) => {
          const task = builder.internKey(key);
          steps.push(["intern", keyToText(key), task]);
          return task;
        },
        define: (task, payload, dependencies, start, count, order) => {
          noted();
          const pending = payload === null || payload.kind === PAYLOAD_PENDING;
          const ids = Array.from({ length: count }, (_, i) => dependencies[start + i]!);
          steps.push(["define", task, pending, order, ids]);
          return builder.define(task, payload, dependencies, start, count, order);
        },
        annotate: (task, annotations) => {
          const { user_priority, retries, actor, restrictions } = annotations;
          const numbers = [user_priority ?? null, retries ?? null] as const;
          steps.push(["annotate", task, ...numbers, actor === true, plain(restrictions ?? null)]);
          builder.annotate(task, annotations);
        },
        commit: (wanted) => {
          const given = [...wanted];
          return this.#call(
            () => builder.commit(wanted),
            () => ["graph", client, steps, given],
          );
        },
        abort: () =>
          this.#call(
            () => builder.abort(),
            () => ["graph", client, steps, null],
          ),
      };
    return new Proxy(builder, {
      get: (target, name) => Reflect.get(name in replaced ? replaced : target, name) as unknown,
      set: (target, name, value) => Reflect.set(target, name, value, target),
    });
  }
}

/** A number that the core gave out. */
function idOf(answer: unknown): readonly Plain[] {
  if (typeof answer === "number") return Number.isFinite(answer) ? [answer] : [null];
  if (typeof answer === "object" && answer !== null && "id" in answer) return [Number(answer.id)];
  return [];
}

function plain(restrictions: Restrictions | null): PlainRestrictions | null {
  if (restrictions === null) return null;
  const { workers, loose, resources } = restrictions;
  return [workers === null ? null : [...workers], loose, resources === null ? null : [...resources]];
}

/** Bytes as the characters of these numbers. */
function keyToText(key: Uint8Array): string {
  let text = "";
  for (const byte of key) text += String.fromCharCode(byte);
  return text;
}

/** What {@link keyToText} made of a key. */
export function keyOfText(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function restrictionsOf(given: Plain | undefined): Restrictions | null {
  if (given === null || given === undefined) return null;
  const [workers, loose, resources] = given as PlainRestrictions;
  return {
    workers: workers === null ? null : new Set(workers),
    loose,
    resources: resources === null ? null : new Map(resources),
  };
}
