import { EventHeap } from "../clock/event-heap.ts";

/** A transfer that is over: what it was started with. */
type TransferEnd = (transfer: number) => void;

/** How long data takes from worker to worker. Times are ns. */
export interface TransferModel {
  readonly name: string;
  /** `transfer` is the caller's number for it. `from` and `to` are workers. */
  start(transfer: number, from: number, to: number, bytes: number, now_ns: number): void;
  /** When the next transfer ends; Infinity: none is under way. */
  readonly next_ns: number;
  /** Ends the transfers that are due by `now_ns`, in the order of their ends, then of their beginnings. */
  advance(now_ns: number, end: TransferEnd): void;
}

export interface LinkSpeed {
  /** Bytes a second that a worker sends, and receives. */
  readonly bandwidth: number;
  readonly latency_ns: number;
}

/** Makes the model of that name. `instant`: no time at all; `simple`: no sharing; `maxmin`: fair sharing. */
export function transferModel(name: NetworkName, speed: LinkSpeed): TransferModel {
  if (name === "maxmin") return new MaxMinNetwork(speed);
  return new SimpleNetwork(
    name,
    name === "instant" ? { bandwidth: Number.POSITIVE_INFINITY, latency_ns: 0 } : speed,
  );
}

export type NetworkName = "instant" | "simple" | "maxmin";

/** Every transfer has the whole bandwidth: latency, then size over bandwidth (ESTEE's "simple"). */
class SimpleNetwork implements TransferModel {
  readonly name: string;
  readonly #speed: LinkSpeed;
  readonly #ends = new EventHeap<number>();

  constructor(name: string, speed: LinkSpeed) {
    this.name = name;
    this.#speed = speed;
  }

  start(transfer: number, _from: number, _to: number, bytes: number, now_ns: number): void {
    const { bandwidth, latency_ns } = this.#speed;
    this.#ends.add(now_ns + latency_ns + (bytes / bandwidth) * 1e9, transfer);
  }

  get next_ns(): number {
    return this.#ends.next_ns;
  }

  advance(now_ns: number, end: TransferEnd): void {
    while (this.#ends.next_ns <= now_ns) end(this.#ends.take());
  }
}

interface Flow {
  readonly transfer: number;
  readonly from: number;
  readonly to: number;
  /** Bytes that are left. */
  left: number;
  /** Bytes a second. */
  rate: number;
}

/**
 * Max-min fair sharing (ESTEE's "maxmin"): each worker's way out and way in have a bandwidth, shared so that no
 * transfer could be faster but at the cost of a slower one. Rates are found anew whenever a transfer begins or ends, by
 * progressive filling: the most crowded way first.
 */
class MaxMinNetwork implements TransferModel {
  readonly name = "maxmin";
  readonly #speed: LinkSpeed;
  /** Latency is over, in the order of beginning. */
  #flows: Flow[] = [];
  /** Those whose latency is not over. */
  readonly #waiting = new EventHeap<Flow>();
  #at_ns = 0;
  #end_ns = Number.POSITIVE_INFINITY;
  #stale = false;

  constructor(speed: LinkSpeed) {
    this.#speed = speed;
  }

  start(transfer: number, from: number, to: number, bytes: number, now_ns: number): void {
    const flow = { transfer, from, to, left: Math.max(1, bytes), rate: 0 };
    this.#waiting.add(now_ns + this.#speed.latency_ns, flow);
  }

  get next_ns(): number {
    this.#share();
    return Math.min(this.#end_ns, this.#waiting.next_ns);
  }

  advance(now_ns: number, end: TransferEnd): void {
    this.#share();
    const passed_s = (now_ns - this.#at_ns) / 1e9;
    this.#at_ns = now_ns;
    const done: Flow[] = [];
    const left: Flow[] = [];
    for (const flow of this.#flows) {
      flow.left -= flow.rate * passed_s;
      // Less than what passes in a nanosecond is rounding.
      if (flow.left <= flow.rate * 1e-9 + 1e-6) done.push(flow);
      else left.push(flow);
    }
    this.#flows = left;
    while (this.#waiting.next_ns <= now_ns) {
      this.#flows.push(this.#waiting.take());
      this.#stale = true;
    }
    if (done.length > 0) this.#stale = true;
    for (const flow of done) end(flow.transfer);
  }

  #share(): void {
    if (!this.#stale) return;
    this.#stale = false;
    const ways = new Map<number, { capacity: number; flows: Flow[] }>();
    const add = (way: number, flow: Flow): void => {
      const known = ways.get(way);
      if (known !== undefined) known.flows.push(flow);
      else ways.set(way, { capacity: this.#speed.bandwidth, flows: [flow] });
    };
    for (const flow of this.#flows) {
      flow.rate = 0;
      add(2 * flow.from, flow);
      add(2 * flow.to + 1, flow);
    }
    fill(ways);
    this.#end_ns = Number.POSITIVE_INFINITY;
    for (const flow of this.#flows)
      this.#end_ns = Math.min(this.#end_ns, this.#at_ns + (flow.left / flow.rate) * 1e9);
  }
}

/** Progressive filling: the way with the least for each of its flows gives them that, until all have a rate. */
function fill(ways: Map<number, { capacity: number; flows: Flow[] }>): void {
  while (ways.size > 0) {
    let tightest = -1;
    let share = Number.POSITIVE_INFINITY;
    for (const [way, { capacity, flows }] of ways) {
      if (capacity / flows.length >= share) continue;
      share = capacity / flows.length;
      tightest = way;
    }
    for (const flow of [...ways.get(tightest)!.flows]) {
      flow.rate = share;
      for (const way of [2 * flow.from, 2 * flow.to + 1]) {
        const other = ways.get(way)!;
        other.capacity = Math.max(0, other.capacity - share);
        other.flows.splice(other.flows.indexOf(flow), 1);
        if (other.flows.length === 0) ways.delete(way);
      }
    }
  }
}
