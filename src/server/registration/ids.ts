/** Hands out the smallest free id, so that ids stay dense and tables indexed by them small. */
export class DenseIds {
  readonly #free: number[] = [];
  #next = 0;

  take(): number {
    if (this.#free.length === 0) return this.#next++;
    let least = 0;
    for (let i = 1; i < this.#free.length; i++) if (this.#free[i]! < this.#free[least]!) least = i;
    return this.#free.splice(least, 1)[0]!;
  }

  giveBack(id: number): void {
    this.#free.push(id);
  }
}
