import type { Device, DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { Dormancy } from '../peeking/dormancy.ts';
import type { Peeking } from '../peeking/peeking.ts';
import type { DevicePeek, Store } from '../store/store.ts';
import { isTold } from './endings.ts';

/** Which peeks a request without `since` cancels: those a later request has shown to be delivered, all, or none. */
export type SincelessSync = 'delivered' | 'all' | 'none';

/** What a presented token tells about the peeks of its device. */
export class PeekLedger {
  readonly #store: Store;
  readonly #peeking: Peeking;
  readonly #devicePeeks: DevicePeeks;
  readonly #dormancy: Dormancy;
  readonly #sinceless: SincelessSync;

  constructor(deps: {
    store: Store;
    peeking: Peeking;
    devicePeeks: DevicePeeks;
    dormancy: Dormancy;
    sincelessSync: SincelessSync;
  }) {
    this.#store = deps.store;
    this.#peeking = deps.peeking;
    this.#devicePeeks = deps.devicePeeks;
    this.#dormancy = deps.dormancy;
    this.#sinceless = deps.sincelessSync;
  }

  /**
   * Books what the token shows: peeks in it were delivered, tombstones not in it have been told. A request
   * without `since` cancels stale peeks. `read` is null for such a request.
   */
  async book(device: Device, read: ReadonlyMap<number, number> | null): Promise<void> {
    for (const peek of await this.#devicePeeks.of(device)) {
      if (peek.ended !== null) {
        if (read !== null) await this.#ended(peek, read.get(peek.instance));
      } else if (read === null && this.#isStale(peek)) {
        await this.#peeking.end(peek, 'cancelled');
      } else {
        if (read?.has(peek.instance)) await this.#delivered(peek);
        await this.#dormancy.seen(peek);
      }
    }
  }

  /** How often a device that waits is to be told of. */
  get seenEveryMs(): number {
    return this.#dormancy.seenEveryMs;
  }

  /** The device waits for news: it is awake. Rejects with `StoreDownError`. */
  async waits(device: Device): Promise<void> {
    for (const peek of await this.#devicePeeks.of(device)) {
      if (peek.ended === null) await this.#dormancy.seen(peek);
    }
  }

  async #ended(peek: DevicePeek, at: number | undefined): Promise<void> {
    if (isTold(peek, at)) await this.#store.devicePeeks.remove(peek);
    else if (at !== undefined && !peek.delivered) {
      await this.#store.devicePeeks.update(peek, { delivered: true });
    }
  }

  #isStale(peek: DevicePeek): boolean {
    return this.#sinceless === 'all' || (this.#sinceless === 'delivered' && peek.delivered);
  }

  async #delivered(peek: DevicePeek): Promise<void> {
    if (peek.delivered && peek.initial === null) return;
    await this.#store.devicePeeks.update(peek, { delivered: true, initial: null });
  }
}
