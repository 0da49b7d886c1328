import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientEvent, enc, type MatrixClient } from '../support/client.ts';
import { type Pair, startPair } from '../support/federation.ts';
import { newUser } from './accounts.ts';
import { idsOf } from './rooms.ts';

let pair: Pair;
beforeAll(async () => {
  const proxyEnv = { PEEK_RATE_LIMIT: '10000/m' };
  pair = await startPair({ store: 'sqlite', a: { proxyEnv }, b: { proxyEnv } });
});
afterAll(() => pair?.stop());

const room = (roomId: string, path: string) => `/v3/rooms/${enc(roomId)}/${path}`;

describe('somebody who has left a room of their own homeserver', () => {
  let alice: MatrixClient;
  let dave: MatrixClient;
  let roomId: string;
  let before: string;
  let since: string;
  beforeAll(async () => {
    alice = await newUser(pair.a, 'alice');
    dave = await newUser(pair.a, 'dave');
    roomId = await alice.createWorldReadableRoom({ name: 'Before' });
    await dave.join(roomId);
    before = await alice.sendText(roomId, 'before the leave');
    await dave.leave(roomId);
    since = (await dave.sync()).next_batch;
    await alice.sendState(roomId, 'm.room.name', { name: 'After' });
  });

  async function messages(reader: MatrixClient, query = 'dir=b&limit=50'): Promise<ClientEvent[]> {
    return (await reader.require('GET', room(roomId, `messages?${query}`))).chunk as ClientEvent[];
  }
  const nameSeenBy = async (reader: MatrixClient) =>
    (await reader.require('GET', room(roomId, 'state/m.room.name'))).name;
  const joinedSeenBy = async (reader: MatrixClient) => {
    const { chunk } = await reader.require('GET', room(roomId, 'members?membership=join'));
    return (chunk as ClientEvent[]).map(({ state_key }) => state_key).toSorted();
  };

  it('is shown it as of their leave, and as it is while they peek', async () => {
    const carol = await newUser(pair.a, 'carol');
    await carol.join(roomId);
    const after = await carol.sendText(roomId, 'after the leave');
    expect(await nameSeenBy(dave)).toBe('Before');
    expect(idsOf(await messages(dave))).not.toContain(after);
    expect(await joinedSeenBy(dave)).toEqual([alice.userId]);
    expect((await dave.request('GET', room(roomId, 'joined_members'))).status).toBe(403);

    expect(await dave.peek(roomId)).toMatchObject({ status: 200 });
    expect(await nameSeenBy(dave)).toBe('After');
    const seen = await messages(dave);
    expect(idsOf(seen).slice(0, 2)).toEqual([after, expect.any(String)]);
    expect(idsOf(seen)).toContain(before);
    for (const event of seen) expect(event.unsigned).not.toHaveProperty('membership');
    expect(await joinedSeenBy(dave)).toEqual([alice.userId, carol.userId].toSorted());
    const state = JSON.parse((await dave.request('GET', room(roomId, 'state'))).text) as ClientEvent[];
    const ofAlice = JSON.parse((await alice.request('GET', room(roomId, 'state'))).text) as ClientEvent[];
    expect(idsOf(state).toSorted()).toEqual(idsOf(ofAlice).toSorted());

    const { joined } = await dave.require('GET', room(roomId, 'joined_members'));
    const toMember = await alice.require('GET', room(roomId, 'joined_members'));
    expect(joined).toEqual(toMember.joined);

    const initial = await dave.require('GET', room(roomId, 'initialSync?limit=3'));
    expect(idsOf((initial.messages as { chunk: ClientEvent[] }).chunk)).toContain(after);
    expect(initial).toMatchObject({ room_id: roomId, presence: [], receipts: [], account_data: [] });
    expect(initial).not.toHaveProperty('membership');

    expect(await dave.unpeek(roomId)).toMatchObject({ status: 200 });
    expect(await nameSeenBy(dave)).toBe('Before');
    expect(idsOf(await messages(dave))).not.toContain(after);
  });

  it('reads events, context, relations and the like of a peeked room by their own right, to the newest', async () => {
    expect(await dave.peek(roomId)).toMatchObject({ status: 200 });
    const root = await alice.sendText(roomId, 'a thread begins');
    const reply = await alice.send(roomId, 'm.room.message', {
      msgtype: 'm.text',
      body: 'in the thread',
      'm.relates_to': { rel_type: 'm.thread', event_id: root },
    });
    const get = (path: string, version = 'v3') =>
      dave.require('GET', `/${version}/rooms/${enc(roomId)}/${path}`);
    expect(await get(`event/${enc(reply)}`)).toMatchObject({ event_id: reply });
    expect(await get(`context/${enc(root)}`)).toMatchObject({ events_after: [{ event_id: reply }] });
    expect(await get(`relations/${enc(root)}`, 'v1')).toMatchObject({ chunk: [{ event_id: reply }] });
    expect(await get('threads', 'v1')).toMatchObject({ chunk: [{ event_id: root }] });
    const now = await get(`timestamp_to_event?ts=${Date.now() + 60_000}&dir=b`, 'v1');
    expect(now).toMatchObject({ event_id: reply });
    expect(await get('aliases')).toMatchObject({ aliases: [] });
    expect(await get('hierarchy', 'v1')).toMatchObject({ rooms: [{ room_id: roomId, name: 'After' }] });
    expect(idsOf(await messages(dave, `dir=f&from=${since}&limit=100`)).slice(-1)).toEqual([reply]);
    expect(idsOf(await messages(dave))[0]).toBe(reply);
  });

  it('sees nothing that an ignored user says, from the moment on that they are ignored', async () => {
    const noise = await newUser(pair.a, 'noise');
    await noise.join(roomId);
    const heard = await noise.sendText(roomId, 'noise');
    expect(idsOf(await messages(dave))).toContain(heard);
    const list = `/v3/user/${enc(dave.userId)}/account_data/m.ignored_user_list`;
    await dave.require('PUT', list, { ignored_users: { [noise.userId]: {} } });
    const seen = idsOf(await messages(dave));
    expect(seen).not.toContain(heard);
    expect(seen).toContain(before);
    expect(await joinedSeenBy(dave)).toContain(noise.userId);
    await dave.require('PUT', list, { ignored_users: {} });
    expect(idsOf(await messages(dave))).toContain(heard);
  });

  it('who joins again reads as themselves at once', async () => {
    const erin = await newUser(pair.a, 'erin');
    const own = await alice.createWorldReadableRoom();
    await erin.join(own);
    await erin.leave(own);
    expect(await erin.peek(own)).toMatchObject({ status: 200 });
    await erin.join(own);
    const { chunk } = await erin.require('GET', room(own, 'messages?dir=b&limit=1'));
    const unsigned = (chunk as ClientEvent[])[0]?.unsigned;
    expect(unsigned).toMatchObject({ membership: 'join' });
  });
});
