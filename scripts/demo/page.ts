import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { startChromium } from '../../test/support/chromium.ts';
import { type MatrixClient, passwordOf } from '../../test/support/client.ts';
import { workDirectory } from '../../test/support/work.ts';
import { buildPage } from '../page/build.ts';
import { type ServedPage, servePage } from '../page/serve.ts';
import { lookIn, untilReads } from '../page/visit.ts';
import type { Lobby } from './lobby.ts';
import type { Story } from './story.ts';

/** The page, served, and a browser for it, or the reason why there is none. */
export interface Theatre {
  readonly page: ServedPage;
  readonly browser: Browser | string;
}

/** Bundles the page and starts Chromium. A first run as root installs it, half a minute. */
export async function openTheatre(): Promise<Theatre> {
  const [page, browser] = await Promise.all([
    buildPage().then((files) => servePage(files)),
    startChromium().catch((error: unknown) => (error instanceof Error ? error.message : String(error))),
  ]);
  return { page, browser };
}

/** erin, of B, looks into the room in a browser, with a client that knows nothing of peeking. */
export async function previewInBrowser(
  story: Story,
  theatre: Theatre,
  lobby: Lobby,
  erin: MatrixClient,
): Promise<void> {
  story.step('erin, on B, previews the room in a browser page with matrix-js-sdk, which knows neither MSC');
  const { page, browser } = theatre;
  if (typeof browser === 'string') {
    story.note(`left out, there is no Chromium: ${browser}`);
    return;
  }
  const user = erin.userId.slice(1).split(':', 1)[0] ?? '';
  const account = { user, password: passwordOf(user) };
  const shown = await lookIn(browser, { page: page.url, homeserver: erin.url, room: lobby.alias, account });
  await untilReads(shown, lobby.editedText);
  const name = await shown.locator('#name').textContent();
  story.check(name === 'The lobby', 'the page shows the room by its name, with its messages');
  const text = 'hello to everyone who looks in';
  const started = performance.now();
  await lobby.creator.sendText(lobby.roomId, text);
  await untilReads(shown, text);
  story.check(true, `a message of alice is on the page ${Math.round(performance.now() - started)} ms later`);
  const picture = join(workDirectory('pictures'), 'demo.png');
  await shown.screenshot({ path: picture });
  story.note(`what erin sees: ${picture}`);
  await browser.close();
}
