import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientEvent, enc, type MatrixClient } from '../support/client.ts';
import { type Pair, startPair } from '../support/federation.ts';
import { type Answer, send } from '../support/http.ts';
import { newUser } from './accounts.ts';
import { homeserverState, homeserverTimeline, idsOf } from './rooms.ts';
import { until } from './until.ts';

const LIMITS = { proxyEnv: { PEEK_RATE_LIMIT: '10000/m' } };
/** Anybody may see which rooms are in its directory, and a room ID names no server. */
const SETTINGS = { settings: { allow_public_rooms_over_federation: true }, defaultRoomVersion: '12' };

let pair: Pair;
let alice: MatrixClient;
let bob: MatrixClient;
beforeAll(async () => {
  pair = await startPair({ store: 'sqlite', a: { ...LIMITS, synapse: SETTINGS }, b: LIMITS });
  [alice, bob] = await Promise.all([newUser(pair.a, 'alice'), newUser(pair.b, 'bob')]);
});
afterAll(() => pair?.stop());

const initialSync = (client: MatrixClient, roomId: string) =>
  client.request('GET', `/v3/rooms/${enc(roomId)}/initialSync?limit=20`);
const poll = (client: MatrixClient, roomId: string, from?: string, timeout = 30_000) =>
  client.request(
    'GET',
    `/v3/events?room_id=${enc(roomId)}&timeout=${timeout}${from === undefined ? '' : `&from=${enc(from)}`}`,
  );
const chunkOf = ({ body }: Answer) => body.chunk as ClientEvent[];
const messagesOf = ({ body }: Answer) =>
  body.messages as { chunk: ClientEvent[]; start: string; end: string };

/** How many previews B's proxy says that it has. */
const previews = async () => ((await pair.b.proxy.health()).peeks as { previews: number }).previews;

/** What the homeserver itself answers. */
const bare = (client: MatrixClient, target: string) =>
  send(pair.b.synapse.url, 'GET', `/_matrix/client${target}`, { token: client.token });

/** A client shows A's directory of rooms. Homeservers keep it for a while. */
async function browse(): Promise<string[]> {
  const { chunk } = await bob.require('GET', `/v3/publicRooms?server=${enc(pair.a.serverName)}&limit=100`);
  return (chunk as { room_id: string }[]).map(({ room_id: roomId }) => roomId);
}

/** A client looks up an alias of a room. */
async function lookUp(roomId: string): Promise<void> {
  const alias = `#room-${roomId.slice(1, 9).toLowerCase()}:${pair.a.serverName}`;
  await alice.require('PUT', `/v3/directory/room/${enc(alias)}`, { room_id: roomId });
  await bob.require('GET', `/v3/directory/room/${enc(alias)}`);
}

/** A client follows a link to the room. */
const summarise = (roomId: string) =>
  bob.require('GET', `/v1/room_summary/${enc(roomId)}?via=${enc(pair.a.serverName)}`);

