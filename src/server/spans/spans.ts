import type { TaskId } from "../../base/ids.ts";
import type { Machine } from "../../base/machine.ts";
import type { Scheduler } from "../../core/scheduler.ts";
import { FORGOTTEN } from "../../core/states.ts";
import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { keyNames } from "../../schedulers/key-names.ts";
import type { Reports, TaskReport } from "../diagnostics/reports.ts";
import type { GraphIntake, GraphNews } from "../graphs/intake.ts";
import type { Cluster } from "../peers/cluster.ts";
import type { Workers } from "../registration/workers.ts";
import { floatValue } from "../rpc/wire-shapes.ts";
import { type SpanAnnotation, spanOf } from "./annotation.ts";
import { Span, type SpanGroup } from "./span.ts";

/** At so many, the oldest whose tasks are all done are let go, down to a little less: not one by one. */
const SPANS_MAX = 10_000;
const SPANS_KEPT = 9_000;
/** Changes of the number of threads that are kept. */
const CHANGES_MAX = 10_000;

export interface SpansParts {
  readonly scheduler: Scheduler;
  readonly cluster: Cluster;
  readonly intake: GraphIntake;
  readonly reports: Reports;
  readonly machine: Machine;
}

/**
 * Dask's spans: tasks that a client marked with `distributed.span`, with what became of them, and what workers measured in
 * them. Tasks and reports are followed only while there are such tasks. All others belong to one default span, of which
 * only the workers' measurements are kept: its tasks are counted when somebody asks.
 */
export class Spans {
  readonly #parts: SpansParts;
  /** By id; parents before their children. */
  readonly #spans = new Map<string, Span>();
  #default: Span | null = null;
  /** Of each known task in a span of a client's. */
  readonly #group_of = new Map<TaskId, SpanGroup>();
  /** When the number of threads changed, seconds since the epoch, and what it was from then on. */
  #threads: (readonly [number, number])[];

