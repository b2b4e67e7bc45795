import { NO_WORKER, PROCESSING, QUEUED, STATE_NAMES, WAITING } from "../../core/states.ts";
import { packValue } from "../../protocol/msgpack.ts";
import { Pickled, toNumber, WireFloat, WireMap, type WireValue } from "../../protocol/values.ts";
import { floatValue } from "../rpc/wire-shapes.ts";

/** What one span keeps of each kind: further names of groups count as one, further metrics and codes are let go. */
const GROUPS_MAX = 1000;
const METRICS_MAX = 1000;
const CODES_MAX = 100;

/** Tasks of one name in one span. Unlike Dask's, it stays when its tasks are forgotten and is used again for later ones. */
export class SpanGroup {
  readonly name: string;
  /** How many tasks are in each state, by its number. */
  readonly states = new Int32Array(STATE_NAMES.length);
  /** Seconds of all tasks, by action. */
  readonly durations_s = new Map<string, number>();
  /** Seconds since the epoch, 0: no task of it has finished. */
  start_s = 0;
  stop_s = 0;
  nbytes = 0;

  constructor(name: string) {
    this.name = name;
  }

  get done(): boolean {
    const { states } = this;
    return (
      states[WAITING] === 0 && states[NO_WORKER] === 0 && states[QUEUED] === 0 && states[PROCESSING] === 0
    );
  }

  /** `startstops` of a worker's report. */
  ran(startstops: WireValue | undefined): void {
    for (const item of Array.isArray(startstops) ? startstops : []) {
      if (!(item instanceof WireMap)) continue;
      const start_s = toNumber(item.get("start"));
      const stop_s = toNumber(item.get("stop"));
      const action = item.get("action");
      if (start_s === undefined || stop_s === undefined || typeof action !== "string") continue;
      this.durations_s.set(action, (this.durations_s.get(action) ?? 0) + Math.max(0, stop_s - start_s));
      if (action !== "compute") continue;
      this.start_s = this.start_s === 0 ? start_s : Math.min(this.start_s, start_s);
      this.stop_s = Math.max(this.stop_s, stop_s);
    }
  }

  wire(): WireMap {
    return WireMap.of({
      name: this.name,
      states: WireMap.from(STATE_NAMES.map((state, i) => [state, this.states[i]!])),
      all_durations: WireMap.from([...this.durations_s].map(([action, s]) => [action, floatValue(s)])),
      start: floatValue(this.start_s),
      stop: floatValue(this.stop_s),
      nbytes_total: this.nbytes,
    });
  }
}

interface Metric {
  readonly key: readonly WireValue[];
  value: number;
  /** A sum of floats stays one, as in Python. */
  float: boolean;
}

/** One span of a client's, or the default one (`parent` null, name `default`). */
export class Span {
  readonly name: readonly string[];
  readonly id: string;
  readonly parent: string | null;
  /** When its first task came, seconds since the epoch. */
  readonly enqueued_s: number;
  readonly groups = new Map<string, SpanGroup>();
  readonly #metrics = new Map<string, Metric>();
  readonly #codes = new Map<string, Pickled>();
  readonly #metadata: Pickled[] = [];

  constructor(name: readonly string[], id: string, parent: string | null, enqueued_s: number) {
    this.name = name;
    this.id = id;
    this.parent = parent;
    this.enqueued_s = enqueued_s;
  }

  /** No task of its own is still to be run. */
  get done(): boolean {
    return [...this.groups.values()].every((group) => group.done);
  }

  group(name: string): SpanGroup {
    const known = this.groups.get(name);
    if (known !== undefined) return known;
    const own = this.groups.size < GROUPS_MAX ? name : "Other";
    const group = this.groups.get(own) ?? new SpanGroup(own);
    this.groups.set(own, group);
    return group;
  }

  /** What a worker measured since its last heartbeat: `key` as the worker has it, less the span's id. */
  measured(key: readonly WireValue[], value: WireValue): void {
    const number = toNumber(value);
    if (number === undefined) return;
    const id = Buffer.from(packValue([...key])).toString("latin1");
    let metric = this.#metrics.get(id);
    if (metric === undefined) {
      if (this.#metrics.size >= METRICS_MAX) return;
      metric = { key, value: 0, float: false };
      this.#metrics.set(id, metric);
    }
    metric.value += number;
    metric.float ||= value instanceof WireFloat || !Number.isInteger(number);
  }

  /** The code around a graph's submission, and what the client says of its collections. */
  submitted(code: WireValue | undefined, metadata: WireValue | undefined): void {
    if (code instanceof Pickled && this.#codes.size < CODES_MAX) {
      const id = Buffer.from(code.header).toString("latin1");
      if (!this.#codes.has(id)) this.#codes.set(id, copied(code));
    }
    if (metadata instanceof Pickled && this.#metadata.length < CODES_MAX)
      this.#metadata.push(copied(metadata));
  }

  wire(): WireMap {
    return WireMap.of({
      name: [...this.name],
      id: this.id,
      parent: this.parent,
      enqueued: floatValue(this.enqueued_s),
      groups: [...this.groups.values()].map((group) => group.wire()),
      metrics: [...this.#metrics.values()].map(({ key, value, float }) => [
        [...key],
        float ? floatValue(value) : value,
      ]),
      code: [...this.#codes.values()],
      metadata: [...this.#metadata],
    });
  }
}

/** Its frames are views of a message that holds a whole graph. */
export function copied(pickled: Pickled): Pickled {
  return new Pickled(
    Uint8Array.from(pickled.header),
    pickled.frames.map((frame) => Uint8Array.from(frame)),
  );
}
