import type { TaskId } from "../../base/ids.ts";
import type { Machine, Timer } from "../../base/machine.ts";
import type { TaskError } from "../../core/books.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { QUEUED } from "../../core/states.ts";
import { keyText, keyValue } from "../../protocol/keys.ts";
import { WireMap } from "../../protocol/values.ts";
import type { TurnLoop } from "../loop.ts";
import type { Log } from "../peers/log.ts";
import type { EventBroker } from "../rpc/event-broker.ts";
import { noValidWorkerError, noWorkerError } from "../rpc/python-pickle.ts";
import { keyList } from "../rpc/wire-shapes.ts";

/** Dask looks as often. */
const CHECK_MS = 250;

export interface UnrunnableParts {
  readonly scheduler: Scheduler;
  readonly loop: TurnLoop;
  readonly events: EventBroker;
  readonly log: Log;
  readonly machine: Machine;
  readonly timeout_ms: number;
}

/** Errs tasks that no worker could take for too long (`distributed.scheduler.no-workers-timeout`). */
export class UnrunnableTasks {
  readonly #parts: UnrunnableParts;
  /** Since when each waits, by {@link Machine.now_ms}. */
  #since = new Map<TaskId, number>();
  /** Since when no worker runs while tasks wait for one; null: one does, or none waits. */
  #no_workers_since: number | null = null;
  #timer: Timer | null = null;

  constructor(parts: UnrunnableParts) {
    this.#parts = parts;
  }

  start(): void {
    const { machine } = this.#parts;
    this.#timer = machine.every(CHECK_MS, () => this.check(machine.now_ms()));
    this.#timer.unref();
  }

  close(): void {
    this.#parts.machine.cancel(this.#timer);
  }

  check(now_ms: number): void {
    const { scheduler, timeout_ms } = this.#parts;
    const { books } = scheduler;
    const waiting = books.unrunnable.size > 0 || books.state_counts[QUEUED]! > 0;
    if (books.running.length > 0 || !waiting) this.#no_workers_since = null;
    else this.#no_workers_since ??= now_ms;
    const since = new Map<TaskId, number>();
    const late: TaskId[] = [];
    for (const task of books.unrunnable) {
      const first_ms = this.#since.get(task) ?? now_ms;
      since.set(task, first_ms);
      if (now_ms > first_ms + timeout_ms) late.push(task);
    }
    this.#since = since;
    const none_ms = this.#no_workers_since;
    if (none_ms !== null && now_ms > none_ms + timeout_ms) late.push(...scheduler.moves.queue);
    if (late.length > 0) this.#fail(late);
  }

  #fail(tasks: readonly TaskId[]): void {
    const { scheduler, loop, events, log } = this.#parts;
    const keys = tasks.map((task) => scheduler.books.keys.bytes(task));
    for (const task of tasks) {
      const error = this.#error(task);
      log.write("ERROR", error.exception_text);
      scheduler.taskFailed(task, error);
    }
    const event = WireMap.of({ action: "no-workers-timeout-exceeded", keys: keyList(keys) });
    events.publish(["scheduler"], event);
    loop.touch();
  }

  /** Workers there were, but none that its restrictions allow; or there was none at all. */
  #error(task: TaskId): TaskError {
    const { books } = this.#parts.scheduler;
    const bytes = books.keys.bytes(task);
    const key = keyValue(bytes);
    const timeout_s = this.#parts.timeout_ms / 1000;
    const restricted = books.restrictions.get(task);
    const first_ms = this.#since.get(task);
    const unsatisfied =
      first_ms !== undefined && (this.#no_workers_since === null || this.#no_workers_since >= first_ms);
    const what = unsatisfied ? "for its restrictions to become satisfied" : "without any running workers";
    return {
      blame: task,
      exception:
        unsatisfied && restricted !== undefined
          ? noValidWorkerError(key, restricted.workers, restricted.resources, timeout_s)
          : noWorkerError(key, timeout_s),
      traceback: null,
      exception_text: `Task ${keyText(bytes)} marked as failed because it timed out waiting ${what}.`,
      traceback_text: "",
      worker: "",
    };
  }
}
