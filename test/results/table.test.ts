import { beforeAll, describe, expect, test } from "vitest";
import { buildResults } from "../../src/results/build.ts";
import { buildFleetDocument, renderFleetTable } from "../../src/results/fleet.ts";
import type { Summary } from "../../src/results/summary.ts";
import { renderTable } from "../../src/results/table.ts";
import { bar, bytes, grouped, seconds, significant } from "../../src/results/text.ts";
import { Histogram } from "../../src/trace/histogram.ts";
import { facts, recordRun } from "./small-run.ts";

const ESCAPE = String.fromCharCode(27);
let traced: Summary;
let untraced: Summary;
beforeAll(async () => {
  traced = buildResults((await recordRun(facts())).input).summary;
  untraced = buildResults((await recordRun(facts({ trace: "off" }))).input).summary;
});

describe("the attribution table", () => {
  test("names every phase and hop, what nothing is tied to, and what it cost", () => {
    const text = renderTable(traced, { colour: false, width: 100 });
    // Without a policy outside the process its phase is left out.
    const shown = traced.phases!.filter((row) => row.phase !== "policy");
    expect(shown).toHaveLength(traced.phases!.length - 1);
    expect(text).not.toMatch(/^ *policy /m);
    for (const row of shown) expect(text).toMatch(new RegExp(`^ +${row.phase} `, "m"));
    for (const row of traced.hops!) expect(text).toContain(row.hop);
    for (const word of [
      "merge:2000",
      "24 zero workers",
      "workstealing",
      "tcp",
      "unattributed",
      "tracing",
      "fleet",
    ]) {
      expect(text).toContain(word);
    }
  });

  test("is plain text unless colour is asked for", () => {
    expect(renderTable(traced, { colour: false, width: 100 })).not.toContain(ESCAPE);
    expect(renderTable(traced, { colour: true, width: 100 })).toContain(`${ESCAPE}[1m`);
  });

  test("fits a terminal of 80 columns", () => {
    const text = renderTable(traced, { colour: false, width: 80 });
    const table = text.split("\n").filter((line) => /^ {2,}(scheduling|network|read|hop)/.test(line));
    expect(table.length).toBeGreaterThan(3);
    for (const line of table) expect(line.length).toBeLessThanOrEqual(80);
  });

  test("of a run without tracing has its makespan and nothing about phases", () => {
    const text = renderTable(untraced, { colour: false, width: 100 });
    expect(text).toContain("makespan");
    expect(text).not.toContain("unattributed");
    expect(text).not.toContain("hop of a task");
  });
});

test("a summary without tracing has no phases, hops or unattributed share, and all the rest", () => {
  expect(
    Object.keys(traced)
      .filter((name) => !(name in untraced))
      .sort(),
  ).toEqual(["hops", "phases", "unattributed_share"]);
  expect(untraced.loop.turns).toBe(9);
  expect(untraced.probe).toEqual({ cost_ns: 0, count: 0, share: 0 });
});

test("sums are over repeats, figures for a task over tasks and repeats", () => {
  expect(traced.repeats.length).toBe(3);
  expect(traced.ledger.tasks_finished).toBe(3 * 2001);
  const read = traced.phases!.find((row) => row.phase === "read")!;
  const each = traced.repeats.map((repeat) => repeat.phases!.find((row) => row.phase === "read")!);
  expect(read.total_s).toBeCloseTo(
    each.reduce((sum, row) => sum + row.total_s, 0),
    9,
  );
  expect(read.us_per_task).toBeCloseTo((read.total_s * 1e6) / 6000, 9);
  expect(read.count).toBe(each.reduce((sum, row) => sum + row.count, 0));
  const sorted = traced.repeats.map((repeat) => repeat.makespan_s).sort((a, b) => a - b);
  expect(traced.makespan_s).toEqual({ min: sorted[0], median: sorted[1], max: sorted[2] });
});

test("an interrupted run counts the repeats that it has", async () => {
  const { input } = await recordRun(facts({ repeats: 2 }));
  const { summary } = buildResults({ ...input, run: { ...input.run, repeats: 5 } });
  expect(summary.run.repeats).toBe(2);
  const total = summary.phases!.filter((row) => row.parent === null).reduce((sum, row) => sum + row.share, 0);
  expect(total + summary.unattributed_share!).toBeCloseTo(1, 9);
});

test("the fleet's table says what a fleet can see", () => {
  const histogram = new Histogram();
  histogram.recordMany(5000, 7);
  const document = buildFleetDocument({
    run: { address: "tcp://127.0.0.1:8786", workers: 168, release: "2026.8" },
    started_at_ms: 0,
    tasks: 0,
    first_task_ns: null,
    last_finished_ns: null,
    steals_asked: 0,
    steals_done: 0,
    messages_in: 1,
    messages_out: 2,
    bytes_in: 3,
    bytes_out: 4,
    batch_in: histogram,
    batch_out: histogram,
    report_to_next_task: histogram,
    cpu_ns: null,
  });
  expect(document).toMatchObject({
    window_s: 0,
    us_per_task: 0,
    tasks_per_s: 0,
    fleet_cpu_us_per_task: null,
  });
  const text = renderFleetTable(document, { colour: false, width: 100 });
  expect(text).toContain("168 zero workers");
  expect(text).toContain("report → next task");
});

test("numbers are short and keep three digits", () => {
  expect([0, 0.01234, 0.9996, 1.234, 12.34, 99.96, 123.4, 999.4, 1234.5].map(significant)).toEqual([
    "0",
    "0.012",
    "1.00",
    "1.23",
    "12.3",
    "100",
    "123",
    "999",
    "1,235",
  ]);
  expect(grouped(1234567)).toBe("1,234,567");
  expect([seconds(2), seconds(0.0021), seconds(0.0000021)]).toEqual(["2.00 s", "2.10 ms", "2.10 µs"]);
  expect([bytes(12), bytes(1234), bytes(5e9)]).toEqual(["12.0 B", "1.23 kB", "5.00 GB"]);
  expect([bar(0, 4), bar(0.5, 4), bar(1, 4), bar(2, 4), bar(0.03, 4)]).toEqual([
    "",
    "██",
    "████",
    "████",
    "▏",
  ]);
});
