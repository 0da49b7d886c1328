/** How much of request bodies is held in memory at a time, by their announced lengths. */
export class BodyBudget {
  readonly #mostEach: number;
  readonly #mostInAll: number;
  #held = 0;

  constructor(mostEach: number, mostInAll: number) {
    this.#mostEach = mostEach;
    this.#mostInAll = mostInAll;
  }

  /** A place for a body of this length, and the way to give it back; null when it may not be held now. */
  take(bytes: number): (() => void) | null {
    const fits = bytes >= 0 && bytes <= this.#mostEach && this.#held + bytes <= this.#mostInAll;
    if (!fits) return null;
    this.#held += bytes;
    return () => {
      this.#held -= bytes;
    };
  }
}
