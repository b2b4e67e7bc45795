import { PerformanceObserver } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";

/** Called for each collection with its start on the recorder's clock and its length. */
export type GcListener = (start_ns: number, duration_ns: number) => void;

/** Where collections are learned of. They may be reported late, but are after `settle`. */
export interface GcSource {
  start(listener: GcListener): void;
  /** Resolves when every collection that ended before the call has been reported. */
  settle(): Promise<void>;
  stop(): void;
}

/** The collections of this thread's V8 isolate. `offset_ns` turns `performance.now()` into the recorder's clock. */
export class ObservedGc implements GcSource {
  readonly #offset_ns: number;
  #observer: PerformanceObserver | null = null;
  #listener: GcListener = () => {};

  constructor(offset_ns: number) {
    this.#offset_ns = offset_ns;
  }

  start(listener: GcListener): void {
    this.#listener = listener;
    this.#observer = new PerformanceObserver((list) => this.#report(list.getEntries()));
    this.#observer.observe({ entryTypes: ["gc"] });
  }

  async settle(): Promise<void> {
    // Node hands an entry to the observer in an immediate of its own that runs before those of JavaScript;
    // the second turn covers a collection that the first one caused.
    await setImmediate();
    await setImmediate();
    const observer = this.#observer;
    if (observer !== null) this.#report(observer.takeRecords());
  }

  stop(): void {
    this.#observer?.disconnect();
    this.#observer = null;
  }

  #report(entries: readonly { readonly startTime: number; readonly duration: number }[]): void {
    for (const { startTime, duration } of entries) {
      this.#listener(startTime * 1e6 + this.#offset_ns, duration * 1e6);
    }
  }
}
