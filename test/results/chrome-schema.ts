/** What the Chrome trace format's viewers take, and what ours promises beyond it: nesting, and repeats one after the other. */

/** Of an event or of the document; none of them is sure to be there. */
type Members = Readonly<
  Partial<
    Record<
      | ("displayTimeUnit" | "otherData" | "traceEvents")
      | ("ph" | "pid" | "tid" | "name" | "cat" | "ts" | "dur" | "args" | "repeat"),
      unknown
    >
  >
>;

interface Span {
  readonly tid: number;
  readonly ts: number;
  readonly end: number;
  readonly repeat: number;
}

/** Whole nanoseconds, written as microseconds: sums may be off by rounding only. */
const ROUNDING_US = 1e-6;
const CATEGORIES = new Set(["scheduling", "encoding", "network", "worker", "gc", "idle", "loop"]);

/** Each breach in a line; none for a sound trace. */
export function traceBreaches(document: unknown): string[] {
  if (!isObject(document)) return ["the document is no object"];
  const unknown = Object.keys(document).filter(
    (key) => !["displayTimeUnit", "otherData", "traceEvents"].includes(key),
  );
  const breaches = unknown.map((key) => `unknown member ${key}`);
  if (document.displayTimeUnit !== "ns") breaches.push("displayTimeUnit is not ns");
  if (!isObject(document.otherData)) breaches.push("otherData is no object");
  const events = document.traceEvents;
  if (!Array.isArray(events)) return [...breaches, "traceEvents is no list"];
  const named = new Set<number>();
  const spans: Span[] = [];
  for (const [i, event] of events.entries()) {
    const found = eventBreaches(event, named);
    breaches.push(...found.map((text) => `event ${i}: ${text}`));
    if (found.length > 0 || event.ph !== "X") continue;
    spans.push({ tid: event.tid, ts: event.ts, end: event.ts + event.dur, repeat: event.args.repeat });
  }
  for (const tid of new Set(spans.map((span) => span.tid))) {
    const own = spans.filter((span) => span.tid === tid);
    breaches.push(...nestingBreaches(own), ...orderBreaches(own));
  }
  return breaches;
}

function eventBreaches(event: unknown, named: Set<number>): string[] {
  if (!isObject(event)) return ["no object"];
  if (event.ph === "M") return metadataBreaches(event, named);
  if (event.ph !== "X") return [`ph ${String(event.ph)}`];
  const breaches = members(event, ["ph", "pid", "tid", "name", "cat", "ts", "dur", "args"]);
  for (const name of ["ts", "dur"] as const) {
    const value = event[name];
    if (typeof value !== "number" || !Number.isFinite(value) || value < 0)
      breaches.push(`${name} ${String(value)}`);
  }
  for (const name of ["pid", "tid"] as const)
    if (!Number.isInteger(event[name])) breaches.push(`${name} ${String(event[name])}`);
  if (!named.has(Number(event.tid))) breaches.push(`tid ${String(event.tid)} has no name`);
  if (typeof event.name !== "string" || event.name === "") breaches.push("no name");
  if (!CATEGORIES.has(String(event.cat))) breaches.push(`cat ${String(event.cat)}`);
  const { args } = event;
  if (!isObject(args) || !Number.isInteger(args.repeat)) breaches.push("args without a repeat");
  return breaches;
}

function metadataBreaches(event: Members, named: Set<number>): string[] {
  const { name, args } = event;
  if (!isObject(args) || typeof args.name !== "string") return ["a name without its text"];
  if (name === "process_name") return members(event, ["ph", "pid", "name", "args"]);
  if (name !== "thread_name") return [`metadata ${String(name)}`];
  const tid = Number(event.tid);
  const twice = named.has(tid) ? [`thread ${tid} is named twice`] : [];
  named.add(tid);
  return [...twice, ...members(event, ["ph", "pid", "tid", "name", "args"])];
}

function members(event: object, names: readonly string[]): string[] {
  const own = Object.keys(event);
  return [
    ...own.filter((name) => !names.includes(name)).map((name) => `unknown member ${name}`),
    ...names.filter((name) => !own.includes(name)).map((name) => `no ${name}`),
  ];
}

/** Of two spans of a thread one holds the other whole, or they do not touch. */
function nestingBreaches(spans: readonly Span[]): string[] {
  const breaches: string[] = [];
  const open: number[] = [];
  for (const { tid, ts, end } of spans.toSorted((a, b) => a.ts - b.ts || b.end - a.end)) {
    while (open.length > 0 && open.at(-1)! <= ts + ROUNDING_US) open.pop();
    if (open.length > 0 && end > open.at(-1)! + ROUNDING_US)
      breaches.push(`thread ${tid}: a span from ${ts} sticks out of the one around it`);
    open.push(end);
  }
  return breaches;
}

/** A repeat begins when the one before is over. */
function orderBreaches(spans: readonly Span[]): string[] {
  const breaches: string[] = [];
  let over = 0;
  for (const repeat of [...new Set(spans.map((span) => span.repeat))].sort((a, b) => a - b)) {
    const own = spans.filter((span) => span.repeat === repeat);
    const first = Math.min(...own.map((span) => span.ts));
    if (first < over - ROUNDING_US) breaches.push(`thread ${own[0]!.tid}: repeat ${repeat} begins too early`);
    over = Math.max(...own.map((span) => span.end));
  }
  return breaches;
}

function isObject(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
