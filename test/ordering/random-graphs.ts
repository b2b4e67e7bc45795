import { Prng } from "../../src/base/prng.ts";
import type { KeySpec, OracleGraph } from "./oracle.ts";

type Shape = (prng: Prng) => number[][];

/** Graphs of every shape that collections make, and some that none makes; a function of the seed. */
export function randomGraph(seed: number): OracleGraph {
  const prng = new Prng(seed);
  const shapes = Object.values(SHAPES);
  let deps = shapes[prng.below(shapes.length)]!(prng);
  // Two graphs side by side, and an id order that is not topological, as in a client's dict.
  if (prng.below(4) === 0) deps = beside(deps, shapes[prng.below(shapes.length)]!(prng));
  if (prng.below(3) > 0) deps = renumbered(deps, prng);
  let literals: number[] = [];
  if (prng.below(4) === 0) literals = someLiterals(deps, prng);
  const count = deps.length;
  const externals = prng.below(4) === 0 ? 1 + prng.below(4) : 0;
  for (const row of deps)
    for (let e = 0; e < externals; e++)
      if (prng.below(6) === 0) row.splice(prng.below(row.length + 1), 0, count + e);
  return { keys: randomKeys(count + externals, prng), deps, literals };
}

/** Graphs of some thousand tasks with hundreds of roots and leaves, renumbered; a function of the seed. */
export function largeGraph(seed: number): OracleGraph {
  const prng = new Prng(seed);
  const deps = LARGE[seed % LARGE.length]!(prng);
  const mixed = prng.below(2) === 0 ? renumbered(deps, prng) : deps;
  return { keys: randomKeys(mixed.length, prng), deps: mixed, literals: [] };
}

const LARGE: readonly Shape[] = [
  (prng) => neighbours(prng, 400),
  (prng) => layered(prng, 6, 700, 3),
  (prng) => layered(prng, 30, 60, 3),
  (prng) => reductionsOfShared(prng, 900),
  (prng) => shuffle(prng, 25, 30),
  (prng) => dag(prng, 1200, 3),
  (prng) => beside(reduction(prng, 1000, 4), neighbours(prng, 300)),
  (prng) => splitter(prng, 2000),
  (prng) => nested(prng, 7),
  () => grid(40, 50),
];

const SHAPES: Record<string, Shape> = {
  layered: (prng) => layered(prng, 2 + prng.below(5), 1 + prng.below(9), 3),
  deep: (prng) => layered(prng, 18 + prng.below(25), 1 + prng.below(5), 4),
  dense: (prng) => layered(prng, 2 + prng.below(24), 2 + prng.below(5), 9),
  reduction: (prng) => reduction(prng, 2 + prng.below(40), 2 + prng.below(3)),
  reductionsOfShared: (prng) => reductionsOfShared(prng),
  splitter: (prng) => splitter(prng, 2 + prng.below(40)),
  nested: (prng) => nested(prng, 1 + prng.below(4)),
  nestedLater: (prng) => nestedLater(prng),
  explosive: (prng) => explosive(prng),
  dag: (prng) => dag(prng, 1 + prng.below(50), 1 + prng.below(4)),
  chains: (prng) => chains(prng),
  diamonds: (prng) => diamonds(prng),
  grid: (prng) => grid(1 + prng.below(8), 1 + prng.below(8)),
  shuffle: (prng) => shuffle(prng),
  neighbours: (prng) => neighbours(prng, 2 + prng.below(20)),
  fern: (prng) => fern(2 + prng.below(25)),
};

function layered(prng: Prng, depth: number, width: number, fan: number): number[][] {
  const deps: number[][] = [];
  let before: number[] = [];
  for (let layer = 0; layer < depth; layer++) {
    const ids: number[] = [];
    for (let i = 0; i < 1 + prng.below(width); i++) {
      ids.push(deps.length);
      deps.push(layer === 0 ? [] : pick(before, 1 + prng.below(fan), prng));
    }
    before = prng.below(5) === 0 ? [...before, ...ids] : ids;
  }
  return deps;
}

