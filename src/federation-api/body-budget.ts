/** A body that is held: `whole` says that it has come and is known for whose it is, `release` gives its place back. */
export interface HeldBody {
  whole(): void;
  release(): void;
}

interface Place {
  readonly server: string;
  readonly bytes: number;
  /** Until it is whole. */
  giveWay: (() => void) | null;
}

/**
 * How much of request bodies is held in memory at a time, by their announced lengths. Where there is no place left,
 * the oldest that is not whole gives way: who sends what was announced and signs it is done in a moment, and whoever
 * claims a server's name and lets bodies trickle keeps that server from nothing.
 */
export class BodyBudget {
  readonly #mostEach: number;
  readonly #mostOfOne: number;
  readonly #mostInAll: number;
  /** The oldest first. */
  readonly #places = new Set<Place>();

  constructor(mostEach: number, mostOfOne: number, mostInAll: number) {
    this.#mostEach = mostEach;
    this.#mostOfOne = mostOfOne;
    this.#mostInAll = mostInAll;
  }

  /** Bytes that are held. */
  get held(): number {
    return this.#bytes(() => true);
  }

  /** A place for a body of this length, or null. `giveWay` is called when it has to go before it is whole. */
  take(server: string, bytes: number, giveWay: () => void): HeldBody | null {
    if (!(bytes >= 0 && bytes <= this.#mostEach)) return null;
    const own = ({ server: other }: Place) => other === server;
    if (!this.#makeRoom(bytes, this.#mostOfOne, own)) return null;
    if (!this.#makeRoom(bytes, this.#mostInAll, () => true)) return null;
    const place: Place = { server, bytes, giveWay };
    this.#places.add(place);
    return {
      whole() {
        place.giveWay = null;
      },
      release: () => void this.#places.delete(place),
    };
  }

  #makeRoom(bytes: number, most: number, among: (place: Place) => boolean): boolean {
    let over = this.#bytes(among) + bytes - most;
    if (over <= 0) return true;
    const victims: Place[] = [];
    for (const place of this.#places) {
      if (over <= 0) break;
      if (place.giveWay === null || !among(place)) continue;
      victims.push(place);
      over -= place.bytes;
    }
    if (over > 0) return false;
    for (const victim of victims) {
      this.#places.delete(victim);
      victim.giveWay?.();
    }
    return true;
  }

  #bytes(among: (place: Place) => boolean): number {
    let sum = 0;
    for (const place of this.#places) if (among(place)) sum += place.bytes;
    return sum;
  }
}
