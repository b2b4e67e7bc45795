import { toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { timeoutMs } from "../graphs/generation.ts";
import type { Handler } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue, keyList } from "../rpc/wire-shapes.ts";
import type { Reports, TaskReport } from "./reports.ts";

/** Records kept, as `distributed.scheduler.dashboard.tasks.task-stream-length` has it. */
const RECORDS_MAX = 100_000;
/** Fields of a report that are not part of its record. */
const LEFT_OUT: readonly WireValue[] = ["op", "run_id", "key", "startstops", "exception", "traceback"];

interface TaskRecord {
  readonly message: WireMap;
  /** When its last action stopped, seconds since the epoch by our clock. */
  readonly stop_s: number;
}

/**
 * What workers said of each task that they ran (`Client.get_task_stream`). As in Dask it is kept from the first time
 * that somebody asks.
 */
export class TaskStream {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["get_task_stream", (request) => this.#collect(request)],
    ["get_task_stream_index", () => this.#begin()],
  ];
  readonly #reports: Reports;
  readonly #now_ms: () => number;
  readonly #follower = (report: TaskReport): void => this.#record(report);
  #records: TaskRecord[] = [];
  /** Records so far: the number of the next one. */
  #index = 0;

  constructor(reports: Reports, now_ms: () => number) {
    this.#reports = reports;
    this.#now_ms = now_ms;
  }

  /** Records of tasks that stopped at `start_s` (seconds since the epoch) or later. */
  since(start_s: number): readonly WireMap[] {
    this.#begin();
    const records = this.#records.slice(-RECORDS_MAX);
    return records.slice(firstFrom(records, start_s)).map((record) => record.message);
  }

  /** Records from now on. Answers how many there are. */
  #begin(): number {
    this.#reports.follow(this.#follower);
    return this.#index;
  }

  #record({ key, worker, fields }: TaskReport): void {
    const message = new WireMap();
    for (let i = 0; i < fields.size; i++) {
      const name = fields.keys[i]!;
      if (!LEFT_OUT.includes(name)) message.set(String(name), fields.values[i]!);
    }
    const startstops = adjusted(fields.get("startstops") ?? null, worker.time_delay_s);
    message
      .set("worker", worker.address)
      .set("key", keyList([key])[0]!)
      .set("startstops", startstops.list);
    this.#index++;
    this.#records.push({ message, stop_s: startstops.stop_s });
    // Dropped many at a time: one by one would move all the others each time.
    if (this.#records.length >= 2 * RECORDS_MAX) this.#records = this.#records.slice(-RECORDS_MAX);
  }

  /** `get_task_stream {start?, stop?, count?, start_index?}`: times in seconds, or spans before now like "5s". */
  #collect(request: Request): WireValue {
    this.#begin();
    const records = this.#records.slice(-RECORDS_MAX);
    const start_index = request.optionalNumber("start_index");
    if (start_index !== null) {
      const from = Math.min(Math.max(0, start_index - (this.#index - records.length)), records.length);
      return records.slice(from).map((record) => record.message);
    }
    const at = (name: string): number | null => {
      const time_s = this.#time(request, name);
      return time_s === null ? null : firstFrom(records, time_s);
    };
    const count = request.optionalNumber("count");
    let start = at("start");
    let stop = at("stop");
    if (count !== null) {
      if (start !== null) stop ??= start + count;
      else {
        stop ??= records.length;
        start = stop - count;
      }
    }
    const from = Math.max(0, start ?? 0);
    return records.slice(from, Math.max(from, stop ?? records.length)).map((record) => record.message);
  }

  #time(request: Request, name: string): number | null {
    const value = request.value(name);
    if (typeof value !== "string") return request.optionalNumber(name);
    return (this.#now_ms() - timeoutMs(value)) / 1000;
  }
}

/** The first record that stopped at `time_s` or later. */
function firstFrom(records: readonly TaskRecord[], time_s: number): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (records[middle]!.stop_s < time_s) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The worker's times on our clock. */
function adjusted(startstops: WireValue, delay_s: number): { list: WireValue[]; stop_s: number } {
  const list: WireValue[] = [];
  let stop_s = 0;
  for (const item of Array.isArray(startstops) ? startstops : []) {
    if (!(item instanceof WireMap)) continue;
    const copy = WireMap.from(item.keys.map((key, i) => [key, item.values[i]!]));
    for (const name of ["start", "stop"]) {
      const time_s = toNumber(item.get(name));
      if (time_s === undefined) continue;
      copy.set(name, floatValue(time_s + delay_s));
      if (name === "stop") stop_s = Math.max(stop_s, time_s + delay_s);
    }
    list.push(copy);
  }
  return { list, stop_s };
}
