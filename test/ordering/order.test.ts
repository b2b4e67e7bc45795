import { describe, expect, test } from "vitest";
import { GraphCycleError, type OrderInput, orderGraph } from "../../src/ordering/index.ts";
import { compareCodePoints } from "../../src/ordering/sort-key.ts";
import { expectValid } from "./graphs.ts";
import { randomGraph } from "./random-graphs.ts";

function graphOf(deps: readonly (readonly number[])[], more: Partial<OrderInput> = {}): OrderInput {
  const dependency_offsets = new Uint32Array(deps.length + 1);
  for (const [id, row] of deps.entries()) dependency_offsets[id + 1] = dependency_offsets[id]! + row.length;
  const dependencies = Uint32Array.from(deps.flat());
  return { count: deps.length, dependency_offsets, dependencies, text: (id) => `t${id}`, ...more };
}

function order(deps: readonly (readonly number[])[], more: Partial<OrderInput> = {}): number[] {
  return [...orderGraph(graphOf(deps, more))];
}

/** Dependencies of task `id` by rule, for graphs too large to write down. */
function graphByRule(count: number, rule: (id: number, put: (dep: number) => void) => void): OrderInput {
  const dependency_offsets = new Uint32Array(count + 1);
  const dependencies: number[] = [];
  for (let id = 0; id < count; id++) {
    rule(id, (dep) => dependencies.push(dep));
    dependency_offsets[id + 1] = dependencies.length;
  }
  return {
    count,
    dependency_offsets,
    dependencies: Uint32Array.from(dependencies),
    text: (id) => `task-${id}`,
  };
}

