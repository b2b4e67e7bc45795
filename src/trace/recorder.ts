import { performance } from "node:perf_hooks";
import { InvariantError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { MonotonicClock } from "./clock.ts";
import { EVENT_CALLBACK, EVENT_GC, EVENT_IDLE } from "./events.ts";
import { Books, longest, type WindowFigures } from "./figures.ts";
import { type GcSource, ObservedGc } from "./gc-source.ts";
import { HOP_COUNT, type Hop, PHASE, PHASE_COUNT, type Phase } from "./phases.ts";
import { measureProbeCosts, type ProbeCosts } from "./probe-cost.ts";
import { Segments, UNCLAIMED } from "./segments.ts";
import type { Cause, LargeMessage, Tracer } from "./tracer.ts";

/** Deeper nesting than this means that somebody enters and never exits. */
const DEPTH_MAX = 200;

/** Collections are reported some 110 ms late; a boundary a microsecond is about the most that a run makes. */
const SEGMENT_CAPACITY = 1 << 17;

/** Collections that can still be taken back at a window's edges. */
const COLLECTION_CAPACITY = 1 << 12;

const EVENT_COUNT_MAX = 1 << 14;

export interface RecorderOptions {
  /** Nanoseconds; the machine's monotonic clock unless given. */
  readonly clock?: Clock;
  /** libuv's idle time so far, in nanoseconds. */
  readonly idle?: () => number;
  /** A number that is another one in each turn of the loop. */
  readonly turn?: () => number;
  readonly gc?: GcSource;
  readonly segment_capacity?: number;
  /** Events that are kept for the Chrome trace, for each window. */
  readonly event_count_max?: number;
  /** Costs of the probes, measured at construction unless given. */
  readonly costs?: ProbeCosts;
}

/**
 * Records where one thread's time goes. Every nanosecond of a window is booked once: on the span entered last, or
 * on libuv's waiting, or on what the loop did before a callback (see {@link Cause}), or on nothing. One instance a
 * thread; figures of an open window are complete only once `closeWindow` has resolved, since collections are
 * reported late.
 */
export class Recorder implements Tracer {
  readonly #clock: Clock;
  readonly #idle: () => number;
  readonly #turn: () => number;
  readonly #gc: GcSource;
  readonly #segments: Segments;
  readonly #collections = new Segments(COLLECTION_CAPACITY);
  readonly #event_count_max: number;
  readonly #costs: ProbeCosts;

  /** Class of each open span; UNCLAIMED marks a callback. */
  readonly #stack = new Uint8Array(DEPTH_MAX);
  readonly #entered = new Float64Array(DEPTH_MAX);
  /** Exclusive time of each open span so far. */
  readonly #own = new Float64Array(DEPTH_MAX);
  /** 1 where a callback began with a span of its own: the two end at one reading, too. */
  readonly #spans_whole = new Uint8Array(DEPTH_MAX);
  #depth = 0;
  // Begun as fractions, for the sake of the object's layout: see Books.
  /** The last boundary. */
  #last = Number.NaN;
  #idle_seen = Number.NaN;
  #turn_start = Number.NaN;
  #turn_seen = 0;
  /** By hop: how long the last task took, NaN for none, and how many before it in a row did, who are not recorded yet. */
  readonly #run_ns = new Float64Array(HOP_COUNT).fill(Number.NaN);
  readonly #run_count = new Float64Array(HOP_COUNT);
  /** Collections reported within the present gap, whose class its end will tell. */
  #gap_gc_ns = Number.NaN;
  #books: Books;
  /** The window whose late collections are awaited. */
  #closing: Books | null = null;
  #open = false;

  constructor(options: RecorderOptions = {}) {
    const clock = options.clock ?? new MonotonicClock();
    this.#clock = clock;
    this.#idle = options.idle ?? libuvIdleNs;
    this.#turn = options.turn ?? loopTurn();
    this.#gc = options.gc ?? new ObservedGc(clock instanceof MonotonicClock ? clock.offset_ns : 0);
    this.#segments = new Segments(options.segment_capacity ?? SEGMENT_CAPACITY);
    this.#event_count_max = options.event_count_max ?? EVENT_COUNT_MAX;
    this.#last = clock.now();
    this.#turn_start = this.#last;
    this.#idle_seen = this.#idle();
    this.#turn_seen = this.#turn();
    this.#gap_gc_ns = 0;
    this.#books = new Books(this.#last, 0);
    this.#costs = options.costs ?? measureProbeCosts(this);
    this.#gc.start((start, duration) => this.#collected(start, start + duration));
  }

  /** Starts a window: what was recorded before is forgotten. Returns its beginning. */
  openWindow(): number {
    if (this.#open || this.#closing !== null) throw new InvariantError("a window is still open");
    const now = this.#flush();
    this.#recordRuns();
    this.#segments.reset();
    this.#collections.reset();
    this.#books = new Books(now, this.#event_count_max);
    this.#own.fill(0);
    this.#turn_start = now;
    this.#open = true;
    return now;
  }

  /**
   * Ends the window and resolves when the collector's reports for it are in. The window may be narrowed to what
   * the run's own stamps say: time before `start_ns` and after `end_ns` is taken back, as far as the ring of
   * segments reaches; counts and histograms keep the few spans at the edges.
   */
  async closeWindow(edges: { start_ns?: number; end_ns?: number } = {}): Promise<WindowFigures> {
    if (!this.#open) throw new InvariantError("no window is open");
    const now = this.#flush();
    this.#recordRuns();
    const books = this.#books;
    this.#open = false;
    books.turn(now - this.#turn_start);
    const opened = books.start_ns;
    const start = Math.min(Math.max(edges.start_ns ?? opened, opened), now);
    const end = Math.max(Math.min(edges.end_ns ?? now, now), start);
    books.start_ns = start;
    books.end_ns = end;
    // What cannot be taken back any more stays in, and the window stays so much longer.
    const missing = this.#takeBack(books, opened, start) + this.#takeBack(books, end, now);
    this.#closing = books;
    this.#books = new Books(now, 0);
    try {
      await this.#gc.settle();
    } finally {
      this.#closing = null;
    }
    return this.#figures(books, start - missing, end);
  }

  /** Stops listening to the collector. */
  close(): void {
    this.#gc.stop();
  }

  now(): number {
    return this.#clock.now();
  }

  begin(cause: Cause, phase?: Phase): number {
    const now = this.#clock.now();
    if (this.#depth > 0) {
      if (this.#turn() === this.#turn_seen) {
        this.#boundary(now);
        this.#pushCallback(now, phase);
        return now;
      }
      // The loop has turned since, so whoever is on the stack has returned without saying so.
      this.#books.unbalanced += this.#depth;
      this.#depth = 0;
    }
    this.#closeGap(now, causeClass(cause));
    this.#pushCallback(now, phase);
    return now;
  }

  #pushCallback(now: number, phase: Phase | undefined): void {
    this.#push(UNCLAIMED, now);
    this.#spans_whole[this.#depth - 1] = phase === undefined ? 0 : 1;
    if (phase !== undefined) this.#push(phase, now);
  }

  end(): number {
    const now = this.#clock.now();
    if (this.#depth === 0) {
      this.#books.unbalanced++;
      return now;
    }
    this.#boundary(now);
    // The span that began with the callback.
    if (
      this.#depth > 1 &&
      this.#spans_whole[this.#depth - 2] === 1 &&
      this.#stack[this.#depth - 1] !== UNCLAIMED
    )
      this.#pop(now);
    while (this.#stack[this.#depth - 1] !== UNCLAIMED) {
      this.#books.unbalanced++;
      this.#pop(now);
      if (this.#depth === 0) return now;
    }
    this.#depth--;
    this.#books.callbacks++;
    this.#books.events.push(this.#entered[this.#depth]!, now, EVENT_CALLBACK);
    return now;
  }

  enter(phase: Phase): number {
    const now = this.#clock.now();
    if (this.#depth === 0) this.#closeGap(now, UNCLAIMED);
    else this.#boundary(now);
    this.#push(phase, now);
    return now;
  }

  exit(): number {
    const now = this.#clock.now();
    this.#leave(now);
    return now;
  }

  swap(phase: Phase): number {
    const now = this.#clock.now();
    if (this.#leave(now)) this.#push(phase, now);
    return now;
  }

  /** Ends the span entered last; false where none is open in this callback. */
  #leave(now: number): boolean {
    if (this.#depth === 0 || this.#stack[this.#depth - 1] === UNCLAIMED) {
      this.#books.unbalanced++;
      return false;
    }
    this.#boundary(now);
    this.#pop(now);
    return true;
  }

  hop(hop: Hop, ns: number): void {
    // Stamps are a batch's, so most tasks took as long as the one before: those are counted, and recorded together.
    if (ns === this.#run_ns[hop]!) {
      this.#run_count[hop] = this.#run_count[hop]! + 1;
      return;
    }
    // The stamp that it begins with was not taken: the tracing was switched on between the two.
    if (Number.isNaN(ns)) return;
    this.#recordRun(hop);
    this.#run_ns[hop] = ns;
    this.#run_count[hop] = 1;
  }

  #recordRun(hop: number): void {
    const count = this.#run_count[hop]!;
    if (count === 0) return;
    this.#run_count[hop] = 0;
    this.#books.hop_calls += count;
    this.#books.hops[hop]!.recordMany(this.#run_ns[hop]!, count);
  }

  #recordRuns(): void {
    for (let hop = 0; hop < HOP_COUNT; hop++) this.#recordRun(hop);
    this.#run_ns.fill(Number.NaN);
  }

  largeMessage(message: LargeMessage): void {
    this.#books.large_now.push(message);
  }

  hops(hop: Hop, ns: number, count: number): void {
    if (count === 0) return;
    this.#books.hop_calls++;
    this.#books.hops[hop]!.recordMany(ns, count);
  }

  #push(kind: number, now: number): void {
    const depth = this.#depth;
    if (depth === DEPTH_MAX) throw new InvariantError("spans are nested too deep: an exit is missing");
    this.#stack[depth] = kind;
    this.#entered[depth] = now;
    this.#own[depth] = 0;
    this.#depth = depth + 1;
  }

  /** Ends the span on top; its time up to now is booked already. */
  #pop(now: number): void {
    const depth = this.#depth - 1;
    const kind = this.#stack[depth]!;
    const books = this.#books;
    this.#depth = depth;
    books.spans++;
    books.phases[kind]!.recordMany(this.#own[depth]!, 1);
    books.events.push(this.#entered[depth]!, now, kind);
  }

  /** Books the time since the last boundary on the span on top. */
  #boundary(now: number): void {
    const last = this.#last;
    const elapsed = now - last;
    if (!(elapsed > 0)) return;
    const top = this.#depth - 1;
    const kind = this.#stack[top]!;
    this.#own[top] = this.#own[top]! + elapsed;
    this.#books.class_ns[kind] = this.#books.class_ns[kind]! + elapsed;
    this.#segments.push(last, now, 0, kind);
    this.#last = now;
  }

  /** Books the time outside callbacks since the last boundary: what libuv waited, and the rest on `kind`. */
  #closeGap(now: number, kind: number): void {
    const last = this.#last;
    const idle_now = this.#idle();
    const turn_now = this.#turn();
    const books = this.#books;
    const gap = Math.max(0, now - last);
    const waited = Math.min(gap, Math.max(0, idle_now - this.#idle_seen));
    const busy = gap - waited;
    this.#idle_seen = idle_now;
    this.#last = last + gap;
    this.#segments.push(last, last + gap, waited, kind);
    books.class_ns[kind] = books.class_ns[kind]! + busy - this.#gap_gc_ns;
    this.#gap_gc_ns = 0;
    if (waited > 0) {
      books.idle_ns += waited;
      books.idle.recordMany(waited, 1);
      books.events.push(last, last + waited, EVENT_IDLE);
    }
    if (turn_now !== this.#turn_seen) {
      this.#turn_seen = turn_now;
      books.turn(last - this.#turn_start);
      this.#turn_start = now - busy;
    }
    if (kind < PHASE_COUNT) {
      books.phases[kind]!.recordMany(busy, 1);
      books.events.push(now - busy, now, kind);
    }
  }

  /** Books everything up to now, whatever is open. */
  #flush(): number {
    const now = this.#clock.now();
    if (this.#depth > 0) this.#boundary(now);
    else this.#closeGap(now, UNCLAIMED);
    return now;
  }

  /** Takes the time of [from, to) out of the books; returns how much of it is not in the ring any more. */
  #takeBack(books: Books, from: number, to: number): number {
    if (to <= from) return 0;
    this.#collections.within(from, to, (_, ns, __, start) => {
      books.gc_ns -= ns;
      this.#segments.within(start, start + ns, (kind, busy, idle) => {
        books.class_ns[kind] = books.class_ns[kind]! + busy + idle;
      });
    });
    return this.#segments.within(from, to, (kind, busy, idle) => {
      books.class_ns[kind] = books.class_ns[kind]! - busy;
      books.idle_ns -= idle;
    });
  }

  /** A collection is reported: its time moves from what it interrupted to the collector. */
  #collected(start: number, end: number): void {
    if (this.#closing !== null) this.#moveToGc(this.#closing, start, end);
    if (this.#open) this.#moveToGc(this.#books, start, end);
  }

  #moveToGc(books: Books, start: number, end: number): void {
    const from = Math.max(start, books.start_ns);
    const to = Math.min(end, books.end_ns);
    if (to <= from) return;
    let placed = 0;
    const booked_until = Math.min(to, this.#last);
    let unplaced = 0;
    if (booked_until > from) {
      unplaced = this.#segments.within(from, booked_until, (kind, busy, idle) => {
        // The collector never runs while libuv waits: where the segment's idle part is thought to be, it was not.
        books.class_ns[kind] = books.class_ns[kind]! - busy - idle;
        placed += busy + idle;
      });
    }
    const unbooked = to - Math.max(from, this.#last);
    if (unbooked > 0) {
      placed += unbooked;
      if (this.#depth === 0) this.#gap_gc_ns += unbooked;
      else {
        const kind = this.#stack[this.#depth - 1]!;
        books.class_ns[kind] = books.class_ns[kind]! - unbooked;
      }
    }
    this.#collections.push(from, to, 0, 0);
    books.gc_ns += placed;
    books.gc_unplaced_ns += unplaced;
    books.gc.record(to - from);
    books.events.push(from, to, EVENT_GC);
  }

  #figures(books: Books, start_ns: number, end_ns: number): WindowFigures {
    // A class below zero: a window's end cut a gap, a collection lay where the wait was assumed, so the wait lay
    // elsewhere (or it is rounding). What was taken too much from the class is taken from the wait instead.
    const overdrawn = books.class_ns.reduce((sum, ns) => sum + Math.min(0, ns), 0);
    const class_ns = books.class_ns.map((ns) => Math.max(0, ns));
    const phase_ns = class_ns.slice(0, PHASE_COUNT);
    const idle_ns = Math.max(0, books.idle_ns + overdrawn);
    const attributed = phase_ns.reduce((sum, ns) => sum + ns, 0) + idle_ns + books.gc_ns;
    const { span_ns, callback_ns, hop_ns } = this.#costs;
    return {
      start_ns,
      end_ns,
      phase_ns,
      gc_ns: books.gc_ns,
      idle_ns,
      unclaimed_ns: class_ns[UNCLAIMED]!,
      unattributed_ns: end_ns - start_ns - attributed,
      phase_histograms: books.phases,
      gc_histogram: books.gc,
      idle_histogram: books.idle,
      turn_histogram: books.turns,
      plain_turn_max_ns: books.plain_turn_max_ns,
      large_messages: longest(books.large_messages),
      hop_histograms: books.hops,
      probe: {
        cost_ns: span_ns,
        count: books.spans + books.callbacks + books.hop_calls,
        total_ns: books.spans * span_ns + books.callbacks * callback_ns + books.hop_calls * hop_ns,
      },
      events: books.events.toList(),
      gc_unplaced_ns: books.gc_unplaced_ns,
      unbalanced: books.unbalanced,
    };
  }
}

function causeClass(cause: Cause): number {
  if (cause === "read") return PHASE.read;
  if (cause === "unpack") return PHASE.unpack;
  return cause === "write" ? PHASE.write : UNCLAIMED;
}

/**
 * libuv's count of its turns. A Node before 20.18 does not tell it; there, a wait is what ends a turn, and turns
 * that found work at once count as one with the next.
 */
function loopTurn(): () => number {
  const timing: { readonly uvMetricsInfo?: { readonly loopCount: number } } = performance.nodeTiming;
  if (timing.uvMetricsInfo === undefined) return libuvIdleNs;
  return () => timing.uvMetricsInfo?.loopCount ?? 0;
}

/** The same figure as `performance.eventLoopUtilization().idle` at a third of its cost. */
function libuvIdleNs(): number {
  return performance.nodeTiming.idleTime * 1e6;
}
