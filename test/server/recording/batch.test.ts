import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WireMap } from "../../../src/protocol/values.ts";
import { batchFromWire, batchToWire, type RecordedBatch } from "../../../src/server/recording/batch.ts";
import { received } from "../live/received.ts";

/** Graphs of up to five tasks, the first of which may be from outside. */
const graphs = fc
  .record({
    times: fc.tuple(fc.double({ noNaN: true }), fc.double({ noNaN: true })),
    client: fc.nat(),
    first_row: fc.nat(),
    tasks: fc.array(fc.record({ prefix: fc.nat(), dependencies: fc.array(fc.nat()) }), { maxLength: 5 }),
    outside: fc.nat({ max: 5 }),
    wanted: fc.array(fc.nat()),
  })
  .map(({ times, client, first_row, tasks, outside, wanted }) => {
    const few = Math.min(outside, tasks.length);
    const places = Float64Array.from(tasks, (_, i) => -i / 3);
    return {
      ...{ submitted_ns: times[0], known_ns: times[1], client, first_row, outside: few },
      prefixes: Uint32Array.from(tasks, ({ prefix }) => prefix),
      ...{ user_priorities: places, generations: places, orders: places },
      dependency_counts: Uint32Array.from(tasks, ({ dependencies }) => dependencies.length),
      dependencies: Uint32Array.from(tasks.flatMap(({ dependencies }) => dependencies)),
      wanted: Uint32Array.from(wanted),
      outside_nbytes: new Float64Array(few).fill(-1),
      outside_workers: new Float64Array(few),
    };
  });

const batches: fc.Arbitrary<RecordedBatch> = fc.record({
  workers: fc.array(fc.record({ threads: fc.nat(), release: fc.string() })),
  prefixes: fc.array(fc.string()),
  graphs: fc.array(graphs, { maxLength: 3 }),
  events: fc.float64Array(),
  payloads: fc.array(
    fc.record({ row: fc.nat(), key: fc.string(), form: fc.string(), frames: fc.array(fc.uint8Array()) }),
  ),
  end: fc.option(fc.string()),
});

describe("a batch on the wire", () => {
  test("is read as it was written", () => {
    fc.assert(
      fc.property(batches, (batch) => {
        expect(batchFromWire(received(batchToWire(batch)))).toEqual(batch);
      }),
    );
  });

  test.each([
    ["another schema", { schema: "rsds.recording/0" }],
    ["no list of graphs", { graphs: null }],
    ["a column that is cut off", { events: new Uint8Array(9) }],
    ["a graph without columns", { graphs: [[new Uint8Array(16), 0, 0, 0]] }],
    ["an end that is no text", { end: 5 }],
  ])("is refused with %s", (_what, wrong) => {
    const nothing = { workers: [], prefixes: [], graphs: [], payloads: [], end: null };
    const map = batchToWire({ ...nothing, events: new Float64Array(0) });
    for (const [name, value] of Object.entries(wrong)) map.set(name, value);
    expect(() => batchFromWire(received(map))).toThrow(/what the scheduler recorded cannot be read/);
  });

  test("is refused where a graph's columns do not fit", () => {
    const graph = fc.sample(graphs, { numRuns: 50, seed: 3 }).find(({ prefixes }) => prefixes.length > 2)!;
    const nothing = { workers: [], prefixes: [], events: new Float64Array(0), payloads: [], end: null };
    const short = { ...graph, orders: graph.orders.subarray(1) };
    const map = batchToWire({ ...nothing, graphs: [short] });
    expect(() => batchFromWire(received(map))).toThrow(/columns are of different length/);
    expect(map).toBeInstanceOf(WireMap);
  });
});
