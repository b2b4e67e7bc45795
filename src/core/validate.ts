import { InvariantError } from "../base/assert.ts";
import { NONE, type TaskId } from "../base/ids.ts";
import type { Books } from "./books.ts";
import { PAYLOAD_PENDING } from "./payloads.ts";
import type { Scheduler } from "./scheduler.ts";
import {
  ERRED,
  FORGOTTEN,
  MEMORY,
  NO_WORKER,
  PROCESSING,
  QUEUED,
  RELEASED,
  STATE_NAMES,
  WAITING,
} from "./states.ts";
import {
  FLAG_ACTOR,
  FLAG_LONG_RUNNING,
  FLAG_PINNED,
  FLAG_READY,
  FLAG_RESTRICTED,
  FLAG_RUNNABLE,
  FLAG_UNNEEDED,
} from "./task-table.ts";
import { validateOwners } from "./validate-owners.ts";

/**
 * Recomputes all that the books keep twice and throws {@link InvariantError}, with the task's story, for the first
 * breach. It walks everything: for tests, simulations, and a server that has to decide whether it can go on.
 * To be called between events; a task may wait for nothing only while its payload is pending or until
 * {@link Scheduler.schedule} has run.
 */
export function validate(scheduler: Scheduler): void {
  const { books, moves } = scheduler;
  const structure =
    books.tasks.breach() ?? books.edges.breach() ?? books.replicas.breach() ?? books.wants.breach();
  if (structure !== null) throw new InvariantError(structure);
  const needs = books.needs.breach();
  if (needs !== null) throw new InvariantError(`needs: ${needs}`);
  if (moves.unsettled !== 0 && !moves.exhausted)
    throw new InvariantError(`${moves.unsettled} tasks are not settled`);

  const ready = new Set(moves.ready.tasks());
  const { tasks } = books;
  let unneeded = 0;
  let queued = 0;
  let unrunnable = 0;
  let erred = 0;
  for (let task = 0; task < tasks.top; task++) {
    const state = tasks.state[task]!;
    if (state === FORGOTTEN) {
      validateForgotten(books, task);
      continue;
    }
    validateNeighbours(books, task);
    validateState(books, task, ready);
    if (tasks.flags[task]! & FLAG_UNNEEDED) unneeded++;
    if (state === QUEUED) queued++;
    if (state === NO_WORKER) unrunnable++;
    if (state === ERRED) erred++;
  }
  if (unneeded !== moves.unsettled)
    throw new InvariantError(`${unneeded} tasks are flagged as unneeded, ${moves.unsettled} are not settled`);
  if (books.keys.size !== tasks.live)
    throw new InvariantError(`${books.keys.size} keys of ${tasks.live} tasks`);
  if (books.unrunnable.size !== unrunnable)
    throw new InvariantError("unrunnable holds others than no-worker");
  if (books.errors.size !== erred) throw new InvariantError("errors are kept of tasks that are not erred");
  validateQueue(books, moves.queue, queued);
  validateSegments(books);
  validateOwners(books);
}

/** All that the books know of one task, as text: for the message of a broken invariant. */
export function story(books: Books, task: TaskId): string {
  const { tasks, edges, replicas, wants } = books;
  const name = (id: TaskId): string => `${id} ${STATE_NAMES[tasks.state[id]!]}`;
  const dependencies: string[] = [];
  for (let e = edges.first[task]!, end = e + edges.count[task]!; e < end; e++)
    dependencies.push(name(edges.dependency[e]!));
  const dependents: string[] = [];
  for (let e = edges.dependents[task]!; e !== NONE; e = edges.next[e]!)
    dependents.push(name(edges.dependent[e]!));
  const facts = [
    `task ${name(task)}`,
    `flags ${tasks.flags[task]!.toString(2)}`,
    `waiting_on ${tasks.waiting_on[task]}`,
    `waiters ${tasks.waiters[task]}`,
    `processing_on ${tasks.processing_on[task]}`,
    `run_id ${tasks.run_id[task]}`,
    `dependencies [${dependencies.join(", ")}]`,
    `dependents [${dependents.join(", ")}]`,
    `held by ${replicas.countOfTask(task)}`,
    `wanted by ${wants.countOfTask(task)}`,
  ];
  return facts.join("; ");
}

