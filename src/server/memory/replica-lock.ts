/** Who moves copies about: holders of the same kind may do so at once, others wait until they are through. */
export class ReplicaLock {
  #kind: string | null = null;
  #holders = 0;
  readonly #waiting: { readonly kind: string; readonly proceed: () => void }[] = [];

  async hold<T>(kind: string, work: () => Promise<T>): Promise<T> {
    if (this.#kind !== null && (this.#kind !== kind || this.#waiting.length > 0))
      await new Promise<void>((proceed) => this.#waiting.push({ kind, proceed }));
    this.#kind = kind;
    this.#holders++;
    try {
      return await work();
    } finally {
      if (--this.#holders === 0) this.#next();
    }
  }

  /** The one that waited longest, and all of its kind behind it. */
  #next(): void {
    this.#kind = this.#waiting[0]?.kind ?? null;
    while (this.#waiting.length > 0 && this.#waiting[0]!.kind === this.#kind)
      this.#waiting.shift()!.proceed();
  }
}
