import { EventBuffer, type EventList } from "./events.ts";
import { Histogram, type HistogramParts } from "./histogram.ts";
import { HOP_COUNT, PHASE_COUNT } from "./phases.ts";
import { CLASS_COUNT } from "./segments.ts";
import type { LargeMessage } from "./tracer.ts";

/** What one window showed. Nanoseconds; the histograms belong to whoever holds the figures. */
export interface WindowFigures {
  /** The window's ends on the recorder's clock. */
  readonly start_ns: number;
  readonly end_ns: number;
  /** Exclusive time by span phase id, collections taken out. */
  readonly phase_ns: Float64Array;
  readonly gc_ns: number;
  /** What libuv says it waited. */
  readonly idle_ns: number;
  /** The window less everything above: time that cannot be tied to a phase. */
  readonly unattributed_ns: number;
  /** The same as it was measured, for a cross-check: they differ by rounding and by what was reported too late. */
  readonly unclaimed_ns: number;
  /** By span phase id: the exclusive time of each span, collections within it included; a read's gap is a span. */
  readonly phase_histograms: readonly Histogram[];
  readonly gc_histogram: Histogram;
  /** Each wait of the loop. */
  readonly idle_histogram: Histogram;
  /** Busy time of each turn of the loop that called back, from its wake-up to the last callback's end. */
  readonly turn_histogram: Histogram;
  /** The longest of those without a large message. */
  readonly plain_turn_max_ns: number;
  /** Each with the length of the turn in which it came or went; the longest {@link LARGE_MESSAGES_MAX}. */
  readonly large_messages: readonly LargeMessageTurn[];
  /** By hop id. */
  readonly hop_histograms: readonly Histogram[];
  /** What the recording itself cost: `cost_ns` is that of an empty span, `total_ns` an estimate for all probes. */
  readonly probe: { readonly cost_ns: number; readonly count: number; readonly total_ns: number };
  readonly events: EventList;
  /** Collections that were reported after their time had left the ring: still within what they interrupted. */
  readonly gc_unplaced_ns: number;
  /** Spans and callbacks that were not ended by their owner. Other than 0 it is a defect of the caller. */
  readonly unbalanced: number;
}

export interface LargeMessageTurn extends LargeMessage {
  readonly turn_ns: number;
}

const LARGE_MESSAGES_MAX = 100;

/** {@link WindowFigures} as `postMessage` can carry it. */
export type FiguresMessage = {
  readonly [K in keyof WindowFigures]: WindowFigures[K] extends Histogram
    ? HistogramParts
    : WindowFigures[K] extends readonly Histogram[]
      ? readonly HistogramParts[]
      : WindowFigures[K];
};

export function figuresToMessage(figures: WindowFigures): FiguresMessage {
  return {
    ...figures,
    phase_histograms: figures.phase_histograms.map((h) => h.parts()),
    hop_histograms: figures.hop_histograms.map((h) => h.parts()),
    gc_histogram: figures.gc_histogram.parts(),
    idle_histogram: figures.idle_histogram.parts(),
    turn_histogram: figures.turn_histogram.parts(),
  };
}

export function figuresFromMessage(message: FiguresMessage): WindowFigures {
  return {
    ...message,
    phase_histograms: message.phase_histograms.map((parts) => Histogram.of(parts)),
    hop_histograms: message.hop_histograms.map((parts) => Histogram.of(parts)),
    gc_histogram: Histogram.of(message.gc_histogram),
    idle_histogram: Histogram.of(message.idle_histogram),
    turn_histogram: Histogram.of(message.turn_histogram),
  };
}

/** The books of one window while it is written. */
export class Books {
  start_ns: number;
  /** Infinite while the window is open. */
  end_ns = Number.POSITIVE_INFINITY;
  /** By class of time: the span phases and UNCLAIMED. */
  readonly class_ns = new Float64Array(CLASS_COUNT);
  // Begun as fractions, zeroed below: V8 would lay the object out anew for the first fraction, and throw the code that
  // was compiled for the old layout away.
  idle_ns = Number.NaN;
  gc_ns = Number.NaN;
  gc_unplaced_ns = Number.NaN;
  plain_turn_max_ns = Number.NaN;
  unbalanced = 0;
  spans = 0;
  callbacks = 0;
  hop_calls = 0;
  readonly phases = histograms(PHASE_COUNT);
  readonly hops = histograms(HOP_COUNT);
  readonly gc = new Histogram();
  readonly idle = new Histogram();
  readonly turns = new Histogram();
  large_messages: LargeMessageTurn[] = [];
  /** Of the present turn. */
  large_now: LargeMessage[] = [];
  readonly events: EventBuffer;

  constructor(start_ns: number, event_count_max: number) {
    this.start_ns = start_ns;
    this.idle_ns = 0;
    this.gc_ns = 0;
    this.gc_unplaced_ns = 0;
    this.plain_turn_max_ns = 0;
    this.events = new EventBuffer(event_count_max);
  }

  /** A turn of the loop is over. */
  turn(ns: number): void {
    this.turns.recordMany(ns, 1);
    if (this.large_now.length === 0) {
      this.plain_turn_max_ns = Math.max(this.plain_turn_max_ns, ns);
      return;
    }
    for (const message of this.large_now) this.large_messages.push({ ...message, turn_ns: ns });
    this.large_now = [];
    if (this.large_messages.length > 2 * LARGE_MESSAGES_MAX)
      this.large_messages = longest(this.large_messages);
  }
}

/** The longest turns of large messages, so that the list stays bounded in a window of days. */
export function longest(messages: readonly LargeMessageTurn[]): LargeMessageTurn[] {
  return messages.toSorted((a, b) => b.turn_ns - a.turn_ns).slice(0, LARGE_MESSAGES_MAX);
}

function histograms(count: number): Histogram[] {
  return Array.from({ length: count }, () => new Histogram());
}
