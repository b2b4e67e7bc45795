import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { keySplit } from "../../../src/base/key-split.ts";
import { Prng } from "../../../src/base/prng.ts";
import { Generations, timeoutMs } from "../../../src/server/graphs/generation.ts";
import { pythonWithDask } from "../../ordering/python.ts";
import { Rig } from "../stream/rig.ts";

const ODD_KEYS = [
  ...["x", "x-1", "x-1-2-3", "('x-2', 1)", "('x', 1)", "hello-world-1", "x-abcdefab", "_(x)", "", "-", "--"],
  ...[
    "ae05086432ca935f6eba409a8ecd4896",
    "<module.submodule.myclass object at 0xdaf372",
    "<>",
    "< >",
    "<a.b>",
  ],
  ...["x-abcdefgh", "x-ABCDEFAB", "x-deadbee", "x-12345678", "a-b-c-d", "a--b", "a-b1-c", "1", "1-x", "_x-y"],
  ...[
    "'",
    '"',
    "()",
    "(((a",
    "(a,b)-c",
    "a,b",
    "_,a",
    "é-ß",
    "é1",
    "日本-語",
    "x-日本",
    "x-½",
    "x-ª",
    "²-x",
    "ǅ",
  ],
  ...[
    "read-csv-0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef-0",
    "data",
    "  ",
    " x-y",
    "x -y",
  ],
  ...[
    "a".repeat(32),
    "g".repeat(32),
    `${"a".repeat(31)}-b`,
    "a\nb-c",
    "x-\n",
    "abcdefab",
    "-x",
    "𝔘-x",
    "x-ⅷ",
    "́a",
  ],
  ...[
    "<lambda>-1",
    "<a b>-x",
    "<-x",
    ">x",
    "<x",
    "<.>",
    "<a.>-b",
    "\u0000-x",
    "x\u00a0-y",
    "<\u00a0a>",
    "< a.b c>",
  ],
];

const SPANS = [
  ...[
    "60s",
    "100 ms",
    "1 minute",
    "5 minutes",
    "2h",
    "1.5h",
    "3d",
    "2 weeks",
    "1week",
    "7 us",
    "9ns",
    "0",
    "10",
  ],
  ...[
    "MS",
    "1 Minutes",
    "1MINUTE",
    ".5s",
    "s",
    "minute",
    "1e3 ms",
    "1e-3s",
    "1E2",
    "5 parsecs",
    "-5s",
    "1..2s",
    "x y",
  ],
  ...[
    "1 0 s",
    " 60 s ",
    "0.5",
    "1.",
    "12 hours",
    "3 nanoseconds",
    "1 milliseconds",
    "inf",
    "nan",
    "5e",
    "1e5e",
  ],
  ...[0, 1, 2.5, 1e-3, 86_400, -5],
];

/** Keys of the forms that Dask's own collections have, and mixtures. */
function randomKeys(count: number): string[] {
  const random = new Prng(5);
  const parts = [
    "read",
    "csv",
    "Sum",
    "x1",
    "0",
    "17",
    "deadbeef",
    "abcdefab",
    "",
    "(",
    "'a",
    "ü",
    "_t",
    "<m.f",
    " ",
  ];
  parts.push("0123456789abcdef0123456789abcdef", "a,b", "split_x");
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.below(4) }, () => parts[random.below(parts.length)]!).join("-"),
  );
}

describe("Dask's own rules", () => {
  const keys = [...ODD_KEYS, ...randomKeys(500)];
  let answer: { splits: string[]; spans: (number | null)[] };

  beforeAll(() => {
    const script = fileURLToPath(new URL("dask-rules.py", import.meta.url));
    const run = spawnSync(pythonWithDask(), [script], {
      input: JSON.stringify({ keys, spans: SPANS }),
      encoding: "utf8",
    });
    if (run.status !== 0) throw new Error(run.error?.message ?? run.stderr);
    answer = JSON.parse(run.stdout);
  });

  test("of the prefix of a key", () => {
    expect(keys.map((key) => [key, keySplit(key)])).toEqual(keys.map((key, i) => [key, answer.splits[i]]));
  });

  test("of time spans; what Dask refuses is 0", () => {
    SPANS.forEach((span, i) => {
      expect(timeoutMs(span), String(span)).toBeCloseTo((answer.spans[i] ?? 0) * 1000, 6);
    });
    expect(timeoutMs(null)).toBe(0);
  });
});

describe("a graph's generation", () => {
  const { books } = new Rig().scheduler;
  const graph = (
    now_ms: number,
    fifo_timeout: string | number = "60s",
    submitting_task: string | null = null,
  ) => ({
    now_ms,
    fifo_timeout,
    submitting_task,
  });

  test("begins at 1 and is shared by graphs that come within the time-out of the first of them", () => {
    const generations = new Generations();
    expect(generations.next(graph(1_000_000), books)).toBe(1);
    expect(generations.next(graph(1_050_000), books)).toBe(1);
    expect(generations.next(graph(1_060_000), books)).toBe(1);
    expect(generations.next(graph(1_060_001), books)).toBe(2);
    expect(generations.next(graph(1_061_000, 0.5), books)).toBe(3);
    expect(generations.next(graph(1_061_100, 0.5), books)).toBe(3);
    expect(generations.next(graph(1_061_101, "100 ms"), books)).toBe(4);
  });

  test("is that of a sub-task by its parent's user priority, and changes nothing for others", () => {
    const rig = new Rig();
    const { id } = rig.client();
    rig.worker();
    rig.submit(id, [{ key: "parent" }], ["parent"], { user_priority: -3, generation: 7 });
    const generations = new Generations();
    const { books } = rig.scheduler;
    expect(generations.next(graph(1_000_000), books)).toBe(1);
    expect(generations.next(graph(2_000_000, "1s", "parent"), books)).toBe(-3.01);
    expect(generations.next(graph(2_000_000, "1s", "gone"), books)).toBe(1);
    expect(generations.next(graph(2_000_000, "1s"), books)).toBe(2);
    expect(generations.next(graph(3_000_000, "1s", ""), books)).toBe(3);
  });
});
