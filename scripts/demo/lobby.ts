import { type MatrixClient, register } from '../../test/support/client.ts';
import type { Site } from '../../test/support/federation.ts';

/** Members of the lobby, its creator included. */
export const MEMBERS = 60;

/** Registrations at a time: Synapse hashes a password for each. */
const AT_ONCE = 12;

/** A world-readable room with a past. */
export interface Lobby {
  readonly roomId: string;
  readonly alias: string;
  readonly creator: MatrixClient;
  /** A message whose text was taken back. */
  readonly redacted: string;
  /** The event that edits a message, and the text it puts in its place. */
  readonly edit: string;
  readonly editedText: string;
  /** A member who was made a moderator, and by which event. */
  readonly moderator: string;
  readonly powerLevels: string;
}

/** Makes the room with all that happened in it. */
export async function makeLobby(site: Site, creator: MatrixClient): Promise<Lobby> {
  const alias = `#lobby:${site.serverName}`;
  const roomId = await creator.createWorldReadableRoom({
    name: 'The lobby',
    topic: 'Everyone may look in',
    room_alias_name: 'lobby',
  });
  const members = await fill(site, roomId);
  const moderator = members[0]?.userId ?? creator.userId;
  const regretted = await creator.sendText(roomId, 'this was a mistake');
  await creator.redact(roomId, regretted);
  const misspelt = await creator.sendText(roomId, 'helo');
  const edit = await creator.send(roomId, 'm.room.message', {
    msgtype: 'm.text',
    body: '* hello',
    'm.new_content': { msgtype: 'm.text', body: 'hello' },
    'm.relates_to': { rel_type: 'm.replace', event_id: misspelt },
  });
  const powerLevels = await promote(creator, roomId, moderator);
  return { roomId, alias, creator, redacted: regretted, edit, editedText: 'hello', moderator, powerLevels };
}

async function fill(site: Site, roomId: string): Promise<MatrixClient[]> {
  const names = Array.from({ length: MEMBERS - 1 }, (_, i) => `member-${String(i + 1).padStart(2, '0')}`);
  const members: MatrixClient[] = [];
  const next = names.values();
  const lane = async () => {
    for (const name of next) {
      const member = await register(site.url, name);
      await member.join(roomId);
      members.push(member);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return members;
}

async function promote(creator: MatrixClient, roomId: string, userId: string): Promise<string> {
  const path = `/v3/rooms/${encodeURIComponent(roomId)}/state/m.room.power_levels/`;
  const levels = await creator.require('GET', path);
  const users = (levels.users ?? {}) as Record<string, number>;
  return creator.sendState(roomId, 'm.room.power_levels', { ...levels, users: { ...users, [userId]: 50 } });
}
