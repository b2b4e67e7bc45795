import { type ClientId, NONE, type TaskId } from "../base/ids.ts";
import { IntStack, viewOf } from "../base/typed-arrays.ts";
import type { Books, Restrictions } from "./books.ts";
import { PAYLOAD_PENDING } from "./payloads.ts";
import { MEMORY, RELEASED } from "./states.ts";
import { FLAG_ACTOR, FLAG_RESTRICTED, FLAG_RUNNABLE } from "./task-table.ts";
import type { Transitions } from "./transitions.ts";

/** How a finished graph was taken. */
export interface GraphResult {
  /** Tasks that the scheduler did not know before. */
  readonly tasks: number;
  /** Keys that tasks depend on and that nobody can provide: then nothing of the graph was kept. */
  readonly lost: readonly TaskId[];
}

/**
 * Takes one graph in, task by task, while its message is walked: no graph object in between.
 * Until {@link commit} nothing of it runs; {@link abort} leaves no trace of it. One of the two has to follow within the
 * batch, with no other event in between: nothing wants the new tasks yet, so another event could forget them.
 */
export class GraphBuilder {
  readonly #books: Books;
  readonly #moves: Transitions;
  readonly #client: ClientId;
  /** Tasks that this graph brought (their names at least). */
  readonly #created: TaskId[] = [];
  /** Tasks that this graph gave a run_spec: new ones, and data that was known by name only. */
  readonly #defined = new IntStack(256);
  /** The same, as far as annotations asked for it. */
  readonly #defined_set = new Set<TaskId>();
  readonly #segment: number;
  /** Of the tasks defined from here on. */
  generation: number;
  user_priority: number;
  /** When the tasks became known, ns; NaN while nothing is traced. */
  stamp_ns = Number.NaN;

  constructor(
    books: Books,
    moves: Transitions,
    options: {
      readonly client: ClientId;
      /** The message or chunk that payload slices refer to, or null. */
      readonly buffer: Uint8Array | null;
      /** Told when the graph's last payload is gone, if nobody refers to the buffer in another way. */
      readonly onBufferUnused?: (() => void) | null;
      readonly generation: number;
      /** Already negated: lower runs first. */
      readonly user_priority: number;
    },
  ) {
    this.#books = books;
    this.#moves = moves;
    this.#client = options.client;
    const { buffer, onBufferUnused = null } = options;
    this.#segment = buffer === null ? NONE : books.tasks.segments.add(buffer, onBufferUnused);
    this.generation = options.generation;
    this.user_priority = options.user_priority;
  }