function breach(books: Books, task: TaskId, rule: string): never {
  throw new InvariantError(`${rule}: ${story(books, task)}`);
}

/** True for the states in which a task holds on to its dependencies. */
function waitsOrRuns(state: number): boolean {
  return state === WAITING || state === QUEUED || state === PROCESSING || state === NO_WORKER;
}

/** S1: nothing is kept of a task that is gone. */
function validateForgotten(books: Books, task: TaskId): void {
  if (books.edges.count[task] !== 0) breach(books, task, "forgotten with dependencies");
  if (books.edges.dependents[task] !== NONE) breach(books, task, "forgotten with dependents");
  for (const relation of [books.replicas, books.wants, books.needs])
    if (relation.first_of_task[task] !== NONE) breach(books, task, "forgotten and in a relation");
  const kept = [books.restrictions, books.annotations, books.errors, books.steals, books.lost_runs];
  if (kept.some((table) => table.has(task))) breach(books, task, "forgotten and in a side table");
  if (books.tasks.payload_segment[task] !== NONE) breach(books, task, "forgotten with a payload");
}

/** S4–S7, S9, S11: links lead to live tasks, and the counters are what the links say. */
function validateNeighbours(books: Books, task: TaskId): void {
  validateDependencies(books, task);
  validateDependents(books, task);
}

function validateDependencies(books: Books, task: TaskId): void {
  const { tasks, edges } = books;
  const state = tasks.state[task]!;
  let missing = 0;
  for (let e = edges.first[task]!, end = e + edges.count[task]!; e < end; e++) {
    const dependency = edges.dependency[e]!;
    const of_dependency = tasks.state[dependency]!;
    if (of_dependency === FORGOTTEN) breach(books, task, "a dependency is forgotten");
    if (of_dependency === MEMORY) continue;
    missing++;
    if (waitsOrRuns(state) && !waitsOrRuns(of_dependency))
      breach(books, task, "waits for a task that nobody computes");
  }
  if (state === WAITING ? tasks.waiting_on[task] !== missing : tasks.waiting_on[task] !== 0)
    breach(books, task, `waiting_on should be ${state === WAITING ? missing : 0}`);
  if (missing > 0 && (state === QUEUED || state === PROCESSING || state === NO_WORKER))
    breach(books, task, "is past waiting without its dependencies");
}

function validateDependents(books: Books, task: TaskId): void {
  const { tasks, edges } = books;
  let waiters = 0;
  for (let e = edges.dependents[task]!; e !== NONE; e = edges.next[e]!) {
    const of_dependent = tasks.state[edges.dependent[e]!]!;
    if (of_dependent === FORGOTTEN) breach(books, task, "a dependent is forgotten");
    if (waitsOrRuns(of_dependent)) waiters++;
  }
  if (tasks.waiters[task] !== waiters) breach(books, task, `waiters should be ${waiters}`);
}

