import { type ClientEvent, enc, type MatrixClient, type SyncAnswer } from '../../test/support/client.ts';
import { type Lobby, MEMBERS } from './lobby.ts';
import type { Story } from './story.ts';

/** bob peeks the room by its alias, and gets it in his next /sync; gives that answer. */
export async function peekByAlias(story: Story, bob: MatrixClient, lobby: Lobby): Promise<SyncAnswer> {
  const before = await bob.sync();

  story.step(`bob, on B, peeks ${lobby.alias}: nobody of B is in that room`);
  const target = `POST /_matrix/client/v3/peek/${enc(lobby.alias)}`;
  const peeked = await story.exchange(target, bob.peek(lobby.alias));
  story.check(peeked.status === 200, 'the peek is accepted');
  story.check(peeked.body.room_id === lobby.roomId, "the answer names the room by A's room ID");

  story.step("The room is in the peek section of bob's next /sync");
  const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
  const room = sync.rooms.peek[lobby.roomId];
  const state = room?.state?.events ?? [];
  const timeline = room?.timeline?.events ?? [];
  await story.exchange(`GET /_matrix/client/v3/sync?since=…`, Promise.resolve(sync.answer), () => ({
    rooms: {
      peek: { [lobby.roomId]: { state: `${state.length} events`, timeline: `${timeline.length} events` } },
    },
  }));
  checkFirstSection(story, lobby, state, timeline);
  story.check(!(lobby.roomId in sync.rooms.join), 'it is not among the joined rooms');
  return sync;
}

/** What a peeker must see of the room, wherever the timeline happens to begin. */
export function checkFirstSection(
  story: Story,
  lobby: Lobby,
  state: readonly ClientEvent[],
  timeline: readonly ClientEvent[],
): void {
  const all = [...state, ...timeline];
  const joined = all.filter(({ type, content }) => type === 'm.room.member' && content.membership === 'join');
  const find = (id: string) => all.find(({ event_id }) => event_id === id);
  story.check(
    new Set(joined.map((event) => event.state_key)).size === MEMBERS,
    `all ${MEMBERS} members are there`,
  );
  story.check(timeline.length > 0, 'the newest messages are in the timeline');
  const redacted = find(lobby.redacted);
  story.check(
    redacted !== undefined && !('body' in redacted.content),
    'the redacted message has lost its text',
  );
  const replacement = find(lobby.edit)?.content['m.new_content'] as { body?: unknown } | undefined;
  story.check(replacement?.body === lobby.editedText, 'the edit is there');
  const users = find(lobby.powerLevels)?.content.users as Record<string, unknown> | undefined;
  story.check(users?.[lobby.moderator] === 50, 'the power levels are those after the change');
  const ids = all.map(({ event_id }) => event_id);
  story.check(new Set(ids).size === ids.length, 'no event is there twice');
}

/** bob stops; the room is in `leave` once, and then in no section at all. */
export async function unpeek(story: Story, bob: MatrixClient, lobby: Lobby, since: string): Promise<void> {
  story.step('bob stops peeking');
  const target = `POST /_matrix/client/v3/rooms/${enc(lobby.roomId)}/unpeek`;
  const unpeeked = await story.exchange(target, bob.unpeek(lobby.roomId));
  story.check(unpeeked.status === 200, 'the unpeek is accepted');
  const told = await bob.sync({ since, timeout: 10_000 });
  await story.exchange('GET /_matrix/client/v3/sync?since=…', Promise.resolve(told.answer), sections);
  story.check(lobby.roomId in told.rooms.leave, 'the next /sync has the room in leave');
  await lobby.creator.sendText(lobby.roomId, 'bob does not read this');
  const after = await bob.sync({ since: told.next_batch, timeout: 500 });
  const everywhere = Object.values(after.rooms).flatMap((rooms) => Object.keys(rooms));
  story.check(!everywhere.includes(lobby.roomId), 'the one after that does not know it any more');
}

/** Rooms that cannot be peeked are refused for what they are. */
export async function refusals(
  story: Story,
  bob: MatrixClient,
  alice: MatrixClient,
  serverName: string,
): Promise<void> {
  story.step('What may not be read cannot be peeked');
  const hidden = await alice.createRoom({ preset: 'private_chat', name: 'Back office' });
  const peek = (room: string) =>
    story.exchange(
      `POST /_matrix/client/v3/peek/${enc(room)}?server_name=${enc(serverName)}`,
      bob.peek(room, [serverName]),
    );
  const refused = await peek(hidden);
  story.check(
    refused.status === 403 && refused.body.errcode === 'M_FORBIDDEN',
    'a private room: 403 M_FORBIDDEN',
  );
  const unknown = await peek(`#nowhere:${serverName}`);
  story.check(
    unknown.status === 404 && unknown.body.errcode === 'M_NOT_FOUND',
    'an unknown one: 404 M_NOT_FOUND',
  );
}

function sections(answer: { body: Record<string, unknown> }): unknown {
  const rooms = (answer.body.rooms ?? {}) as Record<string, Record<string, unknown>>;
  return { rooms: Object.fromEntries(Object.entries(rooms).map(([name, of]) => [name, Object.keys(of)])) };
}
