import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { WindowFigures } from "../../src/trace/figures.ts";
import { figuresFromMessage, figuresToMessage } from "../../src/trace/figures.ts";
import { HOP, PHASE } from "../../src/trace/phases.ts";
import { FakeThread } from "./fake-thread.ts";

function attributed(figures: WindowFigures): number {
  return figures.phase_ns.reduce((sum, ns) => sum + ns, 0) + figures.idle_ns + figures.gc_ns;
}

describe("spans", () => {
  test("are exclusive: a nested span's time is not its parent's", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("other");
    thread.work(1);
    recorder.enter(PHASE.transition);
    thread.work(10);
    recorder.enter(PHASE.placement);
    thread.work(100);
    recorder.exit();
    thread.work(1000);
    recorder.exit();
    thread.work(5);
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.phase_ns[PHASE.transition]).toBe(1010);
    expect(figures.phase_ns[PHASE.placement]).toBe(100);
    expect(figures.unattributed_ns).toBe(6);
    expect(figures.unclaimed_ns).toBe(6);
    expect(figures.phase_histograms[PHASE.transition]!.max).toBe(1010);
    expect(figures.phase_histograms[PHASE.placement]!.count).toBe(1);
    expect(figures.unbalanced).toBe(0);
  });

  test("may begin and end with their callback, and swap for others at one reading", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("read", PHASE.read);
    thread.work(1);
    recorder.enter(PHASE.decode);
    thread.work(10);
    recorder.swap(PHASE.transition);
    thread.work(100);
    recorder.exit();
    thread.work(1000);
    recorder.end();
    recorder.begin("other");
    thread.work(5);
    recorder.enter(PHASE.encode); // left open: not the span that began with the callback
    recorder.end();
    recorder.begin("other", PHASE.graph);
    recorder.exit();
    recorder.swap(PHASE.graph); // there is no span to swap
    thread.work(7);
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.phase_ns[PHASE.read]).toBe(1001);
    expect(figures.phase_ns[PHASE.decode]).toBe(10);
    expect(figures.phase_ns[PHASE.transition]).toBe(100);
    expect(figures.phase_histograms[PHASE.decode]!.count).toBe(1);
    expect(figures.phase_histograms[PHASE.transition]!.count).toBe(1);
    expect(figures.unattributed_ns).toBe(12);
    expect(figures.unbalanced).toBe(2);
  });

  test("outside a callback are recorded, and the gap before them is nobody's", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    thread.work(7);
    recorder.enter(PHASE.graph);
    thread.work(30);
    recorder.exit();
    const figures = await recorder.closeWindow();
    expect(figures.phase_ns[PHASE.graph]).toBe(30);
    expect(figures.unattributed_ns).toBe(7);
  });

  test("that were not left are ended with their callback and counted", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("other");
    recorder.enter(PHASE.encode);
    recorder.enter(PHASE.write);
    thread.work(10);
    recorder.end();
    thread.wait(50);
    recorder.begin("other");
    thread.work(3);
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.phase_ns[PHASE.write]).toBe(10);
    expect(figures.unattributed_ns).toBe(3);
    expect(figures.unbalanced).toBe(2);
  });

  test("an exit without a span, and an end without a callback, are counted and change nothing", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.exit();
    recorder.end();
    recorder.begin("read");
    recorder.exit();
    thread.work(4);
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.unbalanced).toBe(3);
    expect(figures.unattributed_ns).toBe(4);
  });
});

