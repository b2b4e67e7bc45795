import { InvariantError } from "../../src/base/assert.ts";
import { NONE } from "../../src/base/ids.ts";
import type { Books } from "../../src/core/books.ts";
import { ERRED, MEMORY, STATE_NAMES } from "../../src/core/states.ts";
import { story } from "../../src/core/validate.ts";
import { keyBytes, keyText } from "../../src/protocol/keys.ts";
import type { PlannedTask } from "../faults/plan.ts";
import { resultOf } from "../faults/values.ts";

/**
 * What must come of tasks, said from their plans alone (INVARIANTS F, C3): it knows no states and no messages, only
 * which tasks can fail, and which cannot.
 */
export class OutcomeModel {
  readonly #tasks: ReadonlyMap<string, PlannedTask>;
  readonly #allowed_failures: number;
  readonly #suspicions: ReadonlyMap<string, number>;
  readonly #lost: ReadonlySet<string>;
  readonly #results = new Map<string, number>();

  constructor(
    tasks: ReadonlyMap<string, PlannedTask>,
    allowed_failures: number,
    suspicions: ReadonlyMap<string, number>,
    lost: ReadonlySet<string>,
  ) {
    this.#tasks = tasks;
    this.#allowed_failures = allowed_failures;
    this.#suspicions = suspicions;
    this.#lost = lost;
  }

  /** The value of a key in memory. */
  result(key: string): number {
    let result = this.#results.get(key);
    if (result === undefined) {
      const inputs = [...(this.#tasks.get(key)?.inputs ?? [])].sort();
      result = resultOf(
        key,
        inputs.map((input) => this.result(input)),
      );
      this.#results.set(key, result);
    }
    return result;
  }

  /** Everything is at rest: each task that somebody wants has come to an end that it may come to, for the right cause. */
  checkWanted(books: Books): void {
    for (let task = 0; task < books.tasks.top; task++) {
      if (STATE_NAMES[books.tasks.state[task]!] === "forgotten" || !books.isWanted(task)) continue;
      const key = keyText(books.keys.bytes(task));
      const state = books.tasks.state[task]!;
      if (state === MEMORY) {
        if (this.#some(key, (task) => task.fate === "fails" || task.fate === "kills"))
          throw new InvariantError(`F: ${key} is in memory, and cannot have been computed`);
      } else if (state === ERRED) this.#checkBlame(key, books, task);
      else throw new InvariantError(`L1: ${key} never came to an end: ${story(books, task)}`);
    }
  }

  /** F4: a task errs for a failure of its own or of what it depends on. */
  #checkBlame(key: string, books: Books, task: number): void {
    const error = books.errors.get(task);
    const blamed = error === undefined ? "nobody" : keyText(books.keys.bytes(error.blame));
    if (!this.#some(key, ({ key: other }) => other === blamed))
      throw new InvariantError(`F4: ${key} is erred for ${blamed}, which it does not depend on`);
    if (!this.#canFail(blamed))
      throw new InvariantError(
        `F: ${key} is erred for ${blamed}, which cannot fail: ${error?.exception_text}`,
      );
  }

  #canFail(key: string): boolean {
    const { fate, actor = false } = this.#tasks.get(key) ?? {};
    // F2: an actor cannot be made again with its state.
    if (actor && this.#lost.has(key)) return true;
    return fate === "fails" || fate === "kills" || (this.#suspicions.get(key) ?? 0) > this.#allowed_failures;
  }

  /** Whether the task or anything that it depends on is such a one. */
  #some(key: string, test: (task: PlannedTask) => boolean): boolean {
    const stack = [key];
    const seen = new Set(stack);
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const task = this.#tasks.get(next);
      if (task === undefined) continue;
      if (test(task)) return true;
      for (const input of task.inputs)
        if (!seen.has(input)) {
          seen.add(input);
          stack.push(input);
        }
    }
    return false;
  }
}

/** The state of a key, in Dask's words. */
export function stateOf(key: string, books: Books): string {
  const bytes = keyBytes(key);
  const task = books.keys.findKey(bytes);
  return task === NONE ? "forgotten" : STATE_NAMES[books.tasks.state[task]!]!;
}
