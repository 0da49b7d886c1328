import type { Clock } from '../platform/clock.ts';
import { limitExceeded, type MatrixError } from '../platform/matrix-error.ts';
import { InstanceTakenError } from '../store/instance-taken-error.ts';
import type { DevicePeek, Store } from '../store/store.ts';
import { isPreview } from './preview-devices.ts';

export interface Device {
  readonly userId: string;
  readonly deviceId: string;
}

/** 2026-01-01T00:00:00Z; instances count the seconds from here, which keeps them short in sync tokens. */
const ORIGIN = Date.UTC(2026, 0, 1);

const MOST_ATTEMPTS = 20;
/** A device that holds its limit is told to try again after this; it has to end a peek before that. */
const FULL_RETRY_MS = 60_000;

/** Which device peeks into what. Which devices have anything here is known without asking the store. */
export class DevicePeeks {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #limits: { readonly perDevice: number; readonly expireAfterMs: number };
  readonly #known = new Set<string>();
  #learned = 0;
  #started = false;
  #lastInstance = 0;

  constructor(store: Store, clock: Clock, limits: { perDevice: number; expireAfterMs: number }) {
    this.#store = store;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Learns which devices peek, and keeps up with what other processes change. */
  async start(): Promise<void> {
    this.#store.subscribe((notice) => {
      if (notice.kind === 'device') this.#learn(notice);
    });
    for (const device of await this.#store.devicePeeks.devices()) this.#learn(device);
    this.#started = true;
  }

  /** Whether it is known who peeks: before that nobody seems to. */
  get started(): boolean {
    return this.#started;
  }

  /** Whether the device may have a peek or something to be told; false is certain. */
  mayPeek(device: Device): boolean {
    return this.#known.has(deviceKey(device));
  }

  /** Whether any device may have one. */
  get anyPeeks(): boolean {
    return this.#known.size > 0;
  }

  /** Rejects with 429 when the device holds its limit without this room: before anything is done for it. */
  async refuseBeyondLimit(device: Device, roomId: string): Promise<void> {
    const live = (await this.of(device)).filter(({ ended }) => ended === null);
    if (live.length >= this.#limits.perDevice && !live.some((peek) => peek.roomId === roomId)) {
      throw this.#full();
    }
  }

  #full(): MatrixError {
    const rooms = this.#limits.perDevice;
    return limitExceeded(`This device peeks into ${rooms} rooms already: end one first`, FULL_RETRY_MS);
  }

  /** Starts a peek, or renews the one there is. Rejects with 429 when the device holds its limit. */
  async begin(device: Device, roomId: string): Promise<{ peek: DevicePeek; created: boolean }> {
    const added = await this.#add(device, roomId, this.#clock.now());
    if (added === 'full') throw this.#full();
    this.#learn(device);
    return added;
  }

  /** Another process may have given the same instance in this very second: then the next one is taken. */
  async #add(
    device: Device,
    roomId: string,
    now: number,
  ): Promise<{ peek: DevicePeek; created: boolean } | 'full'> {
    for (let attempt = 1; ; attempt++) {
      const peek: DevicePeek = {
        ...device,
        roomId,
        instance: this.#nextInstance(now),
        createdAt: now,
        seenAt: now,
        dormantSince: null,
        initial: null,
        delivered: false,
        ended: null,
      };
      try {
        return await this.#store.devicePeeks.add(peek, this.#limits.perDevice);
      } catch (error) {
        if (!(error instanceof InstanceTakenError) || attempt === MOST_ATTEMPTS) throw error;
      }
    }
  }

  /** Live peeks and tombstones. A device that turns out to have none is forgotten. */
  async of(device: Device): Promise<DevicePeek[]> {
    const learned = this.#learned;
    const peeks = await this.#store.devicePeeks.ofDevice(device.userId, device.deviceId);
    // A peek that began while the store was asked must not be forgotten.
    if (peeks.length === 0 && this.#learned === learned) this.#known.delete(deviceKey(device));
    return peeks;
  }

  expiresAt(peek: DevicePeek): number {
    return peek.seenAt + this.#limits.expireAfterMs;
  }

  #learn(device: Device): void {
    if (isPreview(device)) return;
    this.#known.add(deviceKey(device));
    this.#learned++;
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
