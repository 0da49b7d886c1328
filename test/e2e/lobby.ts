import { randomBytes } from 'node:crypto';
import type { MatrixClient } from '../support/client.ts';

export interface Lobby {
  readonly roomId: string;
  readonly alias: string;
}

/** A world-readable room of the owner's server, in its directory, where `speaker` has said `said 1` to `said N`. */
export async function makeLobby(
  owner: MatrixClient,
  speaker: MatrixClient,
  messages: number,
): Promise<Lobby> {
  const name = `lobby-${randomBytes(4).toString('hex')}`;
  const roomId = await owner.createWorldReadableRoom({
    name: 'The lobby',
    topic: 'Everyone may look in',
    room_alias_name: name,
    visibility: 'public',
  });
  await speaker.join(roomId);
  for (let i = 1; i <= messages; i++) await speaker.sendText(roomId, `said ${i}`);
  const server = owner.userId.slice(owner.userId.indexOf(':') + 1);
  return { roomId, alias: `#${name}:${server}` };
}