  constructor(parts: SpansParts) {
    this.#parts = parts;
    this.#threads = [[this.#now_s, 0]];
    parts.intake.followers.add((news) => this.#onGraph(news));
  }

  /** Called once: workers come, go and send heartbeats from here on. */
  attach(workers: Workers): void {
    workers.watchers.add({
      onWorkerAdded: () => this.#countThreads(),
      onWorkerRemoved: () => this.#countThreads(),
    });
    workers.heartbeat_followers.add((_peer, request) => this.#onHeartbeat(request.value("extensions")));
  }

  /** All spans as they are, for the Python side, and the history of the number of threads. */
  wire(): WireMap {
    const spans = [...this.#spans.values()].map((span) => span.wire());
    const rest = this.#default?.wire();
    if (rest !== undefined) spans.push(rest.set("groups", this.#unmarked()));
    return WireMap.of({
      spans,
      threads: this.#threads.map(([time_s, count]) => [floatValue(time_s), count]),
    });
  }

  get #now_s(): number {
    return this.#parts.machine.wall_ms() / 1000;
  }

  #countThreads(): void {
    let count = 0;
    for (const peer of this.#parts.cluster.workers.values()) count += peer.nthreads;
    this.#threads.push([this.#now_s, count]);
    if (this.#threads.length > 2 * CHANGES_MAX) this.#threads = this.#threads.slice(-CHANGES_MAX);
  }

  // ---- tasks

  #onGraph({ tasks, fields }: GraphNews): void {
    const { annotations } = this.#parts.scheduler.books;
    const touched = new Set<Span>();
    if (annotations.size > 0)
      for (const task of tasks) {
        const map = annotations.get(task);
        const marked = map instanceof WireMap ? spanOf(map) : null;
        if (marked !== null) touched.add(this.#place(task, marked));
      }
    // Whether the rest of the graph is all of it is nobody's concern.
    if (touched.size === 0) {
      this.#default ??= new Span(["default"], this.#parts.machine.uuid(), null, this.#now_s);
      touched.add(this.#default);
    }
    for (const span of touched) span.submitted(fields?.get("code"), fields?.get("span_metadata"));
  }

  #place(task: TaskId, marked: SpanAnnotation): Span {
    const { tasks, keys } = this.#parts.scheduler.books;
    const span = this.#ensure(marked, marked.ids.length);
    // What no wanted key needs was forgotten at once; a task that was known already is counted already.
    if (tasks.state[task] === FORGOTTEN || this.#group_of.has(task)) return span;
    const group = span.group(keyNames(keys.bytes(task)).group);
    group.states[tasks.state[task]!]!++;
    if (this.#group_of.size === 0) this.#follow();
    this.#group_of.set(task, group);
    return span;
  }

  /** The span of the first `depth` tags, with those around it. */
  #ensure({ name, ids }: SpanAnnotation, depth: number): Span {
    const id = ids[depth - 1]!;
    const known = this.#spans.get(id);
    if (known !== undefined) return known;
    const parent = depth === 1 ? null : this.#ensure({ name, ids, id_bytes: NO_BYTES }, depth - 1).id;
    if (this.#spans.size >= SPANS_MAX) this.#forgetOldest();
    const span = new Span(name.slice(0, depth), id, parent, this.#now_s);
    this.#spans.set(id, span);
    return span;
  }

  #forgetOldest(): void {
    const parents = new Set([...this.#spans.values()].map(({ parent }) => parent));
    let excess = this.#spans.size - SPANS_KEPT;
    for (const span of this.#spans.values()) {
      if (excess <= 0) return;
      if (parents.has(span.id) || !span.done) continue;
      this.#spans.delete(span.id);
      excess--;
    }
  }

  #follow(): void {
    this.#parts.scheduler.books.follow(this.#onTransition);
    this.#parts.reports.follow(this.#onReport);
  }

  #unfollow(): void {
    this.#parts.scheduler.books.unfollow(this.#onTransition);
    this.#parts.reports.unfollow(this.#onReport);
  }

  readonly #onTransition = (task: TaskId, from: number, to: number): void => {
    const group = this.#group_of.get(task);
    if (group === undefined) return;
    group.states[from]!--;
    group.states[to]!++;
    if (to !== FORGOTTEN) return;
    this.#group_of.delete(task);
    if (this.#group_of.size === 0) this.#unfollow();
  };

  readonly #onReport = ({ task, finish, fields }: TaskReport): void => {
    const group = this.#group_of.get(task);
    if (group === undefined || finish !== "memory") return;
    group.ran(fields.get("startstops"));
    // A result that is computed anew counts once.
    const before = Math.max(0, this.#parts.scheduler.books.tasks.nbytes[task]!);
    group.nbytes += (toNumber(fields.get("nbytes")) ?? 0) - before;
  };

  /** Tasks without a span, as they are now. */
  #unmarked(): WireValue {
    const { tasks, keys } = this.#parts.scheduler.books;
    const rest = new Span(["default"], "", null, 0);
    for (let task = 0; task < tasks.top; task++) {
      if (tasks.state[task] === FORGOTTEN || this.#group_of.has(task)) continue;
      const group = rest.group(keyNames(keys.bytes(task)).group);
      group.states[tasks.state[task]!]!++;
      group.nbytes += Math.max(0, tasks.nbytes[task]!);
    }
    return [...rest.groups.values()].map((group) => group.wire());
  }

  // ---- what workers measured

  /** `extensions: {spans: {(context, span_id, …): value}}`; an id that is not known is of a span that was let go. */
  #onHeartbeat(extensions: WireValue): void {
    const measured = extensions instanceof WireMap ? extensions.get("spans") : undefined;
    if (!(measured instanceof WireMap)) return;
    for (const [i, key] of measured.keys.entries()) {
      if (!Array.isArray(key) || key.length < 2) continue;
      const [context = null, id, ...rest] = key;
      const span = typeof id === "string" ? this.#spans.get(id) : this.#default;
      span?.measured([context, ...rest], measured.values[i]!);
    }
  }
}

const NO_BYTES = new Uint8Array(0);
