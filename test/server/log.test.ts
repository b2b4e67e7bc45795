import { expect, test } from "vitest";
import { createLog } from "../../src/cli/log.ts";
import { formatRecord, type LogRecord, ServerLog } from "../../src/server/peers/log.ts";

function log(): { written: LogRecord[]; log: ServerLog; clock: { now_ms: number } } {
  const written: LogRecord[] = [];
  const clock = { now_ms: 0 };
  return {
    written,
    clock,
    log: new ServerLog(
      "distributed.scheduler",
      (record) => written.push(record),
      () => clock.now_ms,
    ),
  };
}

test("a record is one line in distributed's format, whatever a peer put into it", () => {
  const { written, log: tried } = log();
  tried.write("INFO", "two\nlines \u001b[31mred\r");
  expect(written[0]?.text).toBe("two\\nlines \\x1b[31mred\\x0d");
  const time_ms = new Date(2026, 10, 21, 11, 20, 0, 7).getTime();
  expect(formatRecord({ time_ms, logger: "distributed.scheduler", level: "WARNING", text: "x" })).toBe(
    "2026-11-21 11:20:00,007 - distributed.scheduler - WARNING - x",
  );
});

test("a peer that repeats itself is cut short, and the lines held back are counted", () => {
  const { written, clock, log: tried } = log();
  for (let i = 0; i < 100; i++) tried.writeLimited("WARNING", "peer", "again");
  tried.writeLimited("WARNING", "another", "once");
  expect(written).toHaveLength(6);
  clock.now_ms = 10_000;
  tried.writeLimited("WARNING", "peer", "again");
  expect(written.at(-1)?.text).toBe("again (95 more lines like it held back)");
});

test("records are bounded in number and length", () => {
  const { log: tried } = log();
  for (let i = 0; i < 25_000; i++) tried.write("INFO", String(i));
  expect(tried.records.length).toBeLessThanOrEqual(20_000);
  expect(tried.records.at(-1)?.text).toBe("24999");
  tried.write("INFO", "x".repeat(1_000_000));
  expect(tried.records.at(-1)?.text.length).toBeLessThan(5_000);
});

test("levels below the chosen one are kept but not shown", () => {
  const shown: string[] = [];
  const tried = createLog({
    stream: { write: (text) => shown.push(text) },
    level: "WARNING",
    logger: "distributed.scheduler",
  });
  tried.write("INFO", "quiet");
  tried.write("ERROR", "loud");
  expect(shown).toHaveLength(1);
  expect(tried.records).toHaveLength(2);
});
