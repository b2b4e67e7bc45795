import { ESTEE_GENERATORS, esteeGraph } from "./estee/index.ts";
import { merge, mergeSlow, random, tree } from "./generators.ts";
import { readRecorded } from "./recorded.ts";
import { TASKS_MAX, type Workload, WorkloadError } from "./workload.ts";

/** Longest time a task may be given: a day. */
const SECONDS_MAX = 86_400;
/** Random graphs are ordered as a whole: some seconds at this size. */
const RANDOM_TASKS_MAX = 2_000_000;
const SEED_MAX = Number.MAX_SAFE_INTEGER;
const TREE_EXPONENT_MAX = Math.floor(Math.log2(TASKS_MAX));

interface Generator {
  readonly usage: string;
  /** The name of a last part that may be left out. */
  readonly optional?: string;
  readonly make: (spec: string, args: Arguments) => Workload;
}

const GENERATORS: Readonly<Record<string, Generator>> = {
  merge: {
    usage: "merge:N",
    make: (spec, args) => merge(spec, args.integer("N", { min: 1, max: TASKS_MAX - 1 })),
  },
  "merge-slow": {
    usage: "merge-slow:N:SECONDS",
    make: (spec, args) =>
      mergeSlow(spec, args.integer("N", { min: 1, max: TASKS_MAX - 1 }), args.seconds("SECONDS")),
  },
  tree: {
    usage: "tree:E",
    make: (spec, args) => tree(spec, args.integer("E", { min: 1, max: TREE_EXPONENT_MAX })),
  },
  random: {
    usage: "random:N:SEED",
    make: (spec, args) =>
      random(
        spec,
        args.integer("N", { min: 1, max: RANDOM_TASKS_MAX }),
        args.integer("SEED", { min: 0, max: SEED_MAX }),
      ),
  },
  estee: {
    usage: "estee:NAME:SEED",
    optional: "SIZE",
    make: (spec, args) => {
      const name = args.oneOf("NAME", Object.keys(ESTEE_GENERATORS));
      const { size, size_max } = ESTEE_GENERATORS[name]!;
      const seed = args.integer("SEED", { min: 0, max: SEED_MAX });
      return esteeGraph(spec, name, seed, args.integer("SIZE", { min: 1, max: size_max }, size));
    },
  },
};

/**
 * Makes or reads the workload that a `--workload` option names: `merge:N`, `merge-slow:N:SECONDS`, `tree:E`
 * (2^E − 1 tasks), `random:N:SEED`, `estee:NAME:SEED[:SIZE]` ({@link ESTEE_GENERATORS}), or the path of a recorded graph
 * (`./` before one that looks like a name).
 * Throws {@link WorkloadError}.
 */
export async function parseWorkload(spec: string): Promise<Workload> {
  const [name, ...parts] = spec.split(":");
  const generator = Object.hasOwn(GENERATORS, name!) ? GENERATORS[name!]! : null;
  if (generator === null) {
    if (/[/\\]|\.gz$|\.jsonl$/.test(spec)) return await readRecorded(spec);
    const usages = Object.values(GENERATORS).map(usageOf);
    throw new WorkloadError(
      `unknown workload ${JSON.stringify(spec)}: give ${usages.join(", ")} or the path of a recorded graph`,
    );
  }
  const names = generator.usage.split(":").slice(1);
  const spare = parts.length - names.length;
  if (spare !== 0 && !(spare === 1 && generator.optional !== undefined))
    throw new WorkloadError(`workload ${JSON.stringify(spec)}: write it as ${usageOf(generator)}`);
  if (generator.optional !== undefined) names.push(generator.optional);
  return generator.make(spec, new Arguments(spec, names, parts));
}

function usageOf({ usage, optional }: Generator): string {
  return optional === undefined ? usage : `${usage}[:${optional}]`;
}

/** The parts of a spec by name. */
class Arguments {
  readonly #spec: string;
  readonly #names: readonly string[];
  readonly #parts: readonly string[];

  constructor(spec: string, names: readonly string[], parts: readonly string[]) {
    this.#spec = spec;
    this.#names = names;
    this.#parts = parts;
  }

  /** `otherwise`: where the part was left out. */
  integer(name: string, { min, max }: { min: number; max: number }, otherwise = Number.NaN): number {
    const text = this.#text(name);
    if (text === undefined) return otherwise;
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw this.#fault(name, `a whole number from ${min} to ${max}`);
    return value;
  }

  seconds(name: string): number {
    const text = this.#text(name) ?? "";
    const value = /^(\d+\.?\d*|\.\d+)(e-?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (!(value >= 0 && value <= SECONDS_MAX))
      throw this.#fault(name, `a number of seconds from 0 to ${SECONDS_MAX}`);
    return value;
  }

  oneOf(name: string, choices: readonly string[]): string {
    const text = this.#text(name) ?? "";
    if (!choices.includes(text)) throw this.#fault(name, `one of ${choices.join(", ")}`);
    return text;
  }

  #text(name: string): string | undefined {
    return this.#parts[this.#names.indexOf(name)];
  }

  #fault(name: string, wanted: string): WorkloadError {
    return new WorkloadError(`workload ${JSON.stringify(this.#spec)}: ${name} must be ${wanted}`);
  }
}
