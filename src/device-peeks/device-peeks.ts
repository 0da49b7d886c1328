import type { Clock } from '../platform/clock.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { DevicePeek, Store } from '../store/store.ts';

export interface Device {
  readonly userId: string;
  readonly deviceId: string;
}

/** 2026-01-01T00:00:00Z; instances count the seconds from here, which keeps them short in sync tokens. */
const ORIGIN = Date.UTC(2026, 0, 1);

/** Which device peeks into what. Which devices have anything here is known without asking the store. */
export class DevicePeeks {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #limits: { readonly perDevice: number; readonly expireAfterMs: number };
  readonly #known = new Set<string>();
  #lastInstance = 0;

  constructor(store: Store, clock: Clock, limits: { perDevice: number; expireAfterMs: number }) {
    this.#store = store;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Learns which devices peek, and keeps up with what other processes change. */
  async start(): Promise<void> {
    this.#store.subscribe((notice) => {
      if (notice.kind === 'device') this.#known.add(deviceKey(notice));
    });
    for (const device of await this.#store.devicePeeks.devices()) this.#known.add(deviceKey(device));
  }

  /** Whether the device may have a peek or something to be told; false is certain. */
  mayPeek(device: Device): boolean {
    return this.#known.has(deviceKey(device));
  }

  /** Whether any device may have one. */
  get anyPeeks(): boolean {
    return this.#known.size > 0;
  }

  /** Starts a peek, or renews the one there is. Rejects with 429 when the device holds its limit. */
  async begin(device: Device, roomId: string): Promise<{ peek: DevicePeek; created: boolean }> {
    const now = this.#clock.now();
    const added = await this.#store.devicePeeks.add(
      {
        ...device,
        roomId,
        instance: this.#nextInstance(now),
        createdAt: now,
        seenAt: now,
        dormantSince: null,
        initial: null,
        delivered: false,
        ended: null,
      },
      this.#limits.perDevice,
    );
    if (added === 'full') {
      throw new MatrixError(
        429,
        'M_LIMIT_EXCEEDED',
        `This device peeks into ${this.#limits.perDevice} rooms already: end one first`,
        {
          retry_after_ms: 60_000,
        },
      );
    }
    this.#known.add(deviceKey(device));
    return added;
  }

  /** Live peeks and tombstones. A device that turns out to have none is forgotten. */
  async of(device: Device): Promise<DevicePeek[]> {
    const peeks = await this.#store.devicePeeks.ofDevice(device.userId, device.deviceId);
    if (peeks.length === 0) this.#known.delete(deviceKey(device));
    return peeks;
  }

  expiresAt(peek: DevicePeek): number {
    return peek.seenAt + this.#limits.expireAfterMs;
  }

  #nextInstance(now: number): number {
    this.#lastInstance = Math.max(this.#lastInstance + 1, Math.floor((now - ORIGIN) / 1000));
    return this.#lastInstance;
  }
}

/** A device ID and a user ID hold no NUL: both are refused by every homeserver. */
export function deviceKey(device: Device): string {
  return `${device.userId}\u0000${device.deviceId}`;
}
