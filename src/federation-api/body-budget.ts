/** How much of request bodies is held in memory at a time, by their announced lengths. */
export class BodyBudget {
  readonly #mostEach: number;
  readonly #mostOfOne: number;
  readonly #mostInAll: number;
  /** Only servers with a body that is held. */
  readonly #ofServer = new Map<string, number>();
  #held = 0;

  constructor(mostEach: number, mostOfOne: number, mostInAll: number) {
    this.#mostEach = mostEach;
    this.#mostOfOne = mostOfOne;
    this.#mostInAll = mostInAll;
  }

  /** A place for a body of this length, and the way to give it back; null when it may not be held now. */
  take(server: string, bytes: number): (() => void) | null {
    const ofServer = this.#ofServer.get(server) ?? 0;
    const fits =
      bytes >= 0 &&
      bytes <= this.#mostEach &&
      ofServer + bytes <= this.#mostOfOne &&
      this.#held + bytes <= this.#mostInAll;
    if (!fits) return null;
    this.#note(server, bytes);
    return () => this.#note(server, -bytes);
  }

  #note(server: string, bytes: number): void {
    const now = (this.#ofServer.get(server) ?? 0) + bytes;
    if (now === 0) this.#ofServer.delete(server);
    else this.#ofServer.set(server, now);
    this.#held += bytes;
  }
}
