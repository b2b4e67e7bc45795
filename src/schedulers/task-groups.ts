import type { TaskId, WorkerId } from "../base/ids.ts";
import { NONE } from "../base/ids.ts";
import { isTuple, keyNames, textEnd, textStart, tupleHeaderBytes } from "./key-names.ts";
import type { ClusterView } from "./policy.ts";

/** Prefixes of which nothing is left but what their tasks took: the oldest of more than these are forgotten. */
const PREFIXES_KEPT = 4096;
const HYPHEN = 0x2d;

/** What is known of tasks of one name (Dask's TaskPrefix): `sum` of `('sum-1a2b', 0)`. */
export interface TaskPrefix {
  readonly name: string;
  /** What its tasks take, seconds: half of it is the last one; below 0: none has been measured. */
  average_s: number;
  /** The longest that one is known to run without having ended, seconds; below 0: none. */
  running_s_max: number;
  /** Groups that there are. */
  groups: number;
  /** Its tasks that take a thread of a worker, or wait for one there. */
  assigned: number;
  /** Configured as so short that it is never worth moving. */
  readonly fast: boolean;
}

/** Tasks of one collection (Dask's TaskGroup): `sum-1a2b` of `('sum-1a2b', 0)`. */
export interface TaskGroup {
  readonly name: string;
  readonly prefix: TaskPrefix;
  /** All its tasks so far, until the last of them is forgotten. */
  size: number;
  live: number;
  /** Its tasks that wait for dependencies or for being placed. */
  waiting: number;
  /** Groups that its tasks depend on; no more than a few are kept: {@link TaskGroups.dependencies_max}. */
  readonly dependencies: Set<TaskGroup>;
  /** Where its next `tasks_left` tasks go, while root tasks are not withheld. */
  last_worker: WorkerId;
  tasks_left: number;
}

export interface DurationSettings {
  /** `distributed.scheduler.default-task-durations`: seconds by prefix. */
  readonly default_durations_s: ReadonlyMap<string, number>;
  /** `distributed.scheduler.unknown-task-duration`. */
  readonly unknown_duration_s: number;
}

/** Dask's default. */
const FAST_S_MAX = 0.001;

/**
 * Which group and prefix each task belongs to, and what tasks of a prefix take. A task is counted when it is first
 * asked for, until it is forgotten.
 */
export class TaskGroups {
  readonly #view: ClusterView;
  readonly #settings: DurationSettings;
  readonly #groups = new Map<string, TaskGroup>();
  readonly #prefixes = new Map<string, TaskPrefix>();
  readonly #of: (TaskGroup | undefined)[] = [];
  /** More dependencies than these are not told apart. */
  readonly dependencies_max: number;
  /** Told of a prefix whose estimate changes, before it does. */
  readonly #on_change: (prefix: TaskPrefix, before_s: number, after_s: number) => void;

  // The key that was named last: the next one mostly differs in what is behind its name.
  #key: Uint8Array = new Uint8Array(256);
  #last: TaskGroup | null = null;
  #last_name = new Uint8Array(256);
  #last_length = 0;
  #last_tuple = false;

  constructor(
    view: ClusterView,
    settings: DurationSettings,
    dependencies_max = 0,
    onChange: (prefix: TaskPrefix, before_s: number, after_s: number) => void = () => undefined,
  ) {
    this.#view = view;
    this.#settings = settings;
    this.dependencies_max = dependencies_max;
    this.#on_change = onChange;
  }

