import { describe, expect, test } from "vitest";
import { GraphMessage, type GraphSource, packGraph } from "../../../simulator/fleet/graph-message.ts";
import { decodeMessage } from "../../../src/protocol/message.ts";
import { Serialized, type WireMap, type WireSet } from "../../../src/protocol/values.ts";
import { mergeGraph } from "./graphs.ts";
import { framedMessages, golden } from "./support.ts";

function decoded(source: GraphSource, priorities: readonly number[] | null, suffix: string): WireMap {
  const chunks = new GraphMessage(packGraph(source, priorities)).chunks(suffix);
  const messages = framedMessages(...chunks);
  expect(messages).toHaveLength(1);
  return (decodeMessage(messages[0]!) as WireMap[])[0]!;
}

function layerOf(message: WireMap): { layer: WireMap; dsk: WireMap; dependencies: WireMap } {
  const layer = ((message.get("hlg") as WireMap).get("layers") as WireMap[])[0]!;
  const state = layer.get("state") as WireMap;
  return { layer, dsk: state.get("dsk") as WireMap, dependencies: state.get("dependencies") as WireMap };
}

describe("a graph message", () => {
  test("has the form of a real client's materialized layers", () => {
    const recorded = (
      decodeMessage(golden("2022.12.1-update-graph-hlg-in-df_groupby-c0s7")) as WireMap[]
    )[0]!;
    const message = decoded(mergeGraph(3), null, "");
    expect(message.keys).toEqual(recorded.keys);
    expect(layerOf(message).layer.keys).toEqual(layerOf(recorded).layer.keys);
    const theirs = layerOf(recorded).dsk.values.find((value) => value instanceof Serialized) as Serialized;
    const ours = layerOf(message).dsk.values[0] as Serialized;
    expect(Buffer.from(ours.header)).toEqual(Buffer.from(theirs.header));
    expect(ours.frames.map((frame) => frame.length)).toEqual([190]);
  });

  test("holds keys, dependencies, wanted keys and the client's order", () => {
    const message = decoded(
      mergeGraph(20, (i) => (i === 7 ? `ü${"x".repeat(300)}` : `add-${i}`)),
      [...Array(21).keys()].map((i) => i * 100),
      "-r1",
    );
    const names = Array.from({ length: 20 }, (_, i) => (i === 7 ? `ü${"x".repeat(300)}-r1` : `add-${i}-r1`));
    const { dsk, dependencies } = layerOf(message);
    expect(dsk.keys).toEqual([...names, "sum-r1"]);
    expect(dependencies.keys).toEqual(dsk.keys);
    expect((dependencies.get("sum-r1") as WireSet).items).toEqual(names);
    expect((dependencies.get("add-3-r1") as WireSet).items).toEqual([]);
    expect(message.get("keys")).toEqual(["sum-r1"]);
    const priority = message.get("priority") as WireMap;
    expect([priority.get("add-0-r1"), priority.get("add-1-r1"), priority.get("sum-r1")]).toEqual([
      0, 100, 2000,
    ]);
  });

  test("gives the wanted keys as the bytes that reports carry", () => {
    const graph = new GraphMessage(packGraph(mergeGraph(2), null));
    expect(graph.wantedKeys("-9").map((key) => Buffer.from(key).toString("latin1"))).toEqual(["\xa5sum-9"]);
  });

  test("encodes a hundred thousand tasks at less than 5 µs each, payload frames not copied", () => {
    const graph = new GraphMessage(packGraph(mergeGraph(100_000), null));
    graph.chunks("-warm");
    const before = process.cpuUsage();
    const chunks = graph.chunks("-1");
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 100_000).toBeLessThan(5);
    expect(new Set(chunks.map((chunk) => chunk.buffer)).size).toBeLessThan(6);
    expect(framedMessages(...chunks)[0]!.frame_count).toBe(200_003);
  });
});
