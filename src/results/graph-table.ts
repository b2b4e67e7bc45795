import type { GraphRow } from "./summary.ts";
import { bytes, columns, seconds, styled, type TextOptions } from "./text.ts";

/** More than these are in summary.json alone. */
const SHOWN_MAX = 8;

/** The largest graphs, each from its arrival to its first task on the wire: lines without an end. */
export function graphSection(graphs: readonly GraphRow[], options: TextOptions): string[] {
  if (graphs.length === 0) return [];
  const rows = [
    ["graph of", "decode", "wait", "unpack", "order", "insert", "first task", "last task known"],
    ...graphs
      .slice(0, SHOWN_MAX)
      .map((row) => [
        bytes(row.bytes),
        ...[row.decode_s, row.wait_s, row.unpack_s, row.order_s, row.insert_s].map(seconds),
        ...[row.first_task_s, row.last_task_s].map((value) => (value > 0 ? seconds(value) : "never")),
      ]),
  ];
  const lines = columns(rows, 1).map((line, i) => `  ${i === 0 ? styled(options, "dim", line) : line}`);
  const more = graphs.length - SHOWN_MAX;
  return more > 0 ? [...lines, styled(options, "dim", `  and ${more} smaller ones in summary.json`)] : lines;
}
