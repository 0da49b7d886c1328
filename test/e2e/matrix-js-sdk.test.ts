import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KnownMembership, type Room } from 'matrix-js-sdk';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildPage } from '../../scripts/page/build.ts';
import { type ServedPage, servePage } from '../../scripts/page/serve.ts';
import { lookIn, untilReads } from '../../scripts/page/visit.ts';
import { startChromium } from '../support/chromium.ts';
import { type ClientEvent, enc, MatrixClient, passwordOf } from '../support/client.ts';
import { type Pair, type Site, startPair } from '../support/federation.ts';
import { send } from '../support/http.ts';
import { type RunningSdk, shownIds, shownMessages, startSdk } from '../support/js-sdk.ts';
import { readPicture } from '../support/read-picture.ts';
import { workDirectory } from '../support/work.ts';
import { newUser } from './accounts.ts';
import { makeLobby } from './lobby.ts';
import { idsOf, timelineOf } from './rooms.ts';
import { until } from './until.ts';

/** The first page of the preview is 20, one of `scrollback` 30: three pages. */
const MESSAGES = 60;
/** A message that is on its way is shown well within it. */
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
    const { chunk } = await sdk.client.publicRooms({ server: pair.a.serverName });
    const found = chunk.find(({ canonical_alias: name }) => name === alias);
    if (!found) throw new Error(`${alias} is not in the directory`);
    return found.room_id;
  }

  async function untilShown(room: Room, eventId: string): Promise<void> {
    await until(`${eventId} is shown`, () => shownIds(room).includes(eventId));
  }

  describe.each([['a room of the own server, found in the directory', 'a', 'directory']] as const)(
    '%s',
    (_title, home, by) => {
      const site = (): Site => pair[home];

      it('peekInRoom shows the room live and back to its beginning; joining goes on with the same room', async () => {
        const { roomId, alias } = await makeLobby(alice, dave, MESSAGES);
        const bob = await newUser(site(), 'bob');
        const sdk = await start(bob);
        expect(await find(sdk, by, alias)).toBe(roomId);

        const room = await sdk.client.peekInRoom(roomId);
        const said = Array.from({ length: MESSAGES }, (_, i) => `Dave: said ${i + 1}`);
        expect(shownMessages(room)).toEqual(said.slice(-20));
        expect(room.name).toBe('The lobby');
        expect(room.currentState.getStateEvents('m.room.topic', '')?.getContent().topic).toBe(
          'Everyone may look in',
        );
        expect(room.getJoinedMembers().map(({ userId }) => userId)).toEqual(
          expect.arrayContaining([alice.userId, dave.userId]),
        );
        expect(room.getMyMembership()).toBe(KnownMembership.Leave);

        const live = [await dave.sendText(roomId, 'said live')];
        live.push(await alice.sendState(roomId, 'm.room.topic', { topic: 'Changed' }));
        for (const eventId of live) await untilShown(room, eventId);
        expect(room.currentState.getStateEvents('m.room.topic', '')?.getContent().topic).toBe('Changed');

        for (let page = 0; room.oldState.paginationToken !== null; page++) {
          expect(page).toBeLessThan(10);
          await sdk.client.scrollback(room, 30);
        }
        expect(shownMessages(room)).toEqual([...said, 'Dave: said live']);
        // What was sent before the room was opened is for members alone.
        expect(room.timeline[0]?.getType()).toBe('m.room.history_visibility');

        const before = shownIds(room);
        await sdk.client.joinRoom(roomId, { viaServers: [pair.a.serverName] });
        const after = await dave.sendText(roomId, 'said after the join');
        await until('the room is joined', () => room.getMyMembership() === KnownMembership.Join);
        await untilShown(room, after);
        sdk.client.stopPeeking();
        const { event_id: answer } = await sdk.client.sendTextMessage(roomId, 'said by bob');
        await until('it is shown as sent', () => room.findEventById(answer)?.status === null);

        expect(sdk.client.getRoom(roomId)).toBe(room);
        expect(shownIds(room).slice(0, before.length)).toEqual(before);
        expect(shownIds(room).slice(-2)).toEqual([after, answer]);
        expect(new Set(shownIds(room)).size).toBe(room.timeline.length);
        const { chunk } = await dave.require('GET', `/v3/rooms/${enc(roomId)}/messages?dir=b&limit=100`);
        const all = (chunk as ClientEvent[]).map((event) => event.event_id).reverse();
        expect(shownIds(room)).toEqual(all.slice(-room.timeline.length));
        expect(sdk.errors).toEqual([]);
      });

      it('stopPeeking: nothing that is said later is shown', async () => {
        const { roomId, alias } = await makeLobby(alice, dave, 1);
        const sdk = await start(await newUser(site(), 'bob'));
        await find(sdk, by, alias);
        const room = await sdk.client.peekInRoom(roomId);
        await untilShown(room, await dave.sendText(roomId, 'said live'));
        sdk.client.stopPeeking();
        const shown = shownIds(room);
        await dave.sendText(roomId, 'said later');
        await sleep(SETTLE_MS);
        expect(shownIds(room)).toEqual(shown);
      });
    },
  );

  it('a guest previews a room of the own server', async () => {
    const { roomId, alias } = await makeLobby(alice, dave, 3);
    const sdk = await start(await guestOf(pair.a), true);
    await find(sdk, 'directory', alias);
    const room = await sdk.client.peekInRoom(roomId);
    expect(shownMessages(room)).toEqual(['Dave: said 1', 'Dave: said 2', 'Dave: said 3']);
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
    expect(await bob.peek(peeked, [pair.a.serverName])).toMatchObject({ status: 200 });
    const first = await bob.syncUntil(undefined, ({ rooms }) => joined.roomId in rooms.join);
    const since = first.next_batch;
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
  describe('in a page in Chromium', () => {
    const SENTENCE = 'Sphinx of black quartz, judge my vow';
    const pictures = workDirectory('pictures');
    let browser: Browser;
    let served: ServedPage;
    beforeAll(async () => {
      served = await servePage(await buildPage());
      browser = await startChromium();
    });
    afterAll(async () => {
      await browser?.close();
      await served?.stop();
    });

    it('a room of the own server is previewed live: a message that is said now can be read in the picture of the page', async () => {
      const { roomId, alias } = await makeLobby(alice, dave, 30);
      const bob = await newUser(pair.a, 'bob');
      const [, user = ''] = /^@([^:]+):/.exec(bob.userId) ?? [];
      const account = { user, password: passwordOf(user) };
      const page = await lookIn(browser, { page: served.url, homeserver: pair.a.url, room: alias, account });
      const messages = page.locator('#messages .body');
      await untilReads(page, 'said 30');
      const [earlier, later] = [join(pictures, 'before.png'), join(pictures, 'after.png')];
      await page.screenshot({ path: earlier });
      await dave.sendText(roomId, SENTENCE);
      await untilReads(page, SENTENCE);
      await page.screenshot({ path: later });
      expect(await readPicture(earlier)).not.toContain(SENTENCE);
      const seen = await readPicture(later);
      for (const text of [
        'The lobby',
        'Everyone may look in',
        'You look in from outside',
        `Dave ${SENTENCE}`,
      ])
        expect(seen).toContain(text);

      await page.getByRole('button', { name: 'Earlier messages' }).click();
      await messages.getByText('said 1', { exact: true }).waitFor();
      await page.getByRole('button', { name: 'Join' }).click();
      await page.getByText('You are in this room.').waitFor();
      await page.getByLabel('Message').fill('Said by bob');
      await page.getByRole('button', { name: 'Send' }).click();
      await untilReads(page, 'Said by bob');
      const said = Array.from({ length: 30 }, (_, i) => `said ${i + 1}`);
      expect(await messages.allTextContents()).toEqual([...said, SENTENCE, 'Said by bob']);
      expect(await page.locator('#problem').isHidden()).toBe(true);
      await until('dave is told', async () => {
        const { chunk } = await dave.require('GET', `/v3/rooms/${enc(roomId)}/messages?dir=b&limit=1`);
        return (chunk as ClientEvent[])[0]?.content.body === 'Said by bob';
      });
    });

    it('a room that may not be read ⇒ the page shows the refusal', async () => {
      const roomId = await alice.createRoom({ preset: 'public_chat', name: 'For members' });
      const visit = { page: served.url, homeserver: pair.a.url, room: roomId, via: [pair.a.serverName] };
      const page = await lookIn(browser, visit);
      await page.getByRole('alert').getByText('403').waitFor();
      expect(await page.getByRole('button', { name: 'Join' }).isVisible()).toBe(true);
      expect(await page.locator('#messages li').count()).toBe(0);
    });
  });
});

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