describe('a client that knows no peeks', () => {
  it('previews a room of another server that it found in a directory, live', async () => {
    const roomId = await alice.createWorldReadableRoom({ name: 'The lobby', visibility: 'public' });
    expect(roomId).not.toContain(':');
    for (let i = 1; i <= 30; i++) await alice.sendText(roomId, `message ${i}`);
    expect((await initialSync(bob, roomId)).status).toBe(403);
    expect(await browse()).toContain(roomId);

    const shown = await initialSync(bob, roomId);
    expect(shown).toMatchObject({ status: 200, body: { room_id: roomId, presence: [] } });
    expect(shown.body).not.toHaveProperty('membership');
    const { chunk, start } = messagesOf(shown);
    expect(idsOf(chunk)).toEqual(idsOf(await homeserverTimeline(alice, roomId, 20)));
    const state = shown.body.state as ClientEvent[];
    const inState = new Map(state.map((event) => [`${event.type} ${event.state_key}`, event.event_id]));
    expect(new Map([...inState].sort())).toEqual(await homeserverState(alice, roomId));
    expect([...chunk, ...state].filter((event) => event.room_id !== roomId)).toEqual([]);

    // Nothing is lost between the initial sync and the first poll, which names no place.
    const early = [await alice.sendText(roomId, 'early'), await alice.sendText(roomId, 'bird')];
    let place: string | undefined;
    const got: string[] = [];
    while (got.length < 2) {
      const answer = await poll(bob, roomId, place);
      got.push(...idsOf(chunkOf(answer)));
      place = String(answer.body.end);
    }
    expect(got).toEqual(early);

    const waiting = poll(bob, roomId, place);
    const name = await alice.sendState(roomId, 'm.room.name', { name: 'The hall' });
    const live = await waiting;
    expect(chunkOf(live)).toEqual([
      expect.objectContaining({ event_id: name, room_id: roomId, state_key: '', sender: alice.userId }),
    ]);
    expect(live.ms).toBeLessThan(20_000);
    expect(chunkOf(await poll(bob, roomId, String(live.body.end), 0))).toEqual([]);

    // Back from where the initial sync began.
    const page = await bob.request(
      'GET',
      `/v3/rooms/${enc(roomId)}/messages?dir=b&limit=5&from=${enc(start)}`,
    );
    expect(page.status).toBe(200);
    const older = (await homeserverTimeline(alice, roomId, 28)).slice(0, 5);
    expect(idsOf(chunkOf(page).toReversed())).toEqual(idsOf(older));
    expect((await pair.b.proxy.health()).peeks).toMatchObject({ device: 0, previews: 1, outbound: 1 });
    // To the client's own /sync the room is nothing.
    expect((await bob.sync()).answer.text).not.toContain(roomId);
  });

  it('is shown nothing that was hidden, and nothing after the room turns private', async () => {
    const roomId = await alice.createRoom({ preset: 'public_chat', visibility: 'public' });
    const hidden = await alice.sendText(roomId, 'among ourselves');
    const opened = await alice.sendState(roomId, 'm.room.history_visibility', {
      history_visibility: 'world_readable',
    });
    const open = await alice.sendText(roomId, 'for everybody');
    await lookUp(roomId);
    const shown = await initialSync(bob, roomId);
    expect(idsOf(messagesOf(shown).chunk)).toEqual([opened, open]);
    expect(shown.text).not.toContain(hidden);
    expect(shown.text).not.toContain('among ourselves');

    const waiting = poll(bob, roomId);
    const closed = await alice.sendState(roomId, 'm.room.history_visibility', {
      history_visibility: 'joined',
    });
    await alice.sendText(roomId, 'among ourselves again');
    const last = await waiting;
    expect(idsOf(chunkOf(last))).toEqual([closed]);
    const target = `/v3/events?room_id=${enc(roomId)}&timeout=0`;
    const after = await poll(bob, roomId, String(last.body.end), 0);
    expect(after).toMatchObject({ status: 403, text: (await bare(bob, target)).text });
    expect((await initialSync(bob, roomId)).status).toBe(403);
  });

  it('has the homeserver’s own answer of a room that may not be peeked, and of its own rooms', async () => {
    const secret = await alice.createRoom({ preset: 'public_chat', visibility: 'public' });
    await lookUp(secret);
    const own = await bob.createWorldReadableRoom();
    await bob.sendText(own, 'at home');
    const carol = await newUser(pair.b, 'carol');
    for (const [roomId, status] of [
      [secret, 403],
      [secret, 403],
      [own, 200],
    ] as const) {
      const [answer, ours] = await Promise.all([
        initialSync(carol, roomId),
        bare(carol, `/v3/rooms/${enc(roomId)}/initialSync?limit=20`),
      ]);
      expect([answer.status, ours.status]).toEqual([status, status]);
      const ageless = (text: string) => text.replaceAll(/"(age|last_active_ago)":\d+/g, '');
      expect(ageless(answer.text)).toBe(ageless(ours.text));
      expect(answer.headers['content-type']).toBe(ours.headers['content-type']);
    }
    const waiting = poll(carol, own);
    const sent = await bob.sendText(own, 'live at home');
    expect(idsOf(chunkOf(await waiting))).toContain(sent);
  });

  it('joins what it previews, and the preview ends', async () => {
    const roomId = await alice.createWorldReadableRoom();
    await summarise(roomId);
    const dave = await newUser(pair.b, 'dave');
    const before = await previews();
    const { end } = messagesOf(await initialSync(dave, roomId));
    expect(await previews()).toBe(before + 1);
    await dave.join(roomId, [pair.a.serverName]);
    const sent = await alice.sendText(roomId, 'welcome');
    await dave.syncUntil(undefined, ({ rooms }) => roomId in rooms.join);
    await until('the preview ends', async () => (await previews()) === before);
    // The homeserver goes on with a poll that names a place of ours.
    const waiting = poll(dave, roomId, end, 5_000);
    await alice.sendText(roomId, 'again');
    expect((await waiting).status).toBe(200);
    expect(sent).toMatch(/^\$/);
  });
});
