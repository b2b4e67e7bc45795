import { EVENT_CALLBACK, EVENT_GC, EVENT_IDLE } from "../trace/events.ts";
import { SPAN_PHASES } from "../trace/phases.ts";
import type { TraceTrack } from "./input.ts";
import type { Summary } from "./summary.ts";

const PROCESS = 1;
/** Collections lie across the spans that they interrupt, so they have a row of their own under each thread. */
const GC_THREAD_OFFSET = 1000;

/** A trace in Chrome's JSON format, which the Perfetto UI opens, piece by piece. Times are from the first event on. */
export function* chromeTrace(tracks: readonly TraceTrack[], summary: Summary): Generator<string> {
  const { events, dropped, origin } = extentOf(tracks);
  const facts = { workload: summary.run.workload, version: summary.rsds.version, events, dropped };
  yield `{"displayTimeUnit":"ns","otherData":${JSON.stringify(facts)},"traceEvents":[\n`;
  yield JSON.stringify({
    ph: "M",
    pid: PROCESS,
    name: "process_name",
    args: { name: `rsds ${summary.run.workload}` },
  });
  const threads = [...new Set(tracks.map((track) => track.thread))];
  for (const [i, name] of threads.entries()) {
    for (const [tid, label] of [
      [i + 1, name],
      [i + 1 + GC_THREAD_OFFSET, `${name}: garbage collection`],
    ] as const) {
      yield `,\n${JSON.stringify({ ph: "M", pid: PROCESS, tid, name: "thread_name", args: { name: label } })}`;
    }
  }
  for (const track of tracks) yield* trackEvents(track, threads.indexOf(track.thread) + 1, origin);
  yield "\n]}\n";
}

function* trackEvents({ events, repeat }: TraceTrack, thread: number, origin: number): Generator<string> {
  for (let i = 0; i < events.count; i++) {
    // Whole nanoseconds on both ends, so that rounding never lets a span stick out of the one around it.
    const start = Math.round(events.starts[i]! - origin);
    const end = Math.round(events.ends[i]! - origin);
    const kind = events.kinds[i]!;
    const tid = kind === EVENT_GC ? thread + GC_THREAD_OFFSET : thread;
    const { name, category } = eventName(kind);
    yield `,\n{"ph":"X","pid":${PROCESS},"tid":${tid},"name":"${name}","cat":"${category}","ts":${micros(start)},"dur":${micros(end - start)},"args":{"repeat":${repeat}}}`;
  }
}

function eventName(kind: number): { name: string; category: string } {
  if (kind === EVENT_CALLBACK) return { name: "callback", category: "loop" };
  if (kind === EVENT_IDLE) return { name: "idle", category: "idle" };
  if (kind === EVENT_GC) return { name: "gc", category: "gc" };
  const phase = SPAN_PHASES[kind]!;
  return { name: phase.name, category: phase.top };
}

function micros(ns: number): string {
  return (ns / 1e3).toFixed(3);
}

function extentOf(tracks: readonly TraceTrack[]): { events: number; dropped: number; origin: number } {
  let events = 0;
  let dropped = 0;
  let origin = Number.POSITIVE_INFINITY;
  for (const { events: list } of tracks) {
    events += list.count;
    dropped += list.dropped;
    for (let i = 0; i < list.count; i++) origin = Math.min(origin, list.starts[i]!);
  }
  return { events, dropped, origin };
}
