import type { Device } from '../device-peeks/device-peeks.ts';
import type { Peeking } from '../peeking/peeking.ts';
import type { DeviceSections } from './device-sections.ts';
import type { SyncRooms } from './splice.ts';

/** Rooms that the homeserver itself speaks of in an answer: its word goes first. */
export class Joins {
  readonly #peeking: Peeking;

  constructor(peeking: Peeking) {
    this.#peeking = peeking;
  }

  /**
   * Our sections without the rooms that the homeserver has. A joined room's peeks end here, for all devices of
   * the user, and are not told in `leave`. One that is invited, knocked on or left waits for the next answer:
   * its place in the token stays where it was.
   */
  async yieldTo(
    rooms: SyncRooms,
    sections: DeviceSections,
    read: ReadonlyMap<number, number> | null,
    device: Device,
  ): Promise<DeviceSections> {
    const ours: DeviceSections = {
      peek: new Map(sections.peek),
      leave: new Map(sections.leave),
      read: new Map(sections.read),
      live: sections.live,
      known: sections.known,
      told: sections.told,
      stateName: sections.stateName,
    };
    for (const [roomId, peek] of sections.live) {
      if (rooms.join.has(roomId)) {
        ours.peek.delete(roomId);
        ours.read.delete(peek.instance);
        await this.#peeking.joined(device.userId, roomId);
      } else if (rooms.invite.has(roomId) || rooms.knock.has(roomId) || rooms.leave.has(roomId)) {
        ours.peek.delete(roomId);
        const at = read?.get(peek.instance);
        if (at === undefined) ours.read.delete(peek.instance);
        else ours.read.set(peek.instance, at);
      }
    }
    for (const [roomId, instance] of sections.told) {
      if (
        !rooms.join.has(roomId) &&
        !rooms.invite.has(roomId) &&
        !rooms.knock.has(roomId) &&
        !rooms.leave.has(roomId)
      )
        continue;
      ours.leave.delete(roomId);
      const at = read?.get(instance);
      if (at !== undefined && !rooms.join.has(roomId)) ours.read.set(instance, at);
    }
    return ours;
  }
}
