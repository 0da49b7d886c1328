import type { Store } from '../store/store.ts';

/** Wakes whoever waits for a room's log to grow, or for a device's peeks to change. */
export class RoomWakes {
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #stop: () => void;

  constructor(store: Store) {
    this.#stop = store.subscribe((notice) => {
      if (notice.kind === 'log') this.#wake(roomTopic(notice.roomId));
      else if (notice.kind === 'device') this.#wake(deviceTopic(notice.userId, notice.deviceId));
    });
  }

  /**
   * Calls `listener` each time one of the rooms' logs has grown or closed, or the device's peeks have changed,
   * until the returned function is called.
   */
  watch(
    roomIds: Iterable<string>,
    listener: () => void,
    device?: { readonly userId: string; readonly deviceId: string },
  ): () => void {
    const topics = Array.from(roomIds, roomTopic);
    if (device !== undefined) topics.push(deviceTopic(device.userId, device.deviceId));
    for (const topic of topics) {
      const set = this.#listeners.get(topic) ?? new Set();
      set.add(listener);
      this.#listeners.set(topic, set);
    }
    return () => {
      for (const topic of topics) {
        const set = this.#listeners.get(topic);
        set?.delete(listener);
        if (set?.size === 0) this.#listeners.delete(topic);
      }
    };
  }

  close(): void {
    this.#stop();
    this.#listeners.clear();
  }

  #wake(topic: string): void {
    for (const listener of [...(this.#listeners.get(topic) ?? [])]) listener();
  }
}

function roomTopic(roomId: string): string {
  return `room\u0000${roomId}`;
}

function deviceTopic(userId: string, deviceId: string): string {
  return `device\u0000${userId}\u0000${deviceId}`;
}
