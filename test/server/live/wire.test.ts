import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../../src/protocol/errors.ts";
import { WireMap, type WireValue } from "../../../src/protocol/values.ts";
import type { LiveFacts, LiveWindow } from "../../../src/server/live/window.ts";
import { windowFromWire, windowToWire } from "../../../src/server/live/wire.ts";
import { HOP, PHASE, STAMP } from "../../../src/trace/phases.ts";
import { Recorder } from "../../../src/trace/recorder.ts";
import { TaskRows } from "../../../src/trace/task-rows.ts";
import { received } from "./received.ts";

async function windowOf(spans: readonly number[]): Promise<LiveWindow> {
  const recorder = new Recorder();
  recorder.openWindow();
  for (const ns of spans) {
    recorder.begin("read");
    recorder.enter(PHASE.decode);
    recorder.exit();
    recorder.hop(HOP.startStop, ns);
    recorder.end();
  }
  const figures = await recorder.closeWindow();
  recorder.close();
  const rows = new TaskRows();
  for (const [row, ns] of spans.entries()) {
    rows.stamp(row, STAMP.known, ns);
    if (row % 2 === 0) rows.worker(row, row % 3);
  }
  const facts = { trace: "tasks", version: "1.2.3", graphs: [] } as unknown as LiveFacts;
  return { facts, figures, tasks: { rows, key: (row) => `('x', ${row})`, worker: (i) => `tcp://w:${i}` } };
}

test("a window is the same behind the wire, every counter of it", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: 0, max: 2e11, noNaN: true }), { maxLength: 30 }),
      async (spans) => {
        const window = await windowOf(spans);
        const back = windowFromWire(received(windowToWire(window)));
        expect(back.facts).toEqual(window.facts);
        const { events, hop_histograms, phase_histograms, ...numbers } = window.figures;
        expect(back.figures).toMatchObject({
          phase_ns: numbers.phase_ns,
          probe: numbers.probe,
          unattributed_ns: numbers.unattributed_ns,
        });
        const parts = (list: LiveWindow["figures"]["hop_histograms"]) =>
          list.map((h) => [h.count, h.max, ...h.steps()]);
        expect(parts(back.figures.hop_histograms)).toEqual(parts(hop_histograms));
        expect(parts(back.figures.phase_histograms)).toEqual(parts(phase_histograms));
        expect([...back.figures.events.starts]).toEqual([...events.starts]);
        expect(back.tasks?.rows.count).toBe(spans.length);
        for (const [row, ns] of spans.entries()) {
          expect(back.tasks?.rows.stampOf(row, STAMP.known)).toBe(ns);
          expect(back.tasks?.rows.stampOf(row, STAMP.client)).toBeNaN();
          expect(back.tasks?.rows.workerOf(row)).toBe(row % 2 === 0 ? row % 3 : -1);
          expect(back.tasks?.key(row)).toBe(`('x', ${row})`);
        }
      },
    ),
    { numRuns: 20 },
  );
});

describe("what is no window is a fault of the peer's", () => {
  test.each<[string, WireValue]>([
    ["schema", "rsds.window/0"],
    ["facts", "{"],
    ["facts", 3],
    ["numbers", Uint8Array.of(1, 2, 3)],
    ["phase_ns", []],
    ["histograms", [Uint8Array.of(1, 0, 0, 0)]],
    ["maxima", null],
    ["events", [null, null, Uint8Array.of(1), 0]],
    [
      "tasks",
      WireMap.of({ keys: ["a"], workers: [], worker_of: new Uint8Array(4), stamps: new Uint8Array(8) }),
    ],
    ["tasks", 1],
  ])("%s", async (field, value) => {
    const wire = windowToWire(await windowOf([1, 2]));
    wire.set(field, value);
    expect(() => windowFromWire(wire)).toThrow(ProtocolError);
  });

  test("a histogram whose counters lie beyond its maximum", async () => {
    const wire = windowToWire(await windowOf([1, 2]));
    const lists = wire.get("histograms") as Uint8Array[];
    wire.set(
      "histograms",
      lists.map(() => new Uint8Array(Uint32Array.of(5_000, 1).buffer)),
    );
    expect(() => windowFromWire(wire)).toThrow(/histogram/);
  });
});
