import { PHASE_COUNT } from "./phases.ts";

/** Kinds of events beside the span phases, whose ids are below. */
export const EVENT_CALLBACK = PHASE_COUNT;
export const EVENT_IDLE = PHASE_COUNT + 1;
export const EVENT_GC = PHASE_COUNT + 2;

/** The first spans of a window, callbacks, waits and collections, for a Chrome trace. Plain data: can be cloned. */
export interface EventList {
  /** Beginning of each event, nanoseconds of the recorder's clock. */
  readonly starts: Float64Array;
  /** Its end: the spans within it included. */
  readonly ends: Float64Array;
  /** A span phase's id or one of the EVENT_ constants. */
  readonly kinds: Uint8Array;
  readonly count: number;
  /** Events that found no more room. */
  readonly dropped: number;
}

/** Fills an {@link EventList} up to its capacity and counts the rest. */
export class EventBuffer implements EventList {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly kinds: Uint8Array;
  count = 0;
  dropped = 0;

  constructor(capacity: number) {
    this.starts = new Float64Array(capacity);
    this.ends = new Float64Array(capacity);
    this.kinds = new Uint8Array(capacity);
  }

  push(start: number, end: number, kind: number): void {
    const i = this.count;
    if (i === this.kinds.length) {
      this.dropped++;
      return;
    }
    this.starts[i] = start;
    this.ends[i] = end;
    this.kinds[i] = kind;
    this.count = i + 1;
  }

  /** What was filled in, without the unused room. */
  toList(): EventList {
    return {
      starts: this.starts.slice(0, this.count),
      ends: this.ends.slice(0, this.count),
      kinds: this.kinds.slice(0, this.count),
      count: this.count,
      dropped: this.dropped,
    };
  }
}
