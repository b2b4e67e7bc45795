import { describe, expect, test } from "vitest";
import { NONE, type TaskId } from "../../src/base/ids.ts";
import type { GraphBuilder } from "../../src/core/graph-builder.ts";
import { PAYLOAD_SERIALIZED, Segments } from "../../src/core/payloads.ts";
import { World } from "./world.ts";

describe("segments", () => {
  test("tell when the last payload is gone, once", () => {
    const segments = new Segments();
    let told = 0;
    const id = segments.add(new Uint8Array(8), () => told++);
    segments.retain(id);
    segments.release(id);
    expect(told).toBe(0);
    segments.release(id);
    expect([told, segments.live_bytes]).toEqual([1, 0]);
    // The number is used again, for one that nobody asks after.
    expect(segments.add(new Uint8Array(4))).toBe(id);
    segments.release(id);
    expect(told).toBe(1);
  });

  test("do not tell of one whose bytes others refer to", () => {
    const segments = new Segments();
    let told = 0;
    const id = segments.add(new Uint8Array(8), () => told++);
    segments.lend(id);
    segments.lend(NONE);
    segments.release(id);
    expect([told, segments.live_bytes]).toEqual([0, 0]);
    // The next one with its number is not lent.
    expect(segments.add(new Uint8Array(8), () => told++)).toBe(id);
    segments.release(id);
    expect(told).toBe(1);
  });
});

describe("a graph's buffer", () => {
  const KEY = Uint8Array.of(0xa1, 0x61);

  /** One task of a fresh scheduler, as `take` leaves the builder; how often its buffer was said to be unused. */
  function unusedAfter(take: (builder: GraphBuilder, task: TaskId) => void): { told: number; world: World } {
    const world = new World();
    const result = { told: 0, world };
    const client = world.scheduler.clientJoined("bob");
    const builder = world.scheduler.graph({
      client,
      buffer: new Uint8Array(64),
      onBufferUnused: () => result.told++,
      generation: 1,
      user_priority: 0,
    });
    const task = builder.internKey(KEY);
    const payload = { kind: PAYLOAD_SERIALIZED, offset: 0, header_bytes: 8, body_bytes: 8 };
    builder.define(task, payload, [], 0, 0, 0);
    take(builder, task);
    if (world.scheduler.books.tasks.live > 0) {
      expect(result.told).toBe(0);
      world.scheduler.clientReleasesKey(client, task);
    }
    world.scheduler.endBatch();
    expect(world.scheduler.books.tasks.live).toBe(0);
    return result;
  }

  test("is unused once its last task is forgotten", () => {
    expect(unusedAfter((builder, task) => builder.commit([task])).told).toBe(1);
  });

  test("is left to the collector where annotations refer to it", () => {
    const { told } = unusedAfter((builder, task) => {
      builder.annotate(task, { message: new Uint8Array(1) });
      builder.commit([task]);
    });
    expect(told).toBe(0);
  });

  test("is left to whoever reads the message anew where the graph was given up", () => {
    expect(unusedAfter((builder) => builder.abort()).told).toBe(0);
  });
});
