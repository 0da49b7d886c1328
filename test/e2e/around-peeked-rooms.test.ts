import { crc32, deflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientEvent, enc, type MatrixClient } from '../support/client.ts';
import { type Pair, startPair } from '../support/federation.ts';
import { newUser } from './accounts.ts';
import { idsOf, sectionOf, timelineOf } from './rooms.ts';
import { until } from './until.ts';

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

describe('a room of another server', () => {
  let alice: MatrixClient;
  let bob: MatrixClient;
  beforeAll(async () => {
    alice = await newUser(pair.a, 'alice');
    bob = await newUser(pair.b, 'bob');
  });
  const summary = (reader: MatrixClient, roomId: string, query = '') =>
    reader.request('GET', `/v1/room_summary/${enc(roomId)}${query}`);

  it('is summed up for those who name no server, as the homeserver does it for those who name one', async () => {
    const roomId = await alice.createWorldReadableRoom({ name: 'The lobby', topic: 'Talk' });
    expect(await summary(bob, roomId)).toMatchObject({ status: 400 });
    expect(await bob.peek(roomId, [pair.a.serverName])).toMatchObject({ status: 200 });
    const bare = await summary(bob, roomId);
    expect(bare).toMatchObject({ status: 200, body: { name: 'The lobby', num_joined_members: 1 } });
    const named = await summary(bob, roomId, `?via=${enc(pair.a.serverName)}`);
    expect(named).toMatchObject({ status: 200, body: bare.body });
    expect(Object.keys(named.body).toSorted()).toEqual(Object.keys(bare.body).toSorted());
  });

  it('is asked for at the server in its ID, though nobody peeks into it', async () => {
    const roomId = await alice.createWorldReadableRoom({ name: 'Older', room_version: '10' });
    // The homeserver has two seconds for it, which may be few on a busy machine.
    await until(
      'the server in the ID told of the room',
      async () => (await summary(bob, roomId)).status === 200,
    );
    expect((await summary(bob, roomId)).body).toMatchObject({ name: 'Older', num_joined_members: 1 });
    const closed = await alice.createRoom({ preset: 'private_chat', room_version: '10' });
    expect(await summary(bob, closed)).toMatchObject({ status: 400 });
  });

  it('a space that is peeked shows its children: those of its server, our own, none that are closed', async () => {
    const via = [pair.a.serverName];
    const open = await alice.createWorldReadableRoom({ name: 'Open' });
    const closed = await alice.createRoom({ preset: 'private_chat', name: 'Closed' });
    const ours = await bob.createWorldReadableRoom({ name: 'Ours' });
    const space = await alice.createWorldReadableRoom({
      name: 'The space',
      creation_content: { type: 'm.space' },
    });
    await alice.sendState(space, 'm.space.child', { via, order: 'a' }, open);
    await alice.sendState(space, 'm.space.child', { via, order: 'b' }, closed);
    await alice.sendState(space, 'm.space.child', { via: [pair.b.serverName], order: 'c' }, ours);

    const hierarchy = () => bob.request('GET', `/v1/rooms/${enc(space)}/hierarchy?limit=10`);
    expect((await hierarchy()).status).toBe(403);
    expect(await bob.peek(space, via)).toMatchObject({ status: 200 });
    const told = async () => ((await hierarchy()).body.rooms as unknown[]).length;
    await until('both children were told of', async () => (await told()) === 3);
    const { body } = await hierarchy();
    expect(body.rooms).toMatchObject([
      { room_id: space, name: 'The space', children_state: [{}, {}, {}] },
      { room_id: open, name: 'Open' },
      { room_id: ours, name: 'Ours' },
    ]);
    const toMember = await alice.require('GET', `/v1/rooms/${enc(space)}/hierarchy?max_depth=0`);
    expect((body.rooms as unknown[])[0]).toEqual((toMember.rooms as unknown[])[0]);
  });

  it('its media load through our own homeserver, as they do for members', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const picture = png(40);
    const uploaded = await fetch(`${pair.a.url}/_matrix/media/v3/upload?filename=square.png`, {
      method: 'POST',
      headers: { authorization: `Bearer ${alice.token}`, 'content-type': 'image/png' },
      body: new Uint8Array(picture),
    });
    const { content_uri: uri } = (await uploaded.json()) as { content_uri: string };
    await alice.send(roomId, 'm.room.message', { msgtype: 'm.image', body: 'square.png', url: uri });

    const before = await bob.sync();
    expect(await bob.peek(roomId, [pair.a.serverName])).toMatchObject({ status: 200 });
    const sync = await bob.syncUntil(before.next_batch, ({ rooms }) => roomId in rooms.peek);
    const shown = timelineOf(sectionOf(sync, 'peek', roomId)).at(-1)?.content;
    expect(shown).toMatchObject({ url: uri });
    const media = String(shown?.url).slice('mxc://'.length);
    const load = (path: string) =>
      fetch(`${pair.b.url}/_matrix/client/v1/media/${path}`, {
        headers: { authorization: `Bearer ${bob.token}` },
      });
    const download = await load(`download/${media}`);
    expect([download.status, download.headers.get('content-type')]).toEqual([200, 'image/png']);
    expect(Buffer.from(await download.arrayBuffer()).equals(picture)).toBe(true);
    const thumbnail = await load(`thumbnail/${media}?width=32&height=32&method=crop`);
    expect([thumbnail.status, thumbnail.headers.get('content-type')]).toEqual([200, 'image/png']);
    expect((await thumbnail.arrayBuffer()).byteLength).toBeGreaterThan(0);
  });
});

/** A grey square with that many pixels a side. */
function png(side: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.writeUInt8(8, 8);
  const rows = Buffer.alloc((side + 1) * side, 0x80);
  for (let row = 0; row < side; row++) rows[row * (side + 1)] = 0;
  const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), ...chunks]);
}

function chunk(type: string, data: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type), data]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  checksum.writeUInt32BE(crc32(typed));
  return Buffer.concat([length, typed, checksum]);
}