describe("the loop's own work before a callback", () => {
  test.each([
    ["read", 40, 0, 0],
    ["write", 0, 40, 0],
    ["other", 0, 0, 40],
  ] as const)(
    "%s: less what libuv waited, it goes where it can be tied to",
    async (cause, read, write, rest) => {
      const thread = new FakeThread();
      const { recorder } = thread;
      recorder.openWindow();
      thread.wait(1000);
      thread.work(40);
      recorder.begin(cause);
      recorder.end();
      const figures = await recorder.closeWindow();
      expect(figures.idle_ns).toBe(1000);
      expect(figures.phase_ns[PHASE.read]).toBe(read);
      expect(figures.phase_ns[PHASE.write]).toBe(write);
      expect(figures.unattributed_ns).toBe(rest);
    },
  );

  test("a callback within a span keeps the span's phase for what comes after it", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("read");
    recorder.enter(PHASE.write);
    thread.work(10);
    recorder.begin("other");
    thread.work(100);
    recorder.enter(PHASE.decode);
    thread.work(1000);
    recorder.exit();
    recorder.end();
    thread.work(10_000);
    recorder.exit();
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.phase_ns[PHASE.write]).toBe(10_010);
    expect(figures.phase_ns[PHASE.decode]).toBe(1000);
    expect(figures.unattributed_ns).toBe(100);
    expect(figures.unbalanced).toBe(0);
  });

  test("a callback that never said it ended is noticed when the loop has waited", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("read");
    recorder.enter(PHASE.decode);
    thread.work(5);
    recorder.exit();
    thread.wait(1000);
    thread.work(20);
    recorder.begin("read");
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.idle_ns).toBe(1000);
    expect(figures.phase_ns[PHASE.read]).toBe(20);
    expect(figures.unbalanced).toBe(1);
  });

  test("turns run from the loop's wake-up to its next wait", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    thread.wait(1000);
    for (const busy of [300, 20]) {
      thread.work(40);
      recorder.begin("read");
      thread.work(busy);
      recorder.end();
      thread.work(10);
      recorder.begin("other");
      recorder.end();
      thread.wait(500);
    }
    const { turn_histogram: turns } = await recorder.closeWindow();
    // The moment before the first wait and the one after the last count as turns of their own, of no length.
    expect(turns.count).toBe(4);
    expect(turns.max).toBe(350);
    expect(turns.percentile(75)).toBe(70);
  });
  test("large messages are named with their turns, and the longest turn without one is told apart", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    const turnOf = (ns: number, bytes: number | null): void => {
      thread.turn(0);
      recorder.begin("read");
      if (bytes !== null) recorder.largeMessage({ direction: "in", peer: "client", bytes });
      thread.work(ns);
      recorder.end();
    };
    turnOf(70, null);
    turnOf(900, 1e7);
    turnOf(80, null);
    turnOf(500, 2e7);
    thread.turn(0);
    recorder.begin("other");
    recorder.end();
    const { plain_turn_max_ns, large_messages, turn_histogram } = await recorder.closeWindow();
    expect(large_messages.map(({ bytes, turn_ns }) => [bytes, turn_ns])).toEqual([
      [1e7, 900],
      [2e7, 500],
    ]);
    expect([plain_turn_max_ns, turn_histogram.max]).toEqual([80, 900]);
  });

  test("the large messages of a long window are bounded: the longest turns stay", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    for (let i = 1; i <= 1000; i++) {
      thread.turn(0);
      recorder.begin("read");
      recorder.largeMessage({ direction: "out", peer: "worker", bytes: 1e7 });
      thread.work(i);
      recorder.end();
    }
    const { large_messages } = await recorder.closeWindow();
    expect(large_messages).toHaveLength(100);
    expect(large_messages.map(({ turn_ns }) => turn_ns).slice(0, 2)).toEqual([1000, 999]);
  });

  test("turns that find work at once are turns too", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    for (let i = 0; i < 3; i++) {
      thread.turn(30);
      recorder.begin("read");
      thread.work(100);
      recorder.end();
    }
    const { turn_histogram: turns, idle_ns } = await recorder.closeWindow();
    expect([turns.count, turns.max, idle_ns]).toEqual([4, 130, 0]);
  });
});

