import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { enc, type MatrixClient } from '../support/client.ts';
import { send } from '../support/http.ts';
import { ensureSigningKey } from '../support/synapse-config.ts';
import { newUser } from './accounts.ts';
import { forEachStore, type StoredSite } from './stores.ts';
import { until } from './until.ts';

forEachStore((_store, { startSiteOnStore }) => {
  let site: StoredSite;
  let alice: MatrixClient;
  let bob: MatrixClient;
  let roomId: string;
  beforeAll(async () => {
    site = await startSiteOnStore();
    [alice, bob] = [await newUser(site, 'alice'), await newUser(site, 'bob')];
    roomId = await alice.createWorldReadableRoom();
  });
  afterEach(async () => {
    await site.proxy.restart();
    await peekingIsOn();
  });
  afterAll(() => site?.stop());

  const health = () => send(site.proxy.opsUrl, 'GET', '/health');
  const peekingIsOn = () => until('peeking is on', async () => (await health()).status === 200, 20_000);

  /** Peeking is off, the reason is told, and everything else is as without the proxy. */
  async function expectOnlyPassThrough(reason: RegExp): Promise<void> {
    const red = await health();
    expect(red).toMatchObject({ status: 503, body: { status: 'red' } });
    const { problem, advice } = red.body.homeserver as { problem: string; advice: string };
    expect(problem).toMatch(reason);
    expect(advice).toMatch(/PEEK_/);
    for (const [method, path, body] of [
      ['POST', `/v3/peek/${enc(roomId)}`, {}],
      ['POST', `/v3/rooms/${enc(roomId)}/unpeek`, {}],
      ['GET', '/versions', undefined],
      ['GET', '/v3/account/whoami', undefined],
      [
        'GET',
        '/v3/sync?set_presence=offline&timeout=0&filter=%7B%22presence%22%3A%7B%22not_types%22%3A%5B%22%2A%22%5D%7D%7D',
        undefined,
      ],
    ] as const) {
      const options = { token: bob.token, ...(body && { body }) };
      const own = await send(site.synapse.url, method, `/_matrix/client${path}`, options);
      const answer = await send(site.url, method, `/_matrix/client${path}`, options);
      expect([path, answer.status, answer.text]).toEqual([path, own.status, own.text]);
    }
    const refused = await bob.peek(roomId);
    expect(refused).toMatchObject({ status: 404, body: { errcode: 'M_UNRECOGNIZED' } });
  }

  it('A homeserver of another name: peeking is off and health says why, the pass-through goes on', async () => {
    await site.proxy.restart({ PEEK_SERVER_NAME: 'elsewhere.test' });
    await expectOnlyPassThrough(/elsewhere\.test/);
  });

  it('A homeserver with another signing key: peeking is off and health says why, the pass-through goes on', async () => {
    const dir = join(site.proxyOptions.dir, 'another-key');
    await mkdir(dir, { recursive: true });
    await site.proxy.restart({ PEEK_SIGNING_KEY_PATH: await ensureSigningKey(dir) });
    await expectOnlyPassThrough(/key/);
  });

  it('A homeserver that is down at the start is waited for', async () => {
    await site.proxy.stop();
    await site.synapse.stop();
    const restarting = site.proxy.restart();
    restarting.catch(() => {});
    const whoami = () => send(site.url, 'GET', '/_matrix/client/v3/account/whoami', { token: bob.token });
    await until('the proxy listens', () =>
      whoami().then(
        () => true,
        () => false,
      ),
    );
    expect(await whoami()).toMatchObject({ status: 502, body: { errcode: expect.stringMatching(/^M_/) } });
    expect((await bob.peek(roomId)).status).toBe(502);
    expect(await health()).toMatchObject({ status: 503, body: { status: 'red' } });
    expect((await send(site.proxy.opsUrl, 'GET', '/ready')).status).toBe(503);

    await site.synapse.restart();
    await restarting;
    await peekingIsOn();
    expect((await whoami()).status).toBe(200);
    expect((await bob.peek(roomId)).status).toBe(200);
  });
});
