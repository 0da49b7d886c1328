import { deviceBehind } from '../device-peeks/preview-devices.ts';
import type { Store } from '../store/store.ts';
import type { RoomReaders } from './room-readers.ts';

/** Devices whose sessions have ended. Their peeks go without a trace: nobody is left who could be told. */
export class GoneDevices {
  readonly #store: Store;
  readonly #readers: RoomReaders;

  constructor(store: Store, readers: RoomReaders) {
    this.#store = store;
    this.#readers = readers;
  }

  /** Of this user, the devices of which `isGone` says so. Rejects with `StoreDownError`. */
  async end(userId: string, isGone: (deviceId: string) => boolean): Promise<void> {
    const { devicePeeks } = this.#store;
    const rooms = new Set<string>();
    for (const device of await devicePeeks.devices()) {
      if (device.userId !== userId || !isGone(deviceBehind(device).deviceId)) continue;
      for (const peek of await devicePeeks.ofDevice(userId, device.deviceId)) {
        await devicePeeks.remove(peek);
        rooms.add(peek.roomId);
      }
    }
    for (const roomId of rooms) await this.#readers.releaseQuietly(roomId);
  }
}