describe("garbage collection", () => {
  test("is taken out of the span that it interrupted, however late it is reported", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("other");
    recorder.enter(PHASE.transition);
    thread.work(100);
    thread.collect(1000);
    thread.work(100);
    recorder.exit();
    recorder.end();
    for (let i = 0; i < 1000; i++) {
      recorder.begin("other");
      recorder.enter(PHASE.encode);
      thread.work(10);
      recorder.exit();
      recorder.end();
    }
    const figures = await recorder.closeWindow();
    expect(figures.gc_ns).toBe(1000);
    expect(figures.phase_ns[PHASE.transition]).toBe(200);
    expect(figures.phase_ns[PHASE.encode]).toBe(10_000);
    expect(figures.unattributed_ns).toBe(0);
    expect(figures.gc_histogram.count).toBe(1);
    // The span itself did take that long.
    expect(figures.phase_histograms[PHASE.transition]!.max).toBe(1200);
  });

  test("in a gap is taken out of what the gap turns out to be", async () => {
    for (const reported_early of [true, false]) {
      const thread = new FakeThread();
      const { recorder } = thread;
      recorder.openWindow();
      thread.wait(500);
      thread.collect(300);
      if (reported_early) thread.report();
      thread.work(20);
      recorder.begin("read");
      recorder.end();
      const figures = await recorder.closeWindow();
      expect(figures.gc_ns).toBe(300);
      expect(figures.idle_ns).toBe(500);
      expect(figures.phase_ns[PHASE.read]).toBe(20);
      expect(figures.unattributed_ns).toBe(0);
    }
  });

  test("before libuv waits in the same gap does not eat into the wait", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    thread.collect(300);
    thread.wait(500);
    recorder.begin("read");
    recorder.end();
    const figures = await recorder.closeWindow();
    expect([figures.gc_ns, figures.idle_ns, figures.phase_ns[PHASE.read]]).toEqual([300, 500, 0]);
    expect(figures.unattributed_ns).toBe(0);
  });

  test("across a window's ends counts with its part inside", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.begin("other");
    recorder.enter(PHASE.worker);
    thread.unreported.push([thread.clock.now_ns, 100]);
    thread.work(60);
    recorder.openWindow();
    thread.work(40);
    thread.work(7);
    const figures = await recorder.closeWindow();
    recorder.exit();
    recorder.end();
    expect(figures.gc_ns).toBe(40);
    expect(figures.phase_ns[PHASE.worker]).toBe(7);
  });

  test("that left the ring stays where it was booked, and says so", async () => {
    const thread = new FakeThread({ segment_capacity: 64 });
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("other");
    for (let i = 0; i < 10; i++) {
      recorder.enter(PHASE.encode);
      thread.work(1);
      recorder.exit();
      thread.work(1);
    }
    recorder.enter(PHASE.transition);
    thread.collect(1000);
    recorder.exit();
    for (let i = 0; i < 100; i++) {
      recorder.enter(PHASE.encode);
      thread.work(1);
      recorder.exit();
      thread.work(1);
    }
    recorder.end();
    const figures = await recorder.closeWindow();
    expect(figures.gc_ns).toBe(0);
    expect(figures.gc_unplaced_ns).toBe(1000);
    expect(figures.phase_ns[PHASE.transition]).toBe(1000);
    expect(attributed(figures) + figures.unattributed_ns).toBe(figures.end_ns - figures.start_ns);
  });
});

describe("a window", () => {
  test("is narrowed to the run's own stamps", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    thread.wait(100);
    thread.work(10);
    recorder.begin("read");
    recorder.enter(PHASE.decode);
    thread.work(50);
    thread.collect(500);
    const end_ns = thread.clock.now_ns;
    thread.work(30);
    recorder.exit();
    thread.work(9);
    recorder.end();
    const figures = await recorder.closeWindow({ start_ns: 60, end_ns });
    expect(figures.end_ns - figures.start_ns).toBe(40 + 10 + 50 + 500);
    expect(figures.idle_ns).toBe(40);
    expect(figures.phase_ns[PHASE.read]).toBe(10);
    expect(figures.phase_ns[PHASE.decode]).toBe(50);
    expect(figures.gc_ns).toBe(500);
    expect(figures.unattributed_ns).toBe(0);
  });

  test("narrowed past a collection that was reported before takes that back whole", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("other");
    recorder.enter(PHASE.encode);
    thread.collect(100);
    recorder.exit();
    thread.report();
    const start_ns = thread.clock.now_ns;
    recorder.enter(PHASE.encode);
    thread.work(11);
    recorder.exit();
    recorder.end();
    const figures = await recorder.closeWindow({ start_ns });
    expect([figures.gc_ns, figures.phase_ns[PHASE.encode], figures.unattributed_ns]).toEqual([0, 11, 0]);
  });

  test("starts from nothing, with what is open going on", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.begin("other");
    recorder.enter(PHASE.encode);
    recorder.hop(HOP.knownReady, 5);
    thread.work(77);
    recorder.openWindow();
    thread.work(3);
    recorder.exit();
    recorder.end();
    const first = await recorder.closeWindow();
    recorder.openWindow();
    const second = await recorder.closeWindow();
    expect(first.phase_ns[PHASE.encode]).toBe(3);
    expect(first.phase_histograms[PHASE.encode]!.max).toBe(3);
    expect(first.hop_histograms[HOP.knownReady]!.count).toBe(0);
    expect(second.end_ns - second.start_ns).toBe(0);
    expect(second.phase_histograms[PHASE.encode]!.count).toBe(0);
  });

  test("keeps the first events and counts the others", async () => {
    const thread = new FakeThread({ event_count_max: 3 });
    const { recorder } = thread;
    recorder.openWindow();
    recorder.begin("other");
    for (let i = 0; i < 5; i++) {
      recorder.enter(PHASE.encode);
      thread.work(1);
      recorder.exit();
    }
    recorder.end();
    const { events } = await recorder.closeWindow();
    expect([events.count, events.dropped, events.starts.length]).toEqual([3, 3, 3]);
  });

  test("counts its probes and estimates their cost", async () => {
    const { recorder } = new FakeThread();
    recorder.openWindow();
    recorder.begin("other");
    recorder.enter(PHASE.encode);
    recorder.exit();
    recorder.hops(HOP.knownReady, 10, 1000);
    recorder.end();
    const { probe, hop_histograms } = await recorder.closeWindow();
    expect(probe).toEqual({ cost_ns: 100, count: 3, total_ns: 100 + 150 + 5 });
    expect(hop_histograms[HOP.knownReady]!.count).toBe(1000);
  });

  test("its figures survive the way to another thread", async () => {
    const thread = new FakeThread();
    const { recorder } = thread;
    recorder.openWindow();
    recorder.enter(PHASE.encode);
    thread.work(5000);
    recorder.exit();
    const figures = await recorder.closeWindow();
    const copy = figuresFromMessage(structuredClone(figuresToMessage(figures)));
    expect(copy.phase_ns).toEqual(figures.phase_ns);
    expect(copy.phase_histograms[PHASE.encode]!.percentile(50)).toBe(
      figures.phase_histograms[PHASE.encode]!.percentile(50),
    );
  });
});

