import { describe, expect, test } from "vitest";
import { packValue, unpackValue } from "../../../src/protocol/msgpack.ts";
import { RawValue, WireFloat, WireMap, type WireValue } from "../../../src/protocol/values.ts";
import { spanOf } from "../../../src/server/spans/annotation.ts";
import { Span } from "../../../src/server/spans/span.ts";

const annotated = (span: WireValue): WireMap => WireMap.of({ span });

describe("the annotation of a span", () => {
  test("names the span and those around it", () => {
    const map = WireMap.of({ name: ["a", "b"], ids: ["1", "2"] });
    for (const value of [map, new RawValue(packValue(map))]) {
      const span = spanOf(annotated(value));
      expect(span).toMatchObject({ name: ["a", "b"], ids: ["1", "2"] });
      expect(unpackValue(span!.id_bytes)).toBe("2");
    }
  });

  test.each<[string, WireValue]>([
    ["a text", "a"],
    ["no ids", WireMap.of({ name: ["a"] })],
    ["ids that are not as many as the names", WireMap.of({ name: ["a"], ids: ["1", "2"] })],
    ["no names", WireMap.of({ name: [], ids: [] })],
    ["ids that are numbers", WireMap.of({ name: ["a"], ids: [1] })],
  ])("is none where it has %s", (_what, value) => {
    expect(spanOf(annotated(value))).toBeNull();
  });
});

describe("a span", () => {
  test("counts the groups beyond a thousand as one", () => {
    const span = new Span(["a"], "1", null, 0);
    for (let i = 0; i < 1500; i++) span.group(`name-${i}`).states[5]!++;
    expect(span.groups.size).toBe(1001);
    expect(span.groups.get("Other")?.states[5]).toBe(500);
  });

  test("adds up what workers measured, counts as integers", () => {
    const span = new Span(["a"], "1", null, 0);
    for (let i = 0; i < 2; i++) {
      span.measured(["execute", "x", "memory-read", "count"], 3);
      span.measured(["execute", "x", "thread-cpu", "seconds"], new WireFloat(1));
      span.measured(["execute", "x", "broken", "seconds"], "a text");
    }
    expect(span.wire().get("metrics")).toEqual([
      [["execute", "x", "memory-read", "count"], 6],
      [["execute", "x", "thread-cpu", "seconds"], new WireFloat(2)],
    ]);
  });
});