  /** The task with this key, made if there is none. */
  intern(view: DataView, start: number, end: number): TaskId {
    const live = this.#books.tasks.live;
    const task = this.#books.intern(view, start, end);
    if (this.#books.tasks.live !== live) this.#created.push(task);
    return task;
  }

  /** {@link intern} of a key that stands alone. */
  internKey(key: Uint8Array): TaskId {
    return this.intern(viewOf(key), 0, key.length);
  }

  /**
   * Gives a task its payload and dependencies (ids, each once). A task that has a run_spec already keeps it, as in
   * Dask: then this returns false.
   */
  define(
    task: TaskId,
    payload: {
      readonly kind: number;
      readonly offset: number;
      readonly header_bytes: number;
      /** −1: the payload has one frame only. */
      readonly body_bytes: number;
    } | null,
    dependencies: ArrayLike<number>,
    start: number,
    count: number,
    order: number,
  ): boolean {
    const { tasks, edges } = this.#books;
    if (tasks.flags[task]! & FLAG_RUNNABLE) return false;
    tasks.flags[task]! |= FLAG_RUNNABLE;
    this.#defined.push(task);
    if (payload === null) tasks.payload_kind[task] = PAYLOAD_PENDING;
    else
      tasks.setSlice(
        task,
        payload.kind,
        this.#segment,
        payload.offset,
        payload.header_bytes,
        payload.body_bytes,
      );
    // A key that was scattered before and now gets a run_spec has no edges yet either.
    edges.setDependencies(task, dependencies, start, count);
    tasks.user_priority[task] = this.user_priority;
    tasks.generation[task] = this.generation;
    tasks.order[task] = order;
    tasks.stamp_ns[task] = this.stamp_ns;
    return true;
  }

  /**
   * Priority, retries and restrictions that annotations give to one task. One that was known before this graph keeps its own,
   * as in Dask: it may be running under them, or stand in a queue by its priority.
   */
  annotate(
    task: TaskId,
    annotations: {
      readonly user_priority?: number;
      readonly retries?: number;
      readonly actor?: boolean;
      readonly restrictions?: Restrictions;
      /** What goes out in compute-task: opaque here. */
      readonly message?: unknown;
    },
  ): void {
    const { tasks } = this.#books;
    if (!this.#hasDefined(task)) return;
    if (annotations.user_priority !== undefined) tasks.user_priority[task] = annotations.user_priority;
    if (annotations.retries !== undefined) tasks.retries[task] = annotations.retries;
    if (annotations.actor === true) {
      tasks.flags[task]! |= FLAG_ACTOR;
      this.#books.actors.add(task);
    }
    if (annotations.restrictions !== undefined) {
      tasks.flags[task]! |= FLAG_RESTRICTED;
      this.#books.restrictions.set(task, annotations.restrictions);
    }
    if (annotations.message === undefined) return;
    this.#books.annotations.set(task, annotations.message);
    // Its byte strings are views.
    tasks.segments.lend(this.#segment);
  }

  #hasDefined(task: TaskId): boolean {
    const { items, length } = this.#defined;
    const known = this.#defined_set;
    for (let i = known.size; i < length; i++) known.add(items[i]!);
    return known.has(task);
  }

  /** Tasks that the graph only names: neither defined by it nor computable nor in memory. */
  #lostDependencies(): TaskId[] {
    const { tasks } = this.#books;
    return this.#created.filter(
      (task) => (tasks.flags[task]! & FLAG_RUNNABLE) === 0 && tasks.state[task] !== MEMORY,
    );
  }

  /**
   * The client wants these keys: what they need is activated, what they do not need is forgotten. If dependencies are
   * lost, it wants none of them, and the caller tells it so.
   */
  commit(wanted: readonly TaskId[]): GraphResult {
    const { tasks } = this.#books;
    this.#books.tasks.segments.release(this.#segment);
    const lost = this.#lostDependencies();
    const count = this.#created.length;
    if (lost.length > 0) {
      // As in Dask the caller cancels them for the client, older wants of the same keys included.
      for (const task of wanted) this.#moves.unwant(this.#client, task);
      this.#drop();
      return { tasks: 0, lost };
    }
    for (const task of wanted) this.#moves.want(this.#client, task);
    for (const task of wanted) if (tasks.state[task] === RELEASED) this.#moves.activate(task);
    for (const task of this.#created) if (tasks.state[task] === RELEASED) this.#moves.mayBeUnneeded(task);
    this.#moves.settle();
    return { tasks: count, lost };
  }

  /** The graph turned out to be broken: nothing of it stays. */
  abort(): void {
    const { segments } = this.#books.tasks;
    // The message may be read anew, in another way.
    segments.lend(this.#segment);
    segments.release(this.#segment);
    this.#drop();
  }

  #drop(): void {
    for (let i = 0; i < this.#defined.length; i++) this.#undefine(this.#defined.items[i]!);
    for (const task of this.#created) this.#moves.mayBeUnneeded(task);
    this.#moves.settle();
  }

  /** Takes back what {@link define} and {@link annotate} did: data that was there before must not keep the rest alive. */
  #undefine(task: TaskId): void {
    const { tasks, edges, restrictions, annotations } = this.#books;
    edges.dropDependencies(task);
    tasks.dropPayload(task);
    tasks.flags[task]! &= ~(FLAG_RUNNABLE | FLAG_ACTOR | FLAG_RESTRICTED);
    tasks.retries[task] = 0;
    this.#books.actors.delete(task);
    restrictions.delete(task);
    annotations.delete(task);
  }
}
