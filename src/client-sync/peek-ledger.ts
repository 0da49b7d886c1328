import type { Device, DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { Peeking } from '../peeking/peeking.ts';
import type { Clock } from '../platform/clock.ts';
import type { DevicePeek, Store } from '../store/store.ts';
import { isTold } from './endings.ts';

/** Which peeks a request without `since` cancels: those a later request has shown to be delivered, all, or none. */
export type SincelessSync = 'delivered' | 'all' | 'none';

/** A peek that is read is kept alive, but not written down more often than this. */
const SEEN_EVERY_MS = 60_000;

/** What a presented token tells about the peeks of its device. */
export class PeekLedger {
  readonly #store: Store;
  readonly #peeking: Peeking;
  readonly #devicePeeks: DevicePeeks;
  readonly #clock: Clock;
  readonly #sinceless: SincelessSync;

  constructor(deps: {
    store: Store;
    peeking: Peeking;
    devicePeeks: DevicePeeks;
    clock: Clock;
    sincelessSync: SincelessSync;
  }) {
    this.#store = deps.store;
    this.#peeking = deps.peeking;
    this.#devicePeeks = deps.devicePeeks;
    this.#clock = deps.clock;
    this.#sinceless = deps.sincelessSync;
  }

  /**
   * Books what the token shows: peeks in it were delivered, tombstones not in it have been told. A request
   * without `since` cancels stale peeks. `read` is null for such a request.
   */
  async book(device: Device, read: ReadonlyMap<number, number> | null): Promise<void> {
    const now = this.#clock.now();
    for (const peek of await this.#devicePeeks.of(device)) {
      if (read === null) await this.#withoutSince(peek);
      else if (peek.ended !== null) {
        await this.#ended(peek, read.get(peek.instance));
        continue;
      } else await this.#withSince(peek, read.has(peek.instance));
      if (peek.ended === null && now - peek.seenAt >= SEEN_EVERY_MS) {
        await this.#store.devicePeeks.update(peek, { seenAt: now });
      }
    }
  }

  async #ended(peek: DevicePeek, at: number | undefined): Promise<void> {
    if (isTold(peek, at)) await this.#store.devicePeeks.remove(peek);
    else if (at !== undefined && !peek.delivered) {
      await this.#store.devicePeeks.update(peek, { delivered: true });
    }
  }

  async #withoutSince(peek: DevicePeek): Promise<void> {
    if (peek.ended !== null) return;
    const stale = this.#sinceless === 'all' || (this.#sinceless === 'delivered' && peek.delivered);
    if (stale) await this.#peeking.end(peek, 'cancelled');
  }

  async #withSince(peek: DevicePeek, inToken: boolean): Promise<void> {
    if (!inToken || (peek.delivered && peek.initial === null)) return;
    await this.#store.devicePeeks.update(peek, { delivered: true, initial: null });
  }
}
