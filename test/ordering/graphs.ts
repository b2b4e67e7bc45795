import { expect } from "vitest";
import type { OrderInput } from "../../src/ordering/index.ts";
import type { OracleGraph } from "./oracle.ts";

/** The graph in flat arrays, with the texts that Python gave. */
export function flat(graph: OracleGraph, texts: readonly string[]): OrderInput {
  const count = graph.deps.length;
  const dependency_offsets = new Uint32Array(count + 1);
  for (const [id, row] of graph.deps.entries())
    dependency_offsets[id + 1] = dependency_offsets[id]! + row.length;
  const literals = new Uint8Array(count);
  for (const id of graph.literals ?? []) literals[id] = 1;
  return {
    count,
    external_count: graph.keys.length - count,
    dependency_offsets,
    dependencies: Uint32Array.from(graph.deps.flat()),
    literals,
    text: (id) => texts[id]!,
  };
}

/** Demands what any order must give: numbers 0 … count − 1, each dependency before its dependents. */
export function expectValid(graph: OrderInput, order: Int32Array): void {
  const seen = new Uint8Array(graph.count);
  for (const priority of order) seen[priority] = 1;
  expect(seen.indexOf(0)).toBe(-1);
  for (let id = 0; id < graph.count; id++) {
    for (let e = graph.dependency_offsets[id]!; e < graph.dependency_offsets[id + 1]!; e++) {
      const dep = graph.dependencies[e]!;
      if (dep < graph.count && order[dep]! >= order[id]!) expect.fail(`${dep} comes after ${id}`);
    }
  }
}
