import { WireMap } from "../../src/protocol/values.ts";
import type { WorkerWorld } from "./virtual-worker.ts";

/** A key that is to be fetched. */
interface Fetch {
  readonly holders: Set<string>;
  in_flight: boolean;
  /** Wanted for its own sake (acquire-replicas), not for a task. */
  acquired: boolean;
  /** It was asked who has it, and the answer has not come. */
  asked: boolean;
}

interface FetchOwner {
  gone(): boolean;
  /** A task that has not started waits for the key. */
  needed(key: string): boolean;
  arrived(key: string, value: number): void;
}

/** A worker looks for missing keys as often (distributed's `find-missing`). */
const FIND_MISSING_NS = 1e9;

/** What a virtual worker fetches from others: one try a key at a time, from one of those that it was told of. */
export class Fetches {
  readonly #world: WorkerWorld;
  readonly #owner: FetchOwner;
  readonly #fetches = new Map<string, Fetch>();

  constructor(world: WorkerWorld, owner: FetchOwner) {
    this.#world = world;
    this.#owner = owner;
  }

  /** Keys that are being fetched or looked for. */
  get size(): number {
    return this.#fetches.size;
  }

  /** The scheduler's answer to who has a key. */
  learn(key: string, holders: readonly string[]): void {
    const fetch = this.#fetches.get(key);
    if (fetch === undefined) return;
    for (const holder of holders) fetch.holders.add(holder);
    fetch.asked = false;
    if (holders.length > 0) this.#try(key, fetch);
  }

  want(key: string, holders: readonly string[], acquired = false): void {
    const fetch = this.#of(key);
    for (const holder of holders) fetch.holders.add(holder);
    if (acquired) fetch.acquired = true;
    this.#try(key, fetch);
  }

  forgetHolder(address: string): void {
    for (const fetch of this.#fetches.values()) fetch.holders.delete(address);
  }

  #of(key: string): Fetch {
    let fetch = this.#fetches.get(key);
    if (fetch === undefined) {
      fetch = { holders: new Set(), in_flight: false, acquired: false, asked: false };
      this.#fetches.set(key, fetch);
    }
    return fetch;
  }

  #try(key: string, fetch: Fetch): void {
    if (fetch.in_flight || this.#owner.gone() || this.#fetches.get(key) !== fetch) return;
    if (!fetch.acquired && !this.#owner.needed(key)) {
      this.#fetches.delete(key);
      return;
    }
    const holders = [...fetch.holders];
    const holder = holders[this.#world.below(Math.max(1, holders.length))];
    if (holder === undefined) {
      this.#ask(key, fetch);
      return;
    }
    fetch.in_flight = true;
    this.#world.fetch(holder, key, (value) => this.#answered(key, fetch, holder, value));
  }

  /** Nobody is known to have it: the scheduler is asked, and again after a while. */
  #ask(key: string, fetch: Fetch): void {
    if (!fetch.asked) {
      fetch.asked = true;
      const stimulus_id = this.#world.stimulus();
      this.#world.say(WireMap.of({ op: "request-refresh-who-has", keys: [key], stimulus_id }));
    }
    this.#world.later(FIND_MISSING_NS, () => {
      if (fetch.holders.size > 0) return;
      fetch.asked = false;
      // What was only to be copied is the scheduler's wish: it will say so again.
      if (fetch.acquired && !this.#owner.needed(key)) this.#fetches.delete(key);
      else this.#try(key, fetch);
    });
  }

  #answered(key: string, fetch: Fetch, holder: string, value: number | undefined | null): void {
    fetch.in_flight = false;
    if (this.#owner.gone() || this.#fetches.get(key) !== fetch) return;
    if (typeof value === "number") {
      this.#fetches.delete(key);
      // Freed while it was on its way: nothing keeps it.
      if (fetch.acquired || this.#owner.needed(key)) this.#owner.arrived(key, value);
      return;
    }
    if (value === null) this.forgetHolder(holder);
    fetch.holders.delete(holder);
    this.#try(key, fetch);
  }
}
