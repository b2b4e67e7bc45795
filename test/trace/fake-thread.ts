import { ManualClock } from "../../src/base/clock.ts";
import type { GcListener, GcSource } from "../../src/trace/gc-source.ts";
import { Recorder, type RecorderOptions } from "../../src/trace/recorder.ts";

/** A thread whose clock, waiting and collections the test moves by hand; collections are reported when told. */
export class FakeThread implements GcSource {
  readonly clock = new ManualClock();
  readonly recorder: Recorder;
  /** Collections that happened and were not reported yet: [start, duration]. */
  unreported: [number, number][] = [];
  #idle_ns = 0;
  #turn = 0;
  #listener: GcListener = () => {};

  constructor(options: RecorderOptions = {}) {
    this.recorder = new Recorder({
      clock: this.clock,
      idle: () => this.#idle_ns,
      turn: () => this.#turn,
      gc: this,
      costs: { span_ns: 100, callback_ns: 150, hop_ns: 5 },
      ...options,
    });
  }

  work(ns: number): void {
    this.clock.now_ns += ns;
  }

  wait(ns: number): void {
    this.clock.now_ns += ns;
    this.#idle_ns += ns;
    this.#turn++;
  }

  /** The loop turns and finds work at once: libuv then counts no idle time. */
  turn(ns: number): void {
    this.clock.now_ns += ns;
    this.#turn++;
  }

  collect(ns: number): void {
    this.unreported.push([this.clock.now_ns, ns]);
    this.clock.now_ns += ns;
  }

  report(): void {
    const reports = this.unreported;
    this.unreported = [];
    for (const [start, duration] of reports) this.#listener(start, duration);
  }

  start(listener: GcListener): void {
    this.#listener = listener;
  }

  settle(): Promise<void> {
    this.report();
    return Promise.resolve();
  }

  stop(): void {
    this.#listener = () => {};
  }
}
