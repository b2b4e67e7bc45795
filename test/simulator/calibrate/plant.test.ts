import { expect, test } from "vitest";
import { Plant, PlantingTracer } from "../../../simulator/calibrate/plant.ts";
import type { GcSource } from "../../../src/trace/gc-source.ts";
import { PHASE } from "../../../src/trace/phases.ts";
import { Recorder } from "../../../src/trace/recorder.ts";

/** A clock that each reading moves by a nanosecond, so that a spin ends. */
class TickingClock {
  now_ns = 1e9;
  now(): number {
    return ++this.now_ns;
  }
}

const NO_GC: GcSource = { start: () => undefined, settle: () => Promise.resolve(), stop: () => undefined };

function rig() {
  const clock = new TickingClock();
  const costs = { span_ns: 0, callback_ns: 0, hop_ns: 0 };
  const recorder = new Recorder({ clock, costs, gc: NO_GC, idle: () => 0, turn: () => 0 });
  const plant = new Plant();
  return { recorder, plant, tracer: new PlantingTracer(recorder, plant) };
}

function work(tracer: PlantingTracer): void {
  tracer.begin("read");
  tracer.enter(PHASE.decode);
  tracer.enter(PHASE.transition);
  tracer.exit();
  tracer.exit();
  tracer.end();
}

test("delays go to the phase that was planted in, and to no other", async () => {
  const { recorder, plant, tracer } = rig();
  recorder.openWindow();
  for (let i = 0; i < 10; i++) work(tracer);
  const without = await recorder.closeWindow();
  plant.arm(PHASE.transition, 500, 1000);
  recorder.openWindow();
  for (let i = 0; i < 10; i++) work(tracer);
  const planted = await recorder.closeWindow();
  const { delays, measured_ns } = plant.within(planted.start_ns, planted.end_ns);
  expect(delays).toBe(10);
  const growth = planted.phase_ns.map((ns, phase) => ns - without.phase_ns[phase]!);
  expect(growth[PHASE.transition]).toBeGreaterThanOrEqual(10 * 500);
  // Some nanoseconds a delay: the readings of the clock at its ends.
  expect(Math.abs(growth[PHASE.transition]! - measured_ns)).toBeLessThanOrEqual(10 * 4);
  expect(growth[PHASE.decode]).toBe(0);
  expect(planted.unattributed_ns).toBe(without.unattributed_ns);
});

test("delays are at most as many as were asked for, none once disarmed, and counted within a window only", () => {
  const { recorder, plant, tracer } = rig();
  plant.arm(PHASE.decode, 100, 3);
  work(tracer);
  const middle_ns = recorder.now();
  for (let i = 0; i < 5; i++) work(tracer);
  expect(plant.within(0, recorder.now()).delays).toBe(3);
  expect(plant.within(middle_ns, recorder.now()).delays).toBe(2);
  plant.disarm();
  work(tracer);
  expect(plant.within(0, recorder.now()).delays).toBe(3);
});
