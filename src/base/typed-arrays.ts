/** A typed array that can be allocated by length and copied from another of its kind. */
interface Growable {
  readonly length: number;
  set(source: ArrayLike<number>): void;
}

/**
 * A copy of `old` with room for `capacity` elements; the new ones are `fill`.
 * Tables double, so that the copying stays a constant an element.
 */
export function grown<T extends Growable & { fill(value: number, start: number): unknown }>(
  old: T,
  capacity: number,
  fill = 0,
): T {
  const make = old.constructor as new (length: number) => T;
  const next = new make(capacity);
  next.set(old as unknown as ArrayLike<number>);
  if (fill !== 0) next.fill(fill, old.length);
  return next;
}

/** {@link grown}, or for a smaller capacity a copy of the first elements. */
export function resized<
  T extends Growable & { fill(value: number, start: number): unknown; slice(start: number, end: number): T },
>(old: T, capacity: number, fill = 0): T {
  return capacity < old.length ? old.slice(0, capacity) : grown(old, capacity, fill);
}

/** The same bytes, to be read and written four at a time: for tens of bytes nothing else is as quick. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A growable stack of 32-bit integers: no boxing, no holes, one allocation each time it doubles. */
export class IntStack {
  items: Int32Array;
  length = 0;

  constructor(capacity = 64) {
    this.items = new Int32Array(capacity);
  }

  push(value: number): void {
    if (this.length === this.items.length) this.items = grown(this.items, this.length * 2);
    this.items[this.length++] = value;
  }

  /** The last value, removed. Only when `length > 0`. */
  pop(): number {
    return this.items[--this.length]!;
  }

  /** Forgets all values; a stack that one large batch has grown beyond `keep` gives its memory back. */
  clear(keep = 1 << 16): void {
    this.length = 0;
    if (this.items.length > keep) this.items = new Int32Array(keep);
  }
}
