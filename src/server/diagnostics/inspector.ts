import { type ClientId, NONE, type TaskId } from "../../base/ids.ts";
import { keySplit } from "../../base/key-split.ts";
import type { Books } from "../../core/books.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { FORGOTTEN, STATE_NAMES, type TaskStateName, WAITING } from "../../core/states.ts";
import { type KeyBytes, keyValue } from "../../protocol/keys.ts";
import type { WireValue } from "../../protocol/values.ts";

/** Reads the core's books for people and tools that ask: walks tables, keeps nothing, changes nothing. */
export class Inspector {
  readonly scheduler: Scheduler;

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  get books(): Books {
    return this.scheduler.books;
  }

  /** NONE: no such task. */
  find(key: KeyBytes): TaskId {
    return this.books.keys.findKey(key);
  }

  *tasks(): Generator<TaskId> {
    const { tasks } = this.books;
    for (let task = 0; task < tasks.top; task++) if (tasks.state[task] !== FORGOTTEN) yield task;
  }

  key(task: TaskId): KeyBytes {
    return this.books.keys.bytes(task);
  }

  state(task: TaskId): TaskStateName {
    return STATE_NAMES[this.books.tasks.state[task]!]!;
  }

  dependencies(task: TaskId): TaskId[] {
    const { edges } = this.books;
    const first = edges.first[task]!;
    return Array.from(edges.dependency.subarray(first, first + edges.count[task]!));
  }

  dependents(task: TaskId): TaskId[] {
    const { edges } = this.books;
    const found: TaskId[] = [];
    for (let e = edges.dependents[task]!; e !== NONE; e = edges.next[e]!) found.push(edges.dependent[e]!);
    return found;
  }

  /** Dependents that still need the task's result. */
  waiters(task: TaskId): TaskId[] {
    const active: readonly TaskStateName[] = ["waiting", "no-worker", "queued", "processing"];
    return this.dependents(task).filter((dependent) => active.includes(this.state(dependent)));
  }

  /** Dependencies whose result a waiting task lacks. */
  waitingOn(task: TaskId): TaskId[] {
    if (this.books.tasks.state[task] !== WAITING) return [];
    return this.dependencies(task).filter((dependency) => this.state(dependency) !== "memory");
  }

  /** Addresses of the workers that hold the result. */
  holders(task: TaskId): string[] {
    const { replicas } = this.books;
    const addresses: string[] = [];
    for (let r = replicas.first_of_task[task]!; r !== NONE; r = replicas.next_of_task[r]!)
      addresses.push(this.books.worker(replicas.owner[r]!).address);
    return addresses;
  }

  /** The worker that an actor lives on, which computed it; others hold what refers to it. Null: no actor, or lost. */
  actorHome(task: TaskId): string | null {
    const home = this.books.isActor(task) ? this.books.actorHome(task) : NONE;
    return home === NONE ? null : this.books.worker(home).address;
  }

  /** Names of the clients that want the result. */
  wantedBy(task: TaskId): string[] {
    const { wants, clients } = this.books;
    const names: string[] = [];
    for (let r = wants.first_of_task[task]!; r !== NONE; r = wants.next_of_task[r]!)
      names.push(clients[wants.owner[r]!] ?? "");
    return names;
  }

  /** What a client wants; none for a name that no client has. */
  wants(client: ClientId): TaskId[] {
    const { wants } = this.books;
    const found: TaskId[] = [];
    for (let r = wants.first_of_owner[client]!; r !== NONE; r = wants.next_of_owner[r]!)
      found.push(wants.task[r]!);
    return found;
  }

  /** The address of the worker that has the task to compute, or null. */
  processingOn(task: TaskId): string | null {
    const worker = this.books.tasks.processing_on[task]!;
    return worker === NONE ? null : this.books.worker(worker).address;
  }

  /** `key_split` of the key. */
  prefix(task: TaskId): string {
    return prefixOf(keyValue(this.key(task)));
  }

  /** `key_split_group`: the first part of a tuple key, or the name without its trailing hash. */
  group(task: TaskId): string {
    const value = keyValue(this.key(task));
    if (Array.isArray(value)) return textOf(value[0] ?? "");
    const text = textOf(value);
    if (text.startsWith("(")) return text.split(",", 1)[0]!.replace(/^[()'"]+|[()'"]+$/g, "");
    return keySplit(text);
  }
}

/** The name under which Dask counts the tasks of such keys together. */
function prefixOf(key: WireValue): string {
  let value = key;
  while (Array.isArray(value)) value = value[0] ?? "";
  return keySplit(textOf(value));
}

function textOf(value: WireValue): string {
  return value instanceof Uint8Array ? Buffer.from(value).toString() : String(value);
}
