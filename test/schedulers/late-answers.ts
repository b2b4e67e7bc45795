import { Prng } from "../../src/base/prng.ts";
import type { Batch, News } from "../../src/schedulers/external/messages.ts";
import { ExternalPolicy } from "../../src/schedulers/external/policy.ts";

/** Batches that may wait for their answers. */
const LATE_MAX = 3;

/**
 * The other side of an external policy, in the same process and of bad manners: it answers some batches late, assigns tasks
 * that are not ready, done or gone, moves them without need, to workers that have left. What is not placed is assigned in each
 * answer, and nothing happens any more until {@link catchUp} if the last ones are late.
 */
export class LateAnswers {
  readonly policy: ExternalPolicy;
  readonly #prng: Prng;
  readonly #batches: Batch[] = [];
  readonly #workers: number[] = [];
  readonly #waiting = new Set<number>();
  readonly #others: number[] = [];
  #fails_after: number | null;

  /** `fails_after`: it is gone after so many batches. */
  constructor(seed: number, fails_after: number | null) {
    this.#prng = new Prng(seed);
    this.#fails_after = fails_after;
    this.policy = new ExternalPolicy({ seed, send: (batch) => this.#take(batch) });
  }

  #take(batch: Batch): void {
    if (this.#fails_after !== null && --this.#fails_after === 0) {
      this.policy.fail("the test ends it");
      return;
    }
    for (const news of batch.news) this.#note(news);
    this.#batches.push(batch);
    const keep = this.#prng.below(LATE_MAX);
    // What is decided here may be heard of in any later turn, if there is one.
    while (this.#batches.length > keep) this.#answer(this.#batches.shift()!);
  }

  /** Answers all that it has been asked; false if there was nothing. */
  catchUp(): boolean {
    if (this.policy.failure !== null || this.#batches.length === 0) return false;
    for (const batch of this.#batches.splice(0)) this.#answer(batch);
    return true;
  }

  #note(news: News): void {
    if (news.op === "new-worker") this.#workers.push(news.worker);
    else if (news.op === "new-task" || news.op === "task-waiting") this.#waiting.add(news.task);
    else if (news.op === "task-finished" || news.op === "task-removed") {
      this.#waiting.delete(news.task);
      this.#others.push(news.task);
    }
  }

  #answer({ batch }: Batch): void {
    const tasks = [...this.#waiting, ...this.#others.filter(() => this.#prng.below(20) === 0)];
    const assignments = this.#workers.length === 0 ? [] : tasks.map((task) => [task, this.#worker()]);
    this.policy.answer({ batch, assignments });
  }

  /** Mostly one of the latest, which may be there still. */
  #worker(): number {
    const from = this.#prng.below(3) === 0 ? 0 : Math.max(0, this.#workers.length - 3);
    return this.#workers[from + this.#prng.below(this.#workers.length - from)]!;
  }
}