function reduction(prng: Prng, leaves: number, split: number): number[][] {
  const deps: number[][] = [];
  let open: number[] = [];
  for (let i = 0; i < leaves; i++) open.push(deps.push([]) - 1);
  if (prng.below(2) === 0) open = open.map((id) => deps.push([id]) - 1);
  while (open.length > 1) {
    const next: number[] = [];
    for (let i = 0; i < open.length; i += split) next.push(deps.push(open.slice(i, i + split)) - 1);
    open = next;
  }
  return deps;
}

/** x.mean() and x.std() of one array: two trees above the same blocks. */
function reductionsOfShared(prng: Prng, width = 2 + prng.below(14)): number[][] {
  const deps: number[][] = [];
  const blocks = Array.from({ length: width }, () => deps.push([]) - 1);
  for (let tree = 0; tree < 1 + prng.below(3); tree++) {
    let open = blocks.map((id) => deps.push([id]) - 1);
    while (open.length > 1) {
      const next: number[] = [];
      for (let i = 0; i < open.length; i += 3) next.push(deps.push(open.slice(i, i + 3)) - 1);
      open = next;
    }
  }
  return deps;
}

function splitter(prng: Prng, count: number): number[][] {
  const deps: number[][] = [[]];
  for (let i = 1; i < count; i++) deps.push([prng.below(i)]);
  return deps;
}

/** Splits within splits that are joined again in the reverse order, with more roots thrown in. */
function nested(prng: Prng, depth: number): number[][] {
  const deps: number[][] = [];
  const build = (from: number[], level: number): number => {
    const top = deps.push(from) - 1;
    if (level === 0) return top;
    const branches = Array.from({ length: 2 + prng.below(2) }, () => build([top], level - 1));
    if (prng.below(3) === 0) branches.push(deps.push([]) - 1);
    const chain = deps.push(branches) - 1;
    return prng.below(3) === 0 ? deps.push([chain]) - 1 : chain;
  };
  const ends = Array.from({ length: 1 + prng.below(3) }, () => build([], depth));
  if (prng.below(2) === 0) deps.push(ends);
  return deps;
}

/** Nested splits that are runnable side by side, before anything that needs them is: whole paths have to wait. */
function nestedLater(prng: Prng): number[][] {
  const deps: number[][] = [[]];
  const build = (top: number, level: number): number => {
    if (level === 0) return prng.below(3) === 0 ? deps.push([top]) - 1 : top;
    const branches = Array.from({ length: 2 + prng.below(2) }, () => build(deps.push([top]) - 1, level - 1));
    if (prng.below(9) === 0) branches.push(deps.push([]) - 1);
    return deps.push(branches) - 1;
  };
  const parts = Array.from({ length: 2 + prng.below(2) }, () => build(deps.push([0]) - 1, 1 + prng.below(4)));
  for (let i = prng.below(3); i > 0; i--) parts.push(deps.push([]) - 1);
  deps.push(parts);
  if (prng.below(2) === 0) deps.push([prng.below(deps.length), deps.push([]) - 1]);
  return deps;
}

/** Every task needs most of the layer before: totals far beyond 2^53, equal or nearly so. */
function explosive(prng: Prng): number[][] {
  const deps: number[][] = [];
  let before: number[] = [];
  const width = 3 + prng.below(3);
  for (let layer = 0; layer < 26 + prng.below(20); layer++) {
    const row = before;
    before = Array.from({ length: width }, () => {
      const most = row.filter(() => prng.below(12) > 0);
      return deps.push(layer > 0 && most.length === 0 ? [...row] : most) - 1;
    });
  }
  return deps;
}

function dag(prng: Prng, count: number, fan: number): number[][] {
  const deps: number[][] = [];
  for (let i = 0; i < count; i++) {
    const ids = Array.from({ length: i }, (_, id) => id);
    deps.push(pick(ids, prng.below(fan + 1), prng));
  }
  return deps;
}

function chains(prng: Prng): number[][] {
  const deps: number[][] = [];
  const ends: number[] = [];
  for (let c = 0; c < 1 + prng.below(8); c++) {
    let last = deps.push(ends.length > 0 && prng.below(3) === 0 ? [ends[prng.below(ends.length)]!] : []) - 1;
    for (let i = 0; i < prng.below(8); i++) last = deps.push([last]) - 1;
    ends.push(last);
  }
  if (prng.below(2) === 0) deps.push(ends.slice(0, 1 + prng.below(ends.length)));
  return deps;
}

