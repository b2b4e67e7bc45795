import type { Machine } from "../../base/machine.ts";
import type { Books } from "../../core/books.ts";
import { PROCESSING } from "../../core/states.ts";
import { Pickled, WireMap, type WireValue } from "../../protocol/values.ts";
import type { GraphNews } from "../graphs/intake.ts";
import { floatValue } from "../rpc/wire-shapes.ts";
import { copied } from "../spans/span.ts";

/** `distributed.diagnostics.computations.max-history`. */
const COMPUTATIONS_MAX = 100;
/** Pieces of code that one computation keeps. */
const CODES_MAX = 100;

interface Computation {
  readonly id: string;
  readonly start_s: number;
  readonly codes: Pickled[];
}

/** Graphs that were submitted while work went on, with the code around their submission: one computation. */
export class Computations {
  readonly #books: Books;
  readonly #machine: Machine;
  readonly #kept: Computation[] = [];

  constructor(books: Books, machine: Machine) {
    this.#books = books;
    this.#machine = machine;
  }

  /** Its tasks are not placed yet: what is processing now is older. */
  onGraph({ fields }: GraphNews): void {
    let last = this.#kept.at(-1);
    if (last === undefined || this.#books.state_counts[PROCESSING] === 0) {
      last = { id: this.#machine.uuid(), start_s: this.#machine.wall_ms() / 1000, codes: [] };
      this.#kept.push(last);
      if (this.#kept.length > COMPUTATIONS_MAX) this.#kept.shift();
    }
    const code = fields?.get("code");
    if (code instanceof Pickled && last.codes.length < CODES_MAX) last.codes.push(copied(code));
  }

  list(): WireValue[] {
    return this.#kept.map(({ id, start_s, codes }) =>
      WireMap.of({ id, start: floatValue(start_s), code: [...codes] }),
    );
  }
}