describe("orderGraph", () => {
  test("orders nothing to nothing, and one task to 0", () => {
    expect(order([])).toEqual([]);
    expect(order([[]])).toEqual([0]);
  });

  test("follows the example of Dask's documentation", () => {
    // {'a': 1, 'b': 2, 'c': (inc, 'a'), 'd': (add, 'b', 'c')}
    expect(order([[], [], [0], [1, 2]], { literals: Uint8Array.of(1, 1, 0, 0) })).toEqual([0, 2, 1, 3]);
  });

  test("names the keys of a cycle", () => {
    const graph = graphOf([[], [0, 3], [1], [2], [3]]);
    expect(() => orderGraph(graph)).toThrow(GraphCycleError);
    expect(() => orderGraph(graph)).toThrow(
      /^Cycle detected between the following keys:(\n {2}-> t[123]){4}$/,
    );
  });

  test("refuses a task that needs itself", () => {
    expect(() => order([[], [1, 0]])).toThrow("\n  -> t1\n  -> t1");
    expect(() => order([[0]])).toThrow(GraphCycleError);
  });

  test("shortens the report of a long cycle", () => {
    const graph = graphByRule(100_000, (id, put) => put((id + 1) % 100_000));
    let caught: unknown;
    try {
      orderGraph(graph);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(GraphCycleError);
    expect((caught as GraphCycleError).cycle).toHaveLength(100_001);
    expect((caught as GraphCycleError).message.length).toBeLessThan(1000);
  });

  test("gives external keys no number", () => {
    expect(order([[2], [0, 3]], { external_count: 2 })).toEqual([0, 1]);
    // One that no task needs does no harm.
    expect(order([[], [0, 3]], { external_count: 5 })).toEqual([0, 1]);
  });

  test("counts a repeated dependency once", () => {
    expect(order([[], [], [0, 0, 1, 0, 1]])).toEqual(order([[], [], [0, 1]]));
  });

  test("refuses arrays that do not fit together", () => {
    expect(() => order([[], [2]])).toThrow(RangeError);
    expect(() => order([[], [0]], { dependency_offsets: Uint32Array.of(0, 0) })).toThrow(RangeError);
    expect(() => order([[], [0]], { dependency_offsets: Uint32Array.of(0, 0, 9) })).toThrow(RangeError);
    expect(() => order([[], [0]], { dependency_offsets: Uint32Array.of(1, 0, 1) })).toThrow(RangeError);
    expect(() => order([[], [0]], { literals: Uint8Array.of(1) })).toThrow(RangeError);
  });

  test("orders keys of equal text validly", () => {
    for (let seed = 0; seed < 300; seed++) {
      const { deps, keys } = randomGraph(seed);
      const graph = graphOf(deps, { external_count: keys.length - deps.length, text: (id) => `t${id % 3}` });
      expectValid(graph, orderGraph(graph));
    }
  });

  test("numbers every literal, also where data is shared by lists only", () => {
    const literals = Uint8Array.of(1, 1, 0, 0, 1, 1, 1);
    const result = order([[], [], [0], [1], [0, 1, 2], [0, 3], [4, 5]], { literals });
    expect(Math.min(...result)).toBeGreaterThanOrEqual(0);
  });

  test("asks for the text of a key at most once, and only to break a tie", () => {
    const asked: number[] = [];
    const text = (id: number): string => {
      asked.push(id);
      return `t${id}`;
    };
    order([[], [0], [1], [2]], { text });
    expect(asked).toEqual([]);
    order([[], [], [], [0, 1, 2]], { text });
    expect(asked.sort()).toEqual([0, 1, 2]);
  });
});

describe("orderGraph on extreme graphs", () => {
  const cases: [string, OrderInput][] = [
    ["a chain of 1,000,000", graphByRule(1_000_000, (id, put) => id > 0 && put(id - 1))],
    ["a chain of 1,000,000, last first", graphByRule(1_000_000, (id, put) => id < 999_999 && put(id + 1))],
    ["200,000 tasks without edges", graphByRule(200_000, () => {})],
    ["a merge of 200,000", graphByRule(200_001, (id, put) => id === 200_000 && each(200_000, put))],
    // Totals of 33,000 bits: no exact sums.
    ["100,000 tasks in diamonds", graphByRule(100_000, diamond)],
    // The sets of roots of a running sum grow with the square of its length.
    ["two running sums of 20,000", graphByRule(60_000, runningSums)],
    [
      "a chain of 20,000 that fans out to 20,000",
      graphByRule(40_001, (id, put) => id > 0 && put(Math.min(id, 20_001) - 1)),
    ],
    // Known paths would be as long together as the chain times the fan.
    ["a chain that fans out and in, waiting for a root", graphByRule(30_003, fanOutAndIn)],
    [
      "3,000 × 3,000 through one task",
      graphByRule(6001, (id, put) => (id === 3000 ? each(3000, put) : id > 3000 && put(3000))),
    ],
  ];

  function each(count: number, put: (dep: number) => void): void {
    for (let i = 0; i < count; i++) put(i);
  }

  function diamond(id: number, put: (dep: number) => void): void {
    if (id === 0) return;
    if (id % 3 === 0) {
      put(id - 1);
      put(id - 2);
    } else {
      put(id - (id % 3));
    }
  }

  function runningSums(id: number, put: (dep: number) => void): void {
    if (id < 20_000) return;
    put(id % 20_000);
    if (id % 20_000 > 0) put(id - 1);
  }

  function fanOutAndIn(id: number, put: (dep: number) => void): void {
    if (id === 0 || id === 30_001) return;
    if (id < 15_000) put(id - 1);
    else if (id < 30_001) put(14_999);
    else for (let i = 15_000; i <= 30_001; i++) put(i);
  }

  test.each(cases)("%s", (_name, graph) => {
    const before = process.cpuUsage();
    expectValid(graph, orderGraph(graph));
    const { user, system } = process.cpuUsage(before);
    // Nothing quadratic: that would be minutes.
    expect(user + system).toBeLessThan(20_000_000);
  });
});

describe("compareCodePoints", () => {
  test("puts characters beyond U+FFFF last, as Python does", () => {
    expect(compareCodePoints("a\u{1f600}", "a\uffee")).toBeGreaterThan(0);
    expect(compareCodePoints("\uffee", "\u{1f600}")).toBeLessThan(0);
    expect(compareCodePoints("\u{1f600}", "\u{1f601}")).toBeLessThan(0);
    expect(compareCodePoints("\ud7ff", "\u{1f600}")).toBeLessThan(0);
    expect(compareCodePoints("a", "ab")).toBeLessThan(0);
    expect(compareCodePoints("ab", "ab")).toBe(0);
  });
});
