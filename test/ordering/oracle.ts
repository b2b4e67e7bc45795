import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { pythonWithDask } from "./python.ts";

/** A key as oracle.py reads it: text, or a kind with its content. */
export type KeySpec = string | ["i", string] | ["f", string] | ["b", string] | ["t", KeySpec[]] | ["n"];

/** A graph for both sides. Ids from `deps.length` on are keys that the graph does not hold. */
export interface OracleGraph {
  readonly keys: readonly KeySpec[];
  readonly deps: readonly (readonly number[])[];
  readonly literals?: readonly number[];
}

/** What Dask's own rules make of a graph. */
export interface OracleAnswer {
  readonly texts: string[];
  readonly order?: number[];
  readonly error?: string;
}

/** Asks dask/order.py of the installed 2026.8.0, with ordered sets, about each graph. */
export function askOracle(graphs: readonly OracleGraph[]): OracleAnswer[] {
  const run = spawnSync(pythonWithDask(), [fileURLToPath(new URL("oracle.py", import.meta.url))], {
    input: graphs.map((graph) => `${JSON.stringify(graph)}\n`).join(""),
    encoding: "utf8",
    maxBuffer: 1 << 30,
  });
  if (run.status !== 0) throw new Error(`oracle.py failed: ${run.error?.message ?? run.stderr}`);
  return run.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as OracleAnswer);
}
