import { isPreview } from '../device-peeks/preview-devices.ts';
import type { Clock } from '../platform/clock.ts';
import type { DevicePeek, Store } from '../store/store.ts';
import type { RoomReaders } from './room-readers.ts';
import type { Waking } from './waking.ts';

/** A peek that is read is kept awake, but not written down more often than this … */
const SEEN_EVERY_MS = 60_000;
/** … and so often at least before it would fall asleep. */
const SEEN_SHARE = 4;

export interface DormancyDeps {
  readonly store: Store;
  readonly readers: RoomReaders;
  readonly waking: Waking;
  readonly clock: Clock;
  /** How long after the last sync of a device its peeks fall asleep. */
  readonly dormantAfterMs: number;
}

/**
 * Devices that do not sync sleep: the room's feed need not run on their account. Their next sync wakes them, and
 * whoever waits in a held sync is awake.
 */
export class Dormancy {
  readonly #deps: DormancyDeps;
  /** A device that waits is to be seen so often. */
  readonly seenEveryMs: number;

  constructor(deps: DormancyDeps) {
    this.#deps = deps;
    this.seenEveryMs = Math.min(SEEN_EVERY_MS, deps.dormantAfterMs / SEEN_SHARE);
  }

  /** The device of this live peek is there. Rejects with `StoreDownError`. */
  async seen(peek: DevicePeek): Promise<void> {
    const { store, waking, clock } = this.#deps;
    const now = clock.now();
    if (peek.dormantSince === null && now - peek.seenAt < this.seenEveryMs) return;
    await store.devicePeeks.update(peek, { seenAt: now, dormantSince: null });
    // Though it seemed awake: it may have fallen asleep since it was read.
    waking.wake(peek.roomId);
  }

  /** Lets those sleep that were not seen for long, and rooms in which nobody is awake. Rejects with `StoreDownError`. */
  async sweep(now: number): Promise<void> {
    const { store, readers, dormantAfterMs } = this.#deps;
    const rooms = new Set<string>();
    for (const peek of await store.devicePeeks.all()) {
      // A preview has no device that could wake up: it ends instead.
      if (peek.ended !== null || peek.dormantSince !== null || isPreview(peek)) continue;
      if (peek.seenAt + dormantAfterMs > now) continue;
      if (await store.devicePeeks.sleep(peek, now)) rooms.add(peek.roomId);
    }
    for (const roomId of rooms) await readers.release(roomId);
  }
}
