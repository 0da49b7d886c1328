import type { Browser, Page } from 'playwright-core';
import { pageAddress } from './serve.ts';

export interface Visit {
  /** Where the page is served. */
  readonly page: string;
  /** The proxy, as a client sees it. */
  readonly homeserver: string;
  readonly room: string;
  readonly via?: readonly string[];
  /** Default: a guest. */
  readonly account?: { readonly user: string; readonly password: string };
}

/** Opens the page, fills the form as a person does, and looks in; resolves when the room or a refusal is shown. */
export async function lookIn(browser: Browser, visit: Visit): Promise<Page> {
  const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
  const { homeserver, room, via = [], account } = visit;
  await page.goto(pageAddress(visit.page, { homeserver, room, via, user: account?.user ?? '' }));
  if (account) await page.getByLabel('Password').fill(account.password);
  await page.getByRole('button', { name: 'Look in' }).click();
  await page.locator('#room').or(page.getByRole('alert')).filter({ visible: true }).first().waitFor();
  return page;
}

/** Resolves when the page has this message; it keeps the newest ones in sight. */
export async function untilReads(page: Page, text: string): Promise<void> {
  await page.locator('#messages .body', { hasText: text }).last().waitFor();
}