function diamonds(prng: Prng): number[][] {
  const deps: number[][] = [[]];
  for (let d = 0; d < 1 + prng.below(30); d++) {
    const last = deps.length - 1;
    const sides = Array.from({ length: 2 + prng.below(2) }, () => deps.push([last]) - 1);
    deps.push(sides);
    if (prng.below(4) === 0) deps.push([deps.length - 1, deps.push([]) - 1].sort(() => prng.below(2) - 0.5));
  }
  return deps.map((row, id) => row.filter((dep) => dep < id));
}

function grid(rows: number, columns: number): number[][] {
  const deps: number[][] = [];
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      deps.push([...(r > 0 ? [(r - 1) * columns + c] : []), ...(c > 0 ? [r * columns + c - 1] : [])]);
  return deps;
}

function shuffle(prng: Prng, width = 2 + prng.below(6), outputs = 1 + prng.below(6)): number[][] {
  const deps: number[][] = [];
  const inputs = Array.from({ length: width }, () => deps.push([]) - 1);
  const parts: number[][] = Array.from({ length: outputs }, () => []);
  for (const input of inputs) {
    const split = deps.push([input]) - 1;
    for (const part of parts) part.push(deps.push([split]) - 1);
  }
  const merged = parts.map((part) => deps.push(part) - 1);
  if (prng.below(2) === 0) deps.push(merged);
  return deps;
}

function neighbours(prng: Prng, width: number): number[][] {
  const deps: number[][] = [];
  let row = Array.from({ length: width }, () => deps.push([]) - 1);
  for (let step = 0; step < 1 + prng.below(4); step++)
    row = row.map((_, i) => deps.push(row.slice(Math.max(0, i - 1), i + 2)) - 1);
  return deps;
}

function fern(length: number): number[][] {
  const deps: number[][] = [[]];
  let last = 0;
  for (let i = 0; i < length; i++) last = deps.push([last, deps.push([]) - 1]) - 1;
  return deps;
}

function beside(a: number[][], b: number[][]): number[][] {
  return [...a, ...b.map((row) => row.map((id) => id + a.length))];
}

function renumbered(deps: number[][], prng: Prng): number[][] {
  const place = shuffled(
    deps.map((_, id) => id),
    prng,
  );
  const result: number[][] = [];
  for (const [id, row] of deps.entries())
    result[place[id]!] = shuffled(
      row.map((dep) => place[dep]!),
      prng,
    );
  return result;
}

/** Data among the roots; lists of keys among the leaves; now and then an alias in between. */
function someLiterals(deps: number[][], prng: Prng): number[] {
  const used = new Set(deps.flat());
  const share = 1 + prng.below(4);
  return deps.flatMap((row, id) => {
    const edge = row.length === 0 || !used.has(id);
    return prng.below(edge ? share : 40) === 0 ? [id] : [];
  });
}

/** Distinct keys of one kind or mixed; nothing whose `str` could be equal. */
function randomKeys(count: number, prng: Prng): KeySpec[] {
  const kind = prng.below(7);
  const names = shuffled(
    Array.from({ length: count }, (_, i) => i),
    prng,
  );
  return names.map((n) => {
    switch (kind) {
      case 0:
        return `task-${n}`;
      case 1:
        return ["t", [`x-${n % 3}`, ["i", `${Math.floor(n / 3)}`], ["i", "0"]]];
      case 2:
        return ["i", `${n - 5}`];
      case 3:
        return ["f", `${n}e${(n % 5) * 9}`];
      case 4:
        return ["b", n.toString(16).padStart(4, "0")];
      case 5:
        return `${STRANGE[n % STRANGE.length]!}${n}`;
      default:
        return [
          "t",
          [
            ["f", `${n}.5`],
            ["t", [`it's "${n}"\n`, ["n"], ["b", "27ff"]]],
          ],
        ];
    }
  });
}

const STRANGE = ["a", "\u{1f600}", "\uffee", "\ud7ff", "é", "", "\\"];

function pick<T>(items: readonly T[], count: number, prng: Prng): T[] {
  return shuffled([...items], prng).slice(0, count);
}

function shuffled<T>(items: T[], prng: Prng): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = prng.below(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
