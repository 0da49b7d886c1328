import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { ALICE, type HouseOptions, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

export const MINUTE = 60_000;
export const OTHER = 'other.test';

/** A room of `PEER` that alice peeks; these users of other servers are in it too. */
export async function peekedRoom(
  members: readonly string[] = [],
  named: readonly string[] = [PEER],
  options: HouseOptions = {},
) {
  const house = await PeekingHouse.open(options);
  const room = new RoomBuilder();
  for (const userId of members) room.member(userId, 'join');
  room.messages(3, 'before');
  house.remoteRoom(room);
  await house.peek(room.roomId, ALICE, named);
  return { house, room };
}

/** Time passes, with a sweep every fifteen seconds. */
export async function pass(house: PeekingHouse, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 15_000) {
    await house.settle(Math.min(15_000, ms - passed));
    const swept = house.outbound.sweep(house.clock.now());
    // Candidates that never answer are waited for by the clock.
    let done = false;
    void swept.finally(() => {
      done = true;
    });
    await house.settle();
    for (let i = 0; !done && i < 60; i++) await house.settle(1000);
    await swept;
    await house.settle();
  }
}

/** Nothing that is sent to the server arrives. */
export function down(house: PeekingHouse, server: string): void {
  for (const method of ['PUT', 'POST', 'DELETE', 'GET']) {
    house.remote.on(server, method, '/', new RemoteUnreachable('down'));
  }
}

/** Through whom the room is peeked, the oldest first. */
export async function through(house: PeekingHouse, room: RoomBuilder): Promise<string[]> {
  const peeks = await house.store.outboundPeeks.ofRoom(room.roomId);
  return peeks.filter(({ phase }) => phase === 'live').map(({ server }) => server);
}

/** The bodies of the messages in the room's log, in their order. */
export async function bodies(house: PeekingHouse, room: RoomBuilder): Promise<string[]> {
  const entries = await house.store.logs.read(room.roomId, 0, 1000);
  return entries
    .filter(({ type }) => type === 'm.room.message')
    .map(({ json }) => JSON.parse(json).content.body as string);
}
