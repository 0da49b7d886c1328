import { setTimeout as sleep } from 'node:timers/promises';
import { KnownMembership, type Room } from 'matrix-js-sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ClientEvent, enc, MatrixClient } from '../support/client.ts';
import { type Pair, type Site, startPair } from '../support/federation.ts';
import { send } from '../support/http.ts';
import { messagesIn, type RunningSdk, scrollUp, sdkIds, startSdk } from '../support/js-sdk.ts';
import { newUser } from './accounts.ts';
import { makeLobby } from './lobby.ts';
import { previewPageTests } from './preview-page.ts';
import { idsOf, timelineOf } from './rooms.ts';
import { slidingSyncTests } from './sliding-sync.ts';
import { until } from './until.ts';

/** The first page of the preview is 20, one of `scrollback` 30: three pages. */
const MESSAGES = 60;
/**
 * A message that is on its way is shown well within it. The homeserver's own `/events` begins when it is asked:
 * what is said between that and `/initialSync` is not shown, where it answers itself.
 */
const SETTLE_MS = 1_000;

/** matrix-js-sdk knows neither MSC: it previews by `/initialSync` and `/events`. */
describe('matrix-js-sdk', () => {
  let pair: Pair;
  let alice: MatrixClient;
  let dave: MatrixClient;
  const running: RunningSdk[] = [];

  beforeAll(async () => {
    const options = {
      proxyEnv: { PEEK_RATE_LIMIT: '10000/m' },
      synapse: { settings: { allow_guest_access: true, allow_public_rooms_over_federation: true } },
    };
    pair = await startPair({ store: 'sqlite', a: options, b: options });
    [alice, dave] = await Promise.all([newUser(pair.a, 'alice'), newUser(pair.a, 'dave')]);
    await dave.require('PUT', `/v3/profile/${enc(dave.userId)}/displayname`, { displayname: 'Dave' });
  });
  afterEach(() => {
    for (const sdk of running.splice(0)) sdk.stop();
  });
  afterAll(() => pair?.stop());

  async function start(account: MatrixClient, guest = false): Promise<RunningSdk> {
    const sdk = await startSdk(account, guest);
    running.push(sdk);
    return sdk;
  }

  /** What apps do before they preview: they have the room from the directory of its server, or from its alias. */
  async function find(sdk: RunningSdk, by: 'directory' | 'alias', alias: string): Promise<string> {
    if (by === 'alias') return (await sdk.client.getRoomIdForAlias(alias)).room_id;
    const { chunk } = await sdk.client.publicRooms({
      server: pair.a.serverName,
      filter: { generic_search_term: alias },
    });
    const found = chunk.find(({ canonical_alias: name }) => name === alias);
    if (!found) throw new Error(`${alias} is not in the directory`);
    return found.room_id;
  }

  /** What the room's own server shows to a member, oldest first. */
  async function allIds(roomId: string): Promise<string[]> {
    const { chunk } = await dave.require('GET', `/v3/rooms/${enc(roomId)}/messages?dir=b&limit=200`);
    return idsOf(chunk as ClientEvent[]).reverse();
  }

  async function untilShown(room: Room, eventId: string): Promise<void> {
    await until(`${eventId} is shown`, () => sdkIds(room.timeline).includes(eventId));
  }

  describe.each([
    ['a room of the own server, found in the directory', 'a', 'directory'],
    ['a room of another server, found in its directory', 'b', 'directory'],
    ['a room of another server, found by its alias', 'b', 'alias'],
  ] as const)('%s', (_title, home, by) => {
    const site = (): Site => pair[home];

    it('peekInRoom shows name, topic, members, messages and what happens; joining goes on with the same room', async () => {
      const { roomId, alias } = await makeLobby(alice, dave, 22);
      const bob = await newUser(site(), 'bob');
      const sdk = await start(bob);
      expect(await find(sdk, by, alias)).toBe(roomId);

      const room = await sdk.client.peekInRoom(roomId);
      expect(messagesIn(room.timeline)).toEqual(saidByDave(22).slice(-20));
      expect(room.name).toBe('The lobby');
      const topic = () => room.currentState.getStateEvents('m.room.topic', '')?.getContent().topic;
      expect(topic()).toBe('Everyone may look in');
      const members = room.getJoinedMembers().map(({ userId }) => userId);
      expect(members.toSorted()).toEqual([alice.userId, dave.userId].toSorted());
      expect(room.getMyMembership()).toBe(KnownMembership.Leave);

      if (home === 'a') await sleep(SETTLE_MS);
      await untilShown(room, await dave.sendText(roomId, 'said live'));
      await untilShown(room, await alice.sendState(roomId, 'm.room.topic', { topic: 'Changed' }));
      expect(topic()).toBe('Changed');

      await sdk.client.joinRoom(roomId, { viaServers: by === 'alias' ? [] : [pair.a.serverName] });
      const after = await dave.sendText(roomId, 'said after the join');
      await until('the room is joined', () => room.getMyMembership() === KnownMembership.Join);
      await untilShown(room, after);
      sdk.client.stopPeeking();
      const { event_id: answer } = await sdk.client.sendTextMessage(roomId, 'said by bob');
      await until('it is shown as sent', () => room.findEventById(answer)?.status === null);

      expect(sdk.client.getRoom(roomId)).toBe(room);
      expect(sdkIds(room.timeline).slice(-2)).toEqual([after, answer]);
      expect(sdkIds(await scrollUp(sdk, room))).toEqual(await allIds(roomId));
      expect(sdk.errors).toEqual([]);
    });

    it('stopPeeking: nothing that is said later is shown', async () => {
      const { roomId, alias } = await makeLobby(alice, dave, 1);
      const sdk = await start(await newUser(site(), 'bob'));
      await find(sdk, by, alias);
      const room = await sdk.client.peekInRoom(roomId);
      if (home === 'a') await sleep(SETTLE_MS);
      await untilShown(room, await dave.sendText(roomId, 'said live'));
      sdk.client.stopPeeking();
      const shown = sdkIds(room.timeline);
      await dave.sendText(roomId, 'said later');
      await sleep(SETTLE_MS);
      expect(sdkIds(room.timeline)).toEqual(shown);
    });
  });

  describe.each([
    ['of the own server', 'a', 'm.room.history_visibility'],
    // Which shows what is current state too, as it is in its state anyway.
    ['of another server', 'b', 'm.room.create'],
  ] as const)('scrolling up in a room %s', (_title, home, first) => {
    async function preview(): Promise<{ sdk: RunningSdk; room: Room }> {
      const { roomId, alias } = await makeLobby(alice, dave, MESSAGES);
      const sdk = await start(await newUser(pair[home], 'bob'));
      await find(sdk, 'alias', alias);
      return { sdk, room: await sdk.client.peekInRoom(roomId) };
    }

    it('leads back to where the room was opened', async () => {
      const { sdk, room } = await preview();
      const events = await scrollUp(sdk, room);
      expect(messagesIn(events)).toEqual(saidByDave(MESSAGES));
      expect(events[0]?.getType()).toBe(first);
      expect(sdkIds(events)).toEqual((await allIds(room.roomId)).slice(-events.length));
      expect(sdk.errors).toEqual([]);
    });

    it('goes on after a join where the preview had come to, back to the creation', async () => {
      const { sdk, room } = await preview();
      expect(messagesIn(await scrollUp(sdk, room, 1))).toEqual(saidByDave(MESSAGES).slice(-50));
      await sdk.client.joinRoom(room.roomId, { viaServers: [pair.a.serverName] });
      await until('the room is joined', () => room.getMyMembership() === KnownMembership.Join);
      sdk.client.stopPeeking();
      const events = await scrollUp(sdk, room);
      expect(messagesIn(events)).toEqual(saidByDave(MESSAGES));
      expect(sdkIds(events)).toEqual(await allIds(room.roomId));
      expect(sdk.errors).toEqual([]);
    });
  });

  it('a guest previews a room of another server', async () => {
    const { roomId, alias } = await makeLobby(alice, dave, 3);
    const sdk = await start(await guestOf(pair.b), true);
    await find(sdk, 'directory', alias);
    const room = await sdk.client.peekInRoom(roomId);
    expect(messagesIn(room.timeline)).toEqual(['Dave: said 1', 'Dave: said 2', 'Dave: said 3']);
    await untilShown(room, await dave.sendText(roomId, 'said live'));
  });

  it("a room that may not be read ⇒ the homeserver's own refusal, and joining works all the same", async () => {
    const roomId = await alice.createRoom({ preset: 'public_chat', name: 'For members' });
    const bob = await newUser(pair.b, 'bob');
    const sdk = await start(bob);
    const bare = await send(
      pair.b.synapse.url,
      'GET',
      `/_matrix/client/v3/rooms/${enc(roomId)}/initialSync`,
      {
        token: bob.token,
      },
    );
    await expect(sdk.client.peekInRoom(roomId)).rejects.toMatchObject({
      httpStatus: bare.status,
      data: bare.body,
    });
    sdk.client.stopPeeking();
    await sdk.client.joinRoom(roomId, { viaServers: [pair.a.serverName] });
    await until(
      'the room is joined',
      () => sdk.client.getRoom(roomId)?.getMyMembership() === KnownMembership.Join,
    );
  });

  it("a device with a peek by MSC2753 ⇒ the SDK's own sync goes on over the section that it does not know", async () => {
    const [peeked, joined] = [await alice.createWorldReadableRoom(), await makeLobby(alice, dave, 1)];
    const bob = await newUser(pair.b, 'bob');
    await bob.join(joined.roomId, [pair.a.serverName]);
    const { next_batch: since } = await bob.syncUntil(undefined, ({ rooms }) => joined.roomId in rooms.join);
    expect(await bob.peek(peeked, [pair.a.serverName])).toMatchObject({ status: 200 });
    const shownByPeek = async () => {
      const { rooms } = await bob.sync({ since, fullState: true });
      return idsOf(timelineOf(rooms.peek[peeked]));
    };

    const sdk = await start(bob);
    const room = () => sdk.client.getRoom(joined.roomId);
    await until('the joined room is there', () => room()?.getMyMembership() === KnownMembership.Join);
    for (let i = 1; i <= 3; i++) {
      const unseen = await alice.sendText(peeked, `${i}`);
      const seen = await dave.sendText(joined.roomId, `said ${i}`);
      await until(`said ${i} is shown`, () => room()?.findEventById(seen) !== undefined);
      // Asked by hand for the same device: its peek lives, whatever the SDK makes of it.
      await until(`${i} is in the peek section`, async () => (await shownByPeek()).includes(unseen));
    }
    expect(sdk.client.getRooms().map(({ roomId }) => roomId)).toEqual([joined.roomId]);
    expect(sdk.errors).toEqual([]);
  });

  /** The page is on another origin than the proxy, as apps in a browser are. */
  describe('in a page in Chromium', () => previewPageTests(() => ({ pair, alice, dave })));

  describe('Sliding sync', () => slidingSyncTests(() => pair.a));
});

function saidByDave(messages: number): string[] {
  return Array.from({ length: messages }, (_, i) => `Dave: said ${i + 1}`);
}

/** A new guest of the site, who talks to its proxy. */
async function guestOf(site: Site): Promise<MatrixClient> {
  const { body } = await send(site.url, 'POST', '/_matrix/client/v3/register?kind=guest', { body: {} });
  const { user_id: userId, device_id: deviceId, access_token: token } = body;
  return new MatrixClient(site.url, {
    userId: String(userId),
    deviceId: String(deviceId),
    token: String(token),
  });
}
