/**
 * What is to happen, by its time: a binary heap. Ties are settled by rank, then by the order of adding, so that equal
 * runs take events in equal order.
 */
export class EventHeap<T> {
  #times = new Float64Array(64);
  /** Rank and sequence in one number: ranks are small, and 2^48 events are more than any run has. */
  #places = new Float64Array(64);
  #items: T[] = [];
  #sequence = 0;

  get size(): number {
    return this.#items.length;
  }

  /** When the first event is due, ns; Infinity: never. */
  get next_ns(): number {
    return this.#items.length === 0 ? Number.POSITIVE_INFINITY : this.#times[0]!;
  }

  /** Of equal times the lowest `rank` (0 … 15) comes first. */
  add(time_ns: number, item: T, rank = 0): void {
    const place = rank * RANK + this.#sequence++;
    let at = this.#items.length;
    if (at === this.#times.length) this.#grow();
    this.#items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#later(parent, time_ns, place)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#set(at, time_ns, place, item);
  }

  /** Takes the first event; there must be one. */
  take(): T {
    const items = this.#items;
    const first = items[0]!;
    const last = items.length - 1;
    const [time_ns, place, item] = [this.#times[last]!, this.#places[last]!, items[last]!];
    items.pop();
    if (last > 0) this.#sink(time_ns, place, item);
    return first;
  }

  #sink(time_ns: number, place: number, item: T): void {
    const size = this.#items.length;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#later(child, this.#times[child + 1]!, this.#places[child + 1]!)) child++;
      if (!this.#earlier(child, time_ns, place)) break;
      this.#move(child, at);
      at = child;
    }
    this.#set(at, time_ns, place, item);
  }

  #later(at: number, time_ns: number, place: number): boolean {
    const other_ns = this.#times[at]!;
    return other_ns > time_ns || (other_ns === time_ns && this.#places[at]! > place);
  }

  #earlier(at: number, time_ns: number, place: number): boolean {
    const other_ns = this.#times[at]!;
    return other_ns < time_ns || (other_ns === time_ns && this.#places[at]! < place);
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from]!;
    this.#places[to] = this.#places[from]!;
    this.#items[to] = this.#items[from]!;
  }

  #set(at: number, time_ns: number, place: number, item: T): void {
    this.#times[at] = time_ns;
    this.#places[at] = place;
    this.#items[at] = item;
  }

  #grow(): void {
    const times = new Float64Array(2 * this.#times.length);
    times.set(this.#times);
    this.#times = times;
    const places = new Float64Array(times.length);
    places.set(this.#places);
    this.#places = places;
  }
}

const RANK = 2 ** 48;