/** S2, S3, S8–S14, and that the key table knows the task by its bytes. */
function validateState(books: Books, task: TaskId, ready: ReadonlySet<number>): void {
  const { tasks, replicas, keys } = books;
  const state = tasks.state[task]!;
  const flags = tasks.flags[task]!;
  const key = keys.bytes(task);
  if (keys.findKey(key) !== task) breach(books, task, "its key leads elsewhere");
  if ((tasks.processing_on[task] !== NONE) !== (state === PROCESSING)) breach(books, task, "S2");
  if ((replicas.first_of_task[task] !== NONE) !== (state === MEMORY)) breach(books, task, "S3");
  if (waitsOrRuns(state) && (flags & FLAG_RUNNABLE) === 0) breach(books, task, "has nothing to run");
  if (state !== PROCESSING && flags & (FLAG_PINNED | FLAG_LONG_RUNNING))
    breach(books, task, "is pinned or long-running without a worker");
  if (books.steals.has(task) && state !== PROCESSING) breach(books, task, "is being stolen from nobody");
  if (((flags & FLAG_RESTRICTED) !== 0) !== books.restrictions.has(task)) breach(books, task, "restrictions");
  if (books.isActor(task) !== books.actors.has(task)) breach(books, task, "actors");
  if (flags & FLAG_READY && !ready.has(task)) breach(books, task, "is flagged ready, and is not");
  if (state === WAITING) validateWaiting(books, task);
  if (state === QUEUED && flags & (FLAG_RESTRICTED | FLAG_ACTOR)) breach(books, task, "S10");
  if (state === NO_WORKER && !books.unrunnable.has(task)) breach(books, task, "S13");
  if (state === ERRED) validateErred(books, task);
  validateNeed(books, task);
}

function validateWaiting(books: Books, task: TaskId): void {
  const { tasks } = books;
  const waits = tasks.waiting_on[task]! > 0 || tasks.payload_kind[task] === PAYLOAD_PENDING;
  if (!waits && (tasks.flags[task]! & FLAG_READY) === 0) breach(books, task, "S9: waits for nothing");
}

/** S14, and that the task to blame can still be asked for. */
function validateErred(books: Books, task: TaskId): void {
  const error = books.errors.get(task);
  if (error === undefined) breach(books, task, "S14: erred without an error");
  if (books.tasks.state[error.blame] === FORGOTTEN) breach(books, task, "blames a forgotten task");
}

/** S8, S12: what nothing needs is not kept, and what something needs is not released. */
function validateNeed(books: Books, task: TaskId): void {
  const { tasks, edges } = books;
  const state = tasks.state[task]!;
  const needed = books.isWanted(task) || tasks.waiters[task]! > 0;
  if (state === RELEASED && needed) breach(books, task, "S8: released though something needs it");
  // It will be looked at.
  if (tasks.flags[task]! & FLAG_UNNEEDED) return;
  if (state === RELEASED) {
    if (edges.dependents[task] === NONE) breach(books, task, "should be forgotten");
  } else if (state === ERRED) {
    if (tasks.waiters[task]! > 0) breach(books, task, "erred with waiters");
    if (!needed && edges.dependents[task] === NONE) breach(books, task, "should be forgotten");
  } else if (!needed) breach(books, task, "S12: nothing needs it");
}

function validateQueue(books: Books, withheld: Iterable<TaskId>, queued: number): void {
  const queue = [...withheld];
  if (queue.length !== queued)
    throw new InvariantError(`${queued} tasks queued, ${queue.length} in the queue`);
  for (let i = 0; i < queue.length; i++) {
    const task = queue[i]!;
    if (books.tasks.state[task] !== QUEUED) breach(books, task, "S10: in the queue, not queued");
    if (i > 0 && books.compare(queue[i - 1]!, task) >= 0) breach(books, task, "the queue is not in order");
  }
}

/** Buffers live as long as some payload lies in them: each such payload is one user (a reader may be one more). */
function validateSegments(books: Books): void {
  const { tasks } = books;
  const users = new Map<number, number>();
  for (let task = 0; task < tasks.top; task++) {
    const segment = tasks.payload_segment[task]!;
    if (tasks.state[task] !== FORGOTTEN && segment !== NONE)
      users.set(segment, (users.get(segment) ?? 0) + 1);
  }
  for (const [segment, count] of users)
    if (tasks.segments.users(segment) < count)
      throw new InvariantError(`segment ${segment} has ${count} payloads`);
  for (const task of tasks.more_frames.keys())
    if (tasks.state[task] === FORGOTTEN) breach(books, task, "forgotten with frames");
}
