import { RoomBuilder } from '../support/room-builder.ts';

/** How many servers the members are of. */
const SERVERS = 50;
/** Power levels that were changed, and state beside memberships. */
const LEVELS = 60;
const OTHERS = 95;

export const MEMBER_SERVERS = Array.from({ length: SERVERS }, (_, n) => `members${n}.test`);

/** A room as large public ones are: nearly nothing but members, each signed by its own server, and some talk. */
export function bigRoom(server: string, members: number): RoomBuilder {
  const room = new RoomBuilder('10', server, 'big');
  for (let n = 0; n < LEVELS; n++) {
    room.state('m.room.power_levels', '', {
      users: { [room.creator]: 100 },
      events_default: 0,
      ban: 50 + (n % 50),
    });
  }
  for (let n = 0; n < OTHERS; n++) room.state('test.widget', `w${n}`, { url: 'https://example.org/' });
  room.state('m.room.name', '', { name: 'Big' });
  for (let n = 0; n < members; n++) {
    const home = MEMBER_SERVERS[n % SERVERS];
    room.member(`@user${n}:${home}`, 'join', {
      displayname: `Member number ${n} ✨`,
      avatar_url: `mxc://${home}/${'a'.repeat(24)}`,
    });
  }
  for (let n = 0; n < 50; n++) room.message(`message ${n}`, `@user${n % 7}:${MEMBER_SERVERS[n % 7]}`);
  return room;
}
