import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Router } from 'express';
import { expect, onTestFinished, test } from 'vitest';
import { createRouteTable, type RouteTableDeps } from '../../../src/app/route-table.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { seededRandom } from '../../support/seeded-random.ts';

/** Peeking is off: requests are seen, and all of them pass. */
async function table(answer: (res: ServerResponse) => void) {
  const forgotten: unknown[] = [];
  const nothing = { see: () => {}, take: () => false };
  const deps = {
    homeserver: { forget: (caller: unknown) => void forgotten.push(caller) },
    passThrough: { handle: (_req: unknown, res: ServerResponse) => answer(res), close: () => {} },
    clientRouter: Router(),
    federationRouter: Router(),
    joinWatch: nothing,
    trafficHints: nothing,
    peekingSwitch: { on: false, ending: false },
    clock: new ManualClock(),
    random: seededRandom(1),
  };
  const server = createServer(createRouteTable(deps as unknown as RouteTableDeps)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    forgotten,
    post: (path: string) => fetch(`${origin}/_matrix/client/v3/${path}`, { method: 'POST' }),
  };
}

test.each([
  [200, [null]],
  [401, []],
  [429, []],
  [502, [null]],
])(
  'a request to end a session that is answered %i: who callers are is forgotten %j',
  async (status, expected) => {
    const { forgotten, post } = await table((res) => void res.writeHead(status).end('{}'));
    await (await post('logout')).text();
    await post('sendToDevice').then((answer) => answer.text());
    expect(forgotten).toEqual(expected);
  },
);

test('one whose answer breaks off may have ended the session', async () => {
  const { forgotten, post } = await table((res) => {
    res.writeHead(401, { 'content-length': '10' });
    res.write('{', () => res.destroy());
  });
  await post('logout')
    .then((answer) => answer.text())
    .catch(() => undefined);
  await expect.poll(() => forgotten).toEqual([null]);
});