type Step = "begin" | "end" | "enter" | "exit" | "work" | "wait" | "collect" | "report";

test("whatever the nesting, exclusive times, waits and collections sum to the wall time", async () => {
  const step = fc.tuple(
    fc.constantFrom<Step>("begin", "end", "enter", "exit", "work", "wait", "collect", "report"),
    fc.nat(1000),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 150 }), fc.nat(1000), fc.nat(1000), async (steps, a, b) => {
      const thread = new FakeThread();
      const { recorder } = thread;
      const planted = { idle: 0, gc: 0 };
      recorder.openWindow();
      // What is open: a callback or a span.
      const open: ("callback" | "span")[] = [];
      for (const [kind, n] of steps) runStep(thread, open, planted, kind, n);
      const wall = thread.clock.now_ns;
      const narrowed = narrowing(a, b, wall);
      const figures = await recorder.closeWindow(narrowed);
      expect(attributed(figures) + figures.unattributed_ns).toBeCloseTo(figures.end_ns - figures.start_ns, 6);
      expect(figures.unattributed_ns).toBeCloseTo(figures.unclaimed_ns, 6);
      for (const ns of figures.phase_ns) expect(ns).toBeGreaterThanOrEqual(0);
      expect(figures.unbalanced).toBe(0);
      if (narrowed.start_ns > 0 || narrowed.end_ns < wall) return;
      expect(figures.idle_ns).toBe(planted.idle);
      expect(figures.gc_ns).toBe(planted.gc);
    }),
    { numRuns: 500 },
  );
});

/** One run in two keeps the whole window. */
function narrowing(a: number, b: number, wall: number): { start_ns: number; end_ns: number } {
  if (a % 2 === 0) return { start_ns: 0, end_ns: wall };
  const ends = [(a / 1000) * wall, (b / 1000) * wall].sort((x, y) => x - y);
  return { start_ns: ends[0]!, end_ns: ends[1]! };
}

function runStep(
  thread: FakeThread,
  open: ("callback" | "span")[],
  planted: { idle: number; gc: number },
  kind: Step,
  n: number,
): void {
  const { recorder } = thread;
  const top = open.at(-1);
  if (kind === "work") thread.work(n);
  else if (kind === "report") thread.report();
  else if (kind === "collect") {
    thread.collect(n);
    planted.gc += n;
  } else if (kind === "wait" && open.length === 0) {
    thread.wait(n);
    planted.idle += n;
  } else if (kind === "begin") {
    recorder.begin(n % 3 === 0 ? "read" : n % 3 === 1 ? "write" : "other");
    open.push("callback");
  } else if (kind === "enter") {
    recorder.enter((n % 11) as 0);
    open.push("span");
  } else if (kind === "exit" && top === "span") {
    recorder.exit();
    open.pop();
  } else if (kind === "end" && top === "callback") {
    recorder.end();
    open.pop();
  }
}
