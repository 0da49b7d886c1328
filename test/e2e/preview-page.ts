import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildPage } from '../../scripts/page/build.ts';
import { type ServedPage, servePage } from '../../scripts/page/serve.ts';
import { lookIn, untilReads } from '../../scripts/page/visit.ts';
import { startChromium } from '../support/chromium.ts';
import { type ClientEvent, enc, type MatrixClient, passwordOf } from '../support/client.ts';
import type { Pair } from '../support/federation.ts';
import { readPicture } from '../support/read-picture.ts';
import { workDirectory } from '../support/work.ts';
import { newUser } from './accounts.ts';
import { makeLobby } from './lobby.ts';
import { until } from './until.ts';

/** How long matrix-js-sdk waits after a poll that failed. */
const SDK_WAITS_MS = 30_000;

interface Given {
  readonly pair: Pair;
  /** Of A. */
  readonly alice: MatrixClient;
  /** Of A, by the name of Dave. */
  readonly dave: MatrixClient;
}

/** Defines the tests of the preview page in a real browser. */
export function previewPageTests(given: () => Given): void {
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

  it('a room of another server is previewed live: a message that is said now can be read in the picture of the page', async () => {
    const { pair, alice, dave } = given();
    const { roomId, alias } = await makeLobby(alice, dave, 22);
    const bob = await newUser(pair.b, 'bob');
    const account = accountOf(bob);
    const page = await lookIn(browser, { page: served.url, homeserver: pair.b.url, room: alias, account });
    const messages = page.locator('#messages .body');
    await untilReads(page, 'said 22');
    const [earlier, later] = [join(pictures, 'before.png'), join(pictures, 'after.png')];
    await page.screenshot({ path: earlier });
    await dave.sendText(roomId, SENTENCE);
    await untilReads(page, SENTENCE);
    await page.screenshot({ path: later });
    expect(await readPicture(earlier)).not.toContain(SENTENCE);
    const seen = await readPicture(later);
    for (const text of ['The lobby', 'Everyone may look in', 'You look in from outside', `Dave ${SENTENCE}`])
      expect(seen).toContain(text);

    await page.getByRole('button', { name: 'Earlier messages' }).click();
    await messages.getByText('said 1', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Join' }).click();
    await page.getByText('You are in this room.').waitFor();
    await messages.getByText('said 1', { exact: true }).waitFor();
    await page.getByLabel('Message').fill('Said by bob');
    await page.getByRole('button', { name: 'Send' }).click();
    await untilReads(page, 'Said by bob');
    const said = Array.from({ length: 22 }, (_, i) => `said ${i + 1}`);
    expect(await messages.allTextContents()).toEqual([...said, SENTENCE, 'Said by bob']);
    expect(await page.locator('#problem').isHidden()).toBe(true);
    await until('dave is told', async () => {
      const { chunk } = await dave.require('GET', `/v3/rooms/${enc(roomId)}/messages?dir=b&limit=1`);
      return (chunk as ClientEvent[])[0]?.content.body === 'Said by bob';
    });
    expect(await devicesOfPages(bob)).toBe(1);
    await page.close();
    await until('the page that was closed is signed out', async () => (await devicesOfPages(bob)) === 0);
  });

  it('polls that are refused ⇒ the page says that the preview has ended, until one goes well; signing out leaves no device', async () => {
    const { pair, alice, dave } = given();
    const { roomId, alias } = await makeLobby(alice, dave, 2);
    const bob = await newUser(pair.b, 'bob');
    const account = accountOf(bob);
    const page = await lookIn(browser, { page: served.url, homeserver: pair.b.url, room: alias, account });
    await untilReads(page, 'said 2');
    await page.clock.install();
    const polls = '**/v3/events?**';
    await page.route(polls, (route) =>
      route.fulfill({ status: 403, headers: { 'access-control-allow-origin': '*' }, json: {} }),
    );
    await dave.sendText(roomId, 'answers the poll that is held');
    await page.getByRole('alert').getByText('The preview has ended: the homeserver answers 403').waitFor();
    expect(await page.getByRole('status').textContent()).toContain('You looked in from outside');

    await page.unroute(polls);
    await dave.sendText(roomId, 'said meanwhile');
    await page.clock.fastForward(SDK_WAITS_MS);
    await untilReads(page, 'said meanwhile');
    await page.getByText('You look in from outside.').waitFor();
    expect(await page.getByRole('alert').isHidden()).toBe(true);

    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Look in' }).waitFor();
    expect(await devicesOfPages(bob)).toBe(0);
  });

  it('a room that is not found ⇒ the page says so, and leaves no device', async () => {
    const { pair } = given();
    const bob = await newUser(pair.b, 'bob');
    const room = `#nowhere:${pair.a.serverName}`;
    const page = await lookIn(browser, {
      page: served.url,
      homeserver: pair.b.url,
      room,
      account: accountOf(bob),
    });
    await page.getByRole('alert').getByText('404').waitFor();
    expect(await devicesOfPages(bob)).toBe(0);
  });

  it('a room that may not be read ⇒ the page shows the refusal', async () => {
    const { pair, alice } = given();
    const roomId = await alice.createRoom({ preset: 'public_chat', name: 'For members' });
    const visit = { page: served.url, homeserver: pair.b.url, room: roomId, via: [pair.a.serverName] };
    const page = await lookIn(browser, visit);
    await page.getByRole('alert').getByText('403').waitFor();
    expect(await page.getByRole('button', { name: 'Join' }).isVisible()).toBe(true);
    expect(await page.locator('#messages li').count()).toBe(0);
  });
}

function accountOf({ userId }: MatrixClient): { user: string; password: string } {
  const [, user = ''] = /^@([^:]+):/.exec(userId) ?? [];
  return { user, password: passwordOf(user) };
}

/** How many of the user's devices are of pages. */
async function devicesOfPages(user: MatrixClient): Promise<number> {
  const { devices } = await user.require('GET', '/v3/devices');
  return (devices as { display_name?: string }[]).filter(({ display_name: name }) => name === 'Room preview')
    .length;
}
