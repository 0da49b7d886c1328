import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import { LivePreviews } from '../device-peeks/live-previews.ts';
import { previewDevice } from '../device-peeks/preview-devices.ts';
import type { RoomQueues } from '../feeds/room-queues.ts';
import type { Identity } from '../homeserver/homeserver.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import { limitExceeded } from '../platform/matrix-error.ts';
import type { DevicePeek, RoomLog, Store } from '../store/store.ts';
import { deviceOf, type Peeker, type Peeking } from './peeking.ts';
import type { RoomReaders } from './room-readers.ts';

/** A client that has stopped says nothing; one that goes on polls every thirty seconds. */
export const PREVIEW_LEASE_MS = 5 * 60_000;
/** Of one user at once; the one that was read the longest ago makes room. */
export const MOST_PREVIEWS_OF_USER = 20;
/** Of all users. */
const MOST_PREVIEWS = 10_000;
/** That a preview is read is written down so often, and not with each poll. */
const SEEN_EVERY_MS = 30_000;

export interface PreviewingDeps {
  readonly store: Store;
  readonly outbound: OutboundPeeks;
  readonly peeking: Peeking;
  readonly devicePeeks: DevicePeeks;
  readonly readers: RoomReaders;
  readonly queues: RoomQueues;
  readonly clock: Clock;
  /** `MOST_PREVIEWS_OF_USER`, or fewer. */
  readonly mostOfUser: number;
}

/** A preview that has just begun or was renewed, and the room's log. */
export interface Preview {
  readonly peek: DevicePeek;
  readonly log: RoomLog;
}

/**
 * The previews of clients that know no peeks: peeks into rooms that our homeserver is not in, which nobody ends
 * and which therefore end by themselves. `initial.to` is the place up to which the client was shown the room.
 */
export class Previewing {
  readonly #deps: PreviewingDeps;
  readonly #live: LivePreviews;

  constructor(deps: PreviewingDeps) {
    this.#deps = deps;
    this.#live = new LivePreviews(deps.store);
  }

  /** Learns who previews, and keeps up with what other processes change. */
  start(): Promise<void> {
    return this.#live.start();
  }

  /** How many previews there are. */
  get count(): number {
    return this.#live.count;
  }

  /** Whether anything is previewed at all. */
  get anyone(): boolean {
    return this.#live.count > 0;
  }

  /** Whether the user's device is shown this room just now. */
  mayRead(who: Identity, roomId: string): boolean {
    return this.#live.has(previewDevice(deviceOf(who)), roomId);
  }

  /** Whether the room is peeked at another server already: then nobody has to be asked. */
  isOpen(roomId: string): boolean {
    return this.#deps.outbound.servers(roomId, 0).length > 0;
  }

  /** Whether it was peeked before, and can be again through the same servers: nobody who reads it is awake. */
  async isAsleep(roomId: string): Promise<boolean> {
    const log = await this.#deps.store.logs.get(roomId);
    return log !== null && log.closed === null && log.asleep !== null;
  }

  /** Opens the room, or finds it open, and notes that this device reads it. Rejects as `Peeking.peek` does. */
  async begin(who: Peeker, roomId: string): Promise<Preview> {
    const begin = async (log: RoomLog) => ({ peek: await this.#note(who, roomId), log });
    const open = await this.#deps.queues.run(roomId, async () => {
      const log = await this.#openLog(roomId);
      if (log === null) return null;
      await this.#deps.peeking.refuseBanned(who, roomId);
      return begin(log);
    });
    return open ?? this.#deps.peeking.opened(who, roomId, [], begin);
  }

  /** The device's preview of the room, or what is left of one that has ended; null where there is none. */
  async of(who: Identity, roomId: string): Promise<DevicePeek | null> {
    const { userId, deviceId } = previewDevice(deviceOf(who));
    const held = await this.#deps.store.devicePeeks.ofDevice(userId, deviceId);
    const ofRoom = held.filter((peek) => peek.roomId === roomId);
    return ofRoom.find(({ ended }) => ended === null) ?? ofRoom.at(-1) ?? null;
  }

  /** The client has been shown the room from `from` to `to`. */
  async shown(peek: DevicePeek, from: number, to: number): Promise<void> {
    await this.#deps.store.devicePeeks.update(peek, { initial: { from, to } });
  }

  /** The client reads on. */
  async seen(peek: DevicePeek): Promise<void> {
    const now = this.#deps.clock.now();
    if (peek.ended !== null || now - peek.seenAt < SEEN_EVERY_MS) return;
    await this.#deps.store.devicePeeks.update(peek, { seenAt: now });
  }

  /** A user of ours is in the room: the homeserver shows it to them from now on. */
  async joined(userId: string, roomId: string): Promise<void> {
    for (const peek of this.#live.ofUser(userId)) if (peek.roomId === roomId) await this.end(peek);
  }

  /** Ends a preview without a trace. */
  async end(peek: DevicePeek): Promise<void> {
    await this.#deps.store.devicePeeks.remove(peek);
    await this.#deps.readers.release(peek.roomId);
  }

  /** Ends a preview that nobody reads any more, or forgets one that has ended otherwise. */
  async sweep(peek: DevicePeek, now: number): Promise<void> {
    if (Math.max(peek.seenAt, peek.ended?.at ?? 0) + PREVIEW_LEASE_MS <= now) await this.end(peek);
  }

  /** The log of a room that is open already; null where it has to be opened first. */
  async #openLog(roomId: string): Promise<RoomLog | null> {
    const log = await this.#deps.store.logs.get(roomId);
    if (log === null || log.closed !== null || log.asleep !== null) return null;
    return log.feed === 'remote' && this.isOpen(roomId) ? log : null;
  }

  async #note(who: Identity, roomId: string): Promise<DevicePeek> {
    const { devicePeeks, store } = this.#deps;
    const device = previewDevice(deviceOf(who));
    for (const left of await store.devicePeeks.ofDevice(device.userId, device.deviceId)) {
      if (left.roomId === roomId && left.ended !== null) await store.devicePeeks.remove(left);
    }
    await this.#makeRoom(who.userId, roomId);
    const { peek } = await devicePeeks.begin(device, roomId);
    await this.#live.learn(device);
    return peek;
  }

  async #makeRoom(userId: string, roomId: string): Promise<void> {
    const { store, readers, mostOfUser } = this.#deps;
    const others = this.#live.ofUser(userId).filter((peek) => peek.roomId !== roomId);
    const tooMany = others.toSorted((a, b) => b.seenAt - a.seenAt).slice(mostOfUser - 1);
    for (const peek of tooMany) {
      await store.devicePeeks.remove(peek);
      await this.#live.learn(peek);
      // Its room has a turn of its own, which must not be waited for in the turn of another.
      void readers.releaseQuietly(peek.roomId);
    }
    if (this.count >= MOST_PREVIEWS) throw limitExceeded('Too many rooms are previewed', PREVIEW_LEASE_MS);
  }
}
