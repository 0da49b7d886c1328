import type { DevicePeek, Store } from '../store/store.ts';
import { type Device, deviceKey } from './device-peeks.ts';
import { isPreview } from './preview-devices.ts';

/** Who previews what, known without asking the store. What other processes change is known a moment later. */
export class LivePreviews {
  readonly #store: Store;
  /** By preview device. */
  readonly #held = new Map<string, readonly DevicePeek[]>();
  /** User → the names of the devices in `#held`. */
  readonly #ofUser = new Map<string, Set<string>>();
  #count = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  async start(): Promise<void> {
    this.#store.subscribe((notice) => {
      // What a lost notice leaves wrong is put right by the next one, and decides nothing for long.
      if (notice.kind === 'device' && isPreview(notice)) this.learn(notice).catch(() => undefined);
    });
    for (const device of await this.#store.devicePeeks.devices()) {
      if (isPreview(device)) await this.learn(device);
    }
  }

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Whether a preview device has the room just now. */
  has(device: Device, roomId: string): boolean {
    return this.#held.get(deviceKey(device))?.some((peek) => peek.roomId === roomId) ?? false;
  }

  /** Those of all devices of a user. */
  ofUser(userId: string): DevicePeek[] {
    const names = [...(this.#ofUser.get(userId) ?? [])];
    return names.flatMap((name) => this.#held.get(name) ?? []);
  }

  /** Reads what a preview device has now. */
  async learn(device: Device): Promise<void> {
    const { userId, deviceId } = device;
    const held = await this.#store.devicePeeks.ofDevice(userId, deviceId);
    const peeks = held.filter(({ ended }) => ended === null);
    const name = deviceKey(device);
    const names = this.#ofUser.get(userId) ?? new Set();
    this.#count += peeks.length - (this.#held.get(name)?.length ?? 0);
    if (peeks.length > 0) {
      this.#held.set(name, peeks);
      this.#ofUser.set(userId, names.add(name));
      return;
    }
    this.#held.delete(name);
    names.delete(name);
    if (names.size === 0) this.#ofUser.delete(userId);
  }
}