  /** Groups and prefixes that are kept: for tests of what memory they take. */
  get kept(): { readonly groups: number; readonly prefixes: number } {
    return { groups: this.#groups.size, prefixes: this.#prefixes.size };
  }

  of(task: TaskId): TaskGroup {
    const known = this.#of[task];
    if (known !== undefined) return known;
    const group = this.#find(task);
    group.size++;
    group.live++;
    while (this.#of.length < task) this.#of.push(undefined);
    this.#of[task] = group;
    return group;
  }

  /** The task waits: its group depends on those of its dependencies. */
  waiting(task: TaskId): void {
    const group = this.of(task);
    group.waiting++;
    const view = this.#view;
    const { dependencies } = group;
    if (dependencies.size > this.dependencies_max) return;
    for (let i = view.dependencyCount(task) - 1; i >= 0; i--) {
      dependencies.add(this.of(view.dependency(task, i)));
      if (dependencies.size > this.dependencies_max) return;
    }
  }

  waited(task: TaskId): void {
    this.of(task).waiting--;
  }

  forgotten(task: TaskId): void {
    const group = this.#of[task];
    if (group === undefined) return;
    this.#of[task] = undefined;
    if (--group.live > 0) return;
    this.#groups.delete(group.name);
    if (this.#last === group) this.#last = null;
    group.dependencies.clear();
    const { prefix } = group;
    if (--prefix.groups > 0) return;
    // The prefix is the youngest of those that are kept for what they took.
    this.#prefixes.delete(prefix.name);
    this.#prefixes.set(prefix.name, prefix);
    if (this.#prefixes.size > PREFIXES_KEPT) this.#dropOldest();
  }

  #dropOldest(): void {
    for (const prefix of this.#prefixes.values()) {
      if (prefix.groups > 0) continue;
      this.#prefixes.delete(prefix.name);
      return;
    }
  }

  // ---- what tasks take

  /** What a task of the prefix is expected to take, seconds. */
  duration_s(prefix: TaskPrefix): number {
    if (prefix.average_s >= 0) return prefix.average_s;
    return prefix.running_s_max > 0 ? 2 * prefix.running_s_max : this.#settings.unknown_duration_s;
  }

  measured(task: TaskId, duration_s: number): void {
    const { prefix } = this.of(task);
    const before_s = this.duration_s(prefix);
    prefix.average_s = prefix.average_s < 0 ? duration_s : (prefix.average_s + duration_s) / 2;
    if (before_s !== prefix.average_s) this.#on_change(prefix, before_s, prefix.average_s);
  }

  /** A task that runs for twice the average makes that void: its prefix is taken for slower than that. */
  running(task: TaskId, since_s: number): void {
    const { prefix } = this.of(task);
    const before_s = this.duration_s(prefix);
    prefix.running_s_max = Math.max(prefix.running_s_max, since_s);
    if (since_s > 2 * prefix.average_s) prefix.average_s = -1;
    const after_s = this.duration_s(prefix);
    if (before_s !== after_s) this.#on_change(prefix, before_s, after_s);
  }

  // ---- names

  #find(task: TaskId): TaskGroup {
    const length = this.#view.readKey(task, this.#key);
    if (length > this.#key.length) {
      this.#key = new Uint8Array(2 * length);
      this.#view.readKey(task, this.#key);
    }
    const key = this.#key;
    if (this.#last !== null && this.#isOfLast(key, length)) return this.#last;
    const names = keyNames(key.subarray(0, length));
    const group = this.#groups.get(names.group) ?? this.#add(names.group, names.prefix);
    this.#remember(group, key, length);
    return group;
  }

  #add(name: string, prefix_name: string): TaskGroup {
    let prefix = this.#prefixes.get(prefix_name);
    if (prefix === undefined) {
      const configured_s = this.#settings.default_durations_s.get(prefix_name);
      prefix = {
        name: prefix_name,
        average_s: configured_s ?? -1,
        running_s_max: -1,
        groups: 0,
        assigned: 0,
        fast: configured_s !== undefined && configured_s <= FAST_S_MAX,
      };
      this.#prefixes.set(prefix_name, prefix);
    }
    prefix.groups++;
    const group = {
      name,
      prefix,
      size: 0,
      live: 0,
      waiting: 0,
      dependencies: new Set<TaskGroup>(),
      last_worker: NONE,
      tasks_left: 0,
    };
    this.#groups.set(name, group);
    return group;
  }

  /** Keeps the bytes of the key that make the group: a tuple's first element, or the words of `inc-1a2b…` before the hash. */
  #remember(group: TaskGroup, key: Uint8Array, length: number): void {
    this.#last = null;
    const tuple = isTuple(key);
    const at = tuple ? tupleHeaderBytes(key) : 0;
    const start = textStart(key, at);
    if (start < 0) return;
    const end = tuple ? textEnd(key, at) : start + group.name.length;
    if (!tuple && (end >= length || key[end] !== HYPHEN || !isSpelled(group.name, key, start))) return;
    const from = tuple ? 0 : start;
    if (end - from > this.#last_name.length) return;
    this.#last = group;
    this.#last_tuple = tuple;
    this.#last_length = end - from;
    for (let i = from; i < end; i++) this.#last_name[i - from] = key[i]!;
  }

  #isOfLast(key: Uint8Array, length: number): boolean {
    const name = this.#last_name;
    const bytes = this.#last_length;
    const from = this.#last_tuple ? 0 : isTuple(key) ? -1 : textStart(key, 0);
    if (from < 0 || from + bytes > length) return false;
    for (let i = 0; i < bytes; i++) if (key[from + i] !== name[i]) return false;
    return this.#last_tuple || endsAt(key, from + bytes, length);
  }
}

/** Whether the key begins with just that name: others, such as `data` for a hash, are looked up each time. */
function isSpelled(name: string, key: Uint8Array, start: number): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code >= 0x80 || code !== key[start + i]) return false;
  }
  return true;
}

/** Whether `keySplit` stops at `at`: a hyphen, and behind it a word with something that is no letter. */
function endsAt(key: Uint8Array, at: number, length: number): boolean {
  if (key[at] !== HYPHEN) return false;
  for (let i = at + 1; i < length; i++) {
    const byte = key[i]!;
    if (byte === HYPHEN || byte >= 0x80) return false;
    if (!((byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a))) return true;
  }
  return false;
}
