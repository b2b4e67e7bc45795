import type { TaskId } from "../../base/ids.ts";
import { viewOf } from "../../base/typed-arrays.ts";
import type { Books } from "../../core/books.ts";
import { STATE_NAMES } from "../../core/states.ts";
import { type KeyBytes, keyBytes } from "../../protocol/keys.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Handler } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue, keyList } from "../rpc/wire-shapes.ts";

/** Transitions kept, as many as `distributed.admin.low-level-log-length` has by default. */
const ENTRIES = 1_024;

/**
 * The last changes of tasks' states (`Client.story`). Every task passes here, so an entry is five numbers in columns
 * that stay in the processor's cache; the key is known by its hash, since tasks are forgotten.
 */
export class Story {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["get_story", (request) => this.#story(request)],
  ];
  readonly #books: Books;
  readonly #turn: () => number;
  readonly #now_s: () => number;
  readonly #hash = new Int32Array(ENTRIES);
  readonly #task = new Int32Array(ENTRIES);
  readonly #from = new Uint8Array(ENTRIES);
  readonly #to = new Uint8Array(ENTRIES);
  readonly #at_s = new Float64Array(ENTRIES);
  readonly #turns = new Float64Array(ENTRIES);
  #count = 0;
  #last_turn = -1;
  #last_s = 0;

  /** `turn`: the number of the batch at hand. `now_s`: seconds since the epoch, asked once a batch. */
  constructor(books: Books, turn: () => number, now_s: () => number) {
    this.#books = books;
    this.#turn = turn;
    this.#now_s = now_s;
  }

  start(): void {
    this.#books.follow((task, from, to) => this.#add(task, from, to));
  }

  #add(task: TaskId, from: number, to: number): void {
    const at = this.#count++ % ENTRIES;
    const turn = this.#turn();
    if (turn !== this.#last_turn) {
      this.#last_turn = turn;
      this.#last_s = this.#now_s();
    }
    this.#hash[at] = this.#books.keys.hashOf(task);
    this.#task[at] = task;
    this.#from[at] = from;
    this.#to[at] = to;
    this.#at_s[at] = this.#last_s;
    this.#turns[at] = turn;
  }

  /** The whole log, oldest first; tasks that are forgotten have no name any more, and are left out. */
  log(): WireValue[] {
    const { keys } = this.#books;
    const entries: WireValue[] = [];
    for (const at of this.#places()) {
      const task = this.#task[at]!;
      const key = this.#isStillThere(task, at) ? keys.bytes(task) : null;
      if (key !== null) entries.push(this.#entry(at, key));
    }
    return entries;
  }

  /** `get_story {keys_or_stimuli}`: [key, from, to, recommendations, stimulus_id, time] of each change. */
  #story(request: Request): WireValue {
    const wanted = new Map<number, KeyBytes>();
    const stimuli = new Set<string>();
    for (const value of request.list("keys_or_stimuli")) {
      const key = keyBytes(value);
      wanted.set(this.#books.keys.hash(viewOf(key), 0, key.length), key);
      if (typeof value === "string") stimuli.add(value);
    }
    const entries: WireValue[] = [];
    for (const at of this.#places()) {
      const key = wanted.get(this.#hash[at]!);
      if (key !== undefined) entries.push(this.#entry(at, key));
      else if (stimuli.has(stimulusOf(this.#turns[at]!)) && this.#isStillThere(this.#task[at]!, at))
        entries.push(this.#entry(at, this.#books.keys.bytes(this.#task[at]!)));
    }
    return entries;
  }

  *#places(): Generator<number> {
    for (let i = Math.max(0, this.#count - ENTRIES); i < this.#count; i++) yield i % ENTRIES;
  }

  #isStillThere(task: TaskId, at: number): boolean {
    const { tasks, keys } = this.#books;
    return STATE_NAMES[tasks.state[task]!] !== "forgotten" && keys.hashOf(task) === this.#hash[at];
  }

  /** What followed from a change is not known here: each change is an entry of its own. */
  #entry(at: number, key: KeyBytes): WireValue {
    const from = STATE_NAMES[this.#from[at]!]!;
    const to = STATE_NAMES[this.#to[at]!]!;
    const stimulus_id = stimulusOf(this.#turns[at]!);
    return [keyList([key])[0]!, from, to, new WireMap(), stimulus_id, floatValue(this.#at_s[at]!)];
  }
}

/** The label that messages of the same batch carry. */
function stimulusOf(turn: number): string {
  return `rsds-${turn}`;
}
