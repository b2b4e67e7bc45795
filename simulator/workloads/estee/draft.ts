import { Prng } from "../../../src/base/prng.ts";
import { inPriorityOrder } from "../priority-order.ts";
import type { Workload } from "../workload.ts";

/** What a task makes, to be taken by others. */
export interface Output {
  readonly task: number;
  /** Which of the task's outputs; −1: it has one only. */
  readonly part: number;
}

/** Draws below this are set to it, in seconds and in MiB (ESTEE's rule). */
const LEAST = 1e-7;
const MIB = 2 ** 20;

/**
 * A graph in the making, in ESTEE's terms: tasks of some seconds that take outputs of others and make outputs of some MiB.
 * Chance comes from the seed.
 *
 * Dask's tasks have one result. One that makes several outputs has a result of their sizes together, and each output that is
 * taken becomes a task `getitem` of its own that takes no time, as in the graphs that Dask makes of such code.
 */
export class GraphDraft {
  readonly #prng: Prng;
  readonly #names: string[] = [];
  readonly #seconds: number[] = [];
  readonly #mib: number[] = [];
  readonly #inputs: number[][] = [];
  /** By task: the sizes of its outputs, MiB. */
  readonly #sizes: (readonly number[])[] = [];
  /** The task of an output that was taken, by `task,part`. */
  readonly #items = new Map<string, number>();

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  get tasks(): number {
    return this.#names.length;
  }

  // ---- tasks

  /** A task with one output, or none (0 MiB). `name`: of its kind; what takes as long as another has the same. */
  task(name: string, seconds: number, inputs: readonly Output[] = [], mib = 0): Output {
    return this.tasksOf(name, seconds, inputs, [mib])[0]!;
  }

  /** A task with an output of each of these sizes. */
  tasksOf(name: string, seconds: number, inputs: readonly Output[], mib: readonly number[]): Output[] {
    const taken = [...new Set(inputs.map((input) => this.#taskOf(input)))];
    const task = this.#add(name, seconds, taken, mib);
    return mib.map((_, part) => ({ task, part: mib.length === 1 ? -1 : part }));
  }

  /** One more input of a task that is there already, where that makes no cycle. False: it would. */
  link(task: number, input: Output): boolean {
    if (task === input.task || this.#reaches(input.task, task)) return false;
    const taken = this.#taskOf(input);
    if (!this.#inputs[task]!.includes(taken)) this.#inputs[task]!.push(taken);
    return true;
  }

  /**
   * The tasks from `first` on once more, each a little longer and larger, by what these draw of a duration and of a size.
   * None of them may depend on one before.
   */
  duplicate(first: number, seconds: (of: number) => number, mib: (of: number) => number): void {
    const end = this.tasks;
    const moved = end - first;
    for (let task = first; task < end; task++) {
      const sizes = this.#sizes[task]!.map((size) => size + mib(size));
      this.#names.push(this.#names[task]!);
      this.#seconds.push(this.#seconds[task]! + seconds(this.#seconds[task]!));
      this.#mib.push(sum(sizes));
      this.#sizes.push(sizes);
      this.#inputs.push(this.#inputs[task]!.map((input) => input + moved));
    }
    for (const [place, task] of [...this.#items]) {
      const [from, part] = place.split(",");
      if (task >= first) this.#items.set(`${Number(from) + moved},${part}`, task + moved);
    }
  }

  /** The outputs of the tasks from `first` on that no other takes anything of. */
  leaves(first: number): Output[][] {
    const taken = new Set(this.#inputs.flat());
    const outputs: Output[][] = [];
    for (let task = first; task < this.tasks; task++)
      if (!taken.has(task)) outputs.push(this.outputsOf(task));
    return outputs;
  }

  outputsOf(task: number): Output[] {
    const count = this.#sizes[task]!.length;
    return this.#sizes[task]!.map((_, part) => ({ task, part: count === 1 ? -1 : part }));
  }

  #add(name: string, seconds: number, inputs: number[], sizes: readonly number[]): number {
    this.#names.push(name);
    this.#seconds.push(seconds);
    this.#inputs.push(inputs);
    this.#sizes.push(sizes);
    this.#mib.push(sum(sizes));
    return this.#names.length - 1;
  }

  /** The task whose result the output is. */
  #taskOf({ task, part }: Output): number {
    if (part < 0) return task;
    const place = `${task},${part}`;
    const known = this.#items.get(place);
    if (known !== undefined) return known;
    const item = this.#add("getitem", 0, [task], [this.#sizes[task]![part]!]);
    this.#items.set(place, item);
    return item;
  }

  /** Whether `task` depends on `other`, at however many removes. */
  #reaches(task: number, other: number): boolean {
    const seen = new Set([task]);
    for (const one of seen) {
      if (one === other) return true;
      for (const input of this.#inputs[one]!) seen.add(input);
    }
    return false;
  }

  // ---- chance

  /** A draw of the normal distribution, at least {@link LEAST}. */
  normal(mean: number, deviation: number): number {
    // Box and Muller's, of whose two draws one is taken.
    const radius = Math.sqrt(-2 * Math.log(1 - this.#prng.unit()));
    return Math.max(LEAST, mean + deviation * radius * Math.cos(2 * Math.PI * this.#prng.unit()));
  }

  /** A draw of the exponential distribution, at least {@link LEAST}. */
  exponential(mean: number): number {
    return Math.max(LEAST, -mean * Math.log(1 - this.#prng.unit()));
  }

  /** A whole number from `low` to `high` − 1. */
  between(low: number, high: number): number {
    return low + this.#prng.below(high - low);
  }

  chosen<T>(from: readonly T[]): T {
    return from[this.#prng.below(from.length)]!;
  }

  /** An index, as likely as its weight. */
  weighted(weights: readonly number[]): number {
    let rest = this.#prng.unit() * sum(weights);
    const index = weights.findIndex((weight) => {
      rest -= weight;
      return rest < 0;
    });
    return index < 0 ? weights.length - 1 : index;
  }

  // ---- the end of it

  workload(name: string): Workload {
    const { tasks } = this;
    const offsets = new Uint32Array(tasks + 1);
    for (const [task, inputs] of this.#inputs.entries()) offsets[task + 1] = offsets[task]! + inputs.length;
    const graph = {
      dependency_offsets: offsets,
      dependency_ids: Uint32Array.from(this.#inputs.flat()),
      durations_us: Float64Array.from(this.#seconds, (seconds) => seconds * 1e6),
      nbytes: Float64Array.from(this.#mib, (mib) => Math.round(mib * MIB)),
    };
    return inPriorityOrder(name, graph, (id, old) => `${this.#names[old]!}-${id}`);
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** `count` of what `make` answers. */
export function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}
