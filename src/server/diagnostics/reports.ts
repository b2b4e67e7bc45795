import type { TaskId } from "../../base/ids.ts";
import { NONE } from "../../base/ids.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { PROCESSING } from "../../core/states.ts";
import type { WorkerBook } from "../../core/worker-book.ts";
import { type KeyBytes, keyBytes } from "../../protocol/keys.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { WorkerPeer } from "../peers/cluster.ts";

/** A worker's `task-finished` or `task-erred` that takes effect. */
export interface TaskReport {
  readonly task: TaskId;
  readonly key: KeyBytes;
  readonly worker: WorkerPeer;
  readonly finish: "memory" | "erred";
  /** The message, decoded: shared by all who follow, not to be changed. */
  readonly fields: WireMap;
}

export type ReportFollower = (report: TaskReport) => void;

/** A worker's `add-keys`: it got these results from other workers. Tasks that are not known are left out. */
export interface AddedKeys {
  readonly worker: WorkerPeer;
  readonly tasks: readonly TaskId[];
}

/**
 * Lets others see what workers report of their tasks, decoded in full. Without followers the stream's reader does not
 * come here: a decoded message costs as much as all the rest of a task.
 */
export class Reports {
  readonly #scheduler: Scheduler;
  readonly #followers = new Set<ReportFollower>();
  readonly #added_followers = new Set<(added: AddedKeys) => void>();

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  get wanted(): boolean {
    return this.#followers.size > 0 || this.#added_followers.size > 0;
  }

  follow(follower: ReportFollower): void {
    this.#followers.add(follower);
  }

  unfollow(follower: ReportFollower): void {
    this.#followers.delete(follower);
  }

  followAdded(follower: (added: AddedKeys) => void): void {
    this.#added_followers.add(follower);
  }

  unfollowAdded(follower: (added: AddedKeys) => void): void {
    this.#added_followers.delete(follower);
  }

  /** A worker's packet, before it takes effect. */
  read(messages: WireValue, worker: WorkerPeer, book: WorkerBook): void {
    if (!Array.isArray(messages)) return;
    for (const fields of messages) {
      if (!(fields instanceof WireMap)) continue;
      const op = fields.get("op");
      if (op === "task-finished") this.#report(fields, worker, book, "memory");
      else if (op === "task-erred") this.#report(fields, worker, book, "erred");
      else if (op === "add-keys" && this.#added_followers.size > 0) this.#added(fields, worker);
    }
  }

  #added(fields: WireMap, worker: WorkerPeer): void {
    const keys = fields.get("keys");
    if (!Array.isArray(keys)) return;
    const { books } = this.#scheduler;
    const tasks = keys.map((key) => books.keys.findKey(keyBytes(key))).filter((task) => task !== NONE);
    for (const follower of this.#added_followers) follower({ worker, tasks });
  }

  /** Stale reports are nobody's concern, nor are failures that are tried again. */
  #report(fields: WireMap, worker: WorkerPeer, book: WorkerBook, finish: "memory" | "erred"): void {
    const { tasks, keys } = this.#scheduler.books;
    const key = keyBytes(fields.get("key") ?? null);
    const task = keys.findKey(key);
    if (task === NONE || tasks.state[task] !== PROCESSING || tasks.processing_on[task] !== book.id) return;
    const run_id = toNumber(fields.get("run_id")) ?? 0;
    if (run_id !== 0 && run_id !== tasks.run_id[task]) return;
    if (finish === "erred" && tasks.retries[task]! > 0) return;
    for (const follower of this.#followers) follower({ task, key, worker, finish, fields });
  }
}
