import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { orderGraph } from "../../src/ordering/index.ts";
import { keyBytes, keyText } from "../../src/protocol/keys.ts";
import { WireFloat, type WireValue } from "../../src/protocol/values.ts";
import { flat } from "./graphs.ts";
import { askOracle, type KeySpec, type OracleGraph } from "./oracle.ts";
import { largeGraph, randomGraph } from "./random-graphs.ts";

const GRAPHS = new URL("../../profiles/graphs/", import.meta.url);

function recorded(name: string): OracleGraph {
  const lines = gunzipSync(readFileSync(new URL(name, GRAPHS)))
    .toString()
    .trimEnd()
    .split("\n")
    .slice(1);
  const rows = lines.map((line) => JSON.parse(line) as [number, string, number[]]);
  return { keys: rows.map(([id, prefix]) => `${prefix}-${id}`), deps: rows.map(([, , deps]) => deps) };
}

function wireKey(spec: KeySpec): WireValue {
  if (typeof spec === "string") return spec;
  switch (spec[0]) {
    case "t":
      return spec[1].map(wireKey);
    case "i":
      return Number(spec[1]);
    case "f":
      return new WireFloat(Number(spec[1]));
    case "b":
      return Uint8Array.from(Buffer.from(spec[1], "hex"));
    case "n":
      return null;
  }
}

describe("orderGraph equals dask.order", () => {
  test("on the recorded graphs", () => {
    const names = readdirSync(GRAPHS);
    expect(names.length).toBeGreaterThan(10);
    const graphs = names.map(recorded);
    for (const [i, answer] of askOracle(graphs).entries()) {
      const order = orderGraph(flat(graphs[i]!, answer.texts));
      expect({ graph: names[i], order: [...order] }).toEqual({ graph: names[i], order: answer.order });
    }
  });

  test.each([0, 1, 2, 3])("on 1,000 random graphs, batch %i", (batch) => {
    const seeds = Array.from({ length: 1000 }, (_, i) => batch * 1000 + i);
    const graphs = seeds.map(randomGraph);
    for (const [i, answer] of askOracle(graphs).entries()) {
      const graph = graphs[i]!;
      expect({ seed: seeds[i], order: [...orderGraph(flat(graph, answer.texts))] }).toEqual({
        seed: seeds[i],
        order: answer.order,
      });
    }
  });

  test("on larger random graphs", () => {
    const graphs = Array.from({ length: 20 }, (_, seed) => largeGraph(seed));
    for (const [seed, answer] of askOracle(graphs).entries())
      expect({ seed, order: [...orderGraph(flat(graphs[seed]!, answer.texts))] }).toEqual({
        seed,
        order: answer.order,
      });
  });

  test("with the texts that keys have in Python", () => {
    const graphs = Array.from({ length: 100 }, (_, seed) => randomGraph(seed));
    for (const [i, answer] of askOracle(graphs).entries())
      expect(graphs[i]!.keys.map((spec) => keyText(keyBytes(wireKey(spec))))).toEqual(answer.texts);
  });
});
