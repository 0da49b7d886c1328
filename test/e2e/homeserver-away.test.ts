import { afterAll, beforeAll, expect, it } from 'vitest';
import { enc, type MatrixClient } from '../support/client.ts';
import { send } from '../support/http.ts';
import { newUser } from './accounts.ts';
import { type Follower, startFollowing } from './follower.ts';
import { metric } from './metrics.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

/** What a peeker may wait for an event that was sent when the homeserver was just back. */
const RESUMED_MS = 30_000;

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  it('A homeserver that goes away is told of in health and answered for with 502, and its feeds resume when it is back', async () => {
    const { proxy, synapse, url } = pair.a;
    const roomId = await alice.createWorldReadableRoom();
    const [bob, carol, dora] = [
      await newUser(pair.a, 'bob'),
      await newUser(pair.a, 'carol'),
      await newUser(pair.b, 'dora'),
    ];
    const peekers: Follower[] = [];
    for (const client of [bob, dora]) {
      peekers.push((await startFollowing(client, roomId, [pair.a.serverName])).follower);
    }
    const before = await alice.sendText(roomId, 'before');
    for (const peeker of peekers) await peeker.untilEvent(before);
    expect(await proxy.health()).toMatchObject({ status: 'ok', homeserver: { reachable: true } });
    expect(await metric(pair.a, 'homeserver_up')).toBe(1);

    await synapse.stop();
    const told = async () => (await proxy.health()).homeserver as { reachable: boolean };
    await until('health says so', async () => !(await told()).reachable);
    expect(['red', 'degraded']).toContain((await proxy.health()).status);
    expect(await told()).toMatchObject({
      reachable: false,
      problem: expect.stringMatching(/./),
      advice: expect.stringMatching(/./),
    });
    expect(await metric(pair.a, 'homeserver_up')).toBe(0);

    for (const [client, method, path] of [
      [carol, 'GET', '/v3/account/whoami'],
      [carol, 'GET', '/v3/sync'],
      [bob, 'GET', `/v3/sync?since=${enc(peekers[0]?.since ?? '')}&timeout=1000`],
      [carol, 'POST', `/v3/peek/${enc(roomId)}`],
      [bob, 'POST', `/v3/rooms/${enc(roomId)}/unpeek`],
      [carol, 'GET', '/versions'],
    ] as const) {
      const body = method === 'POST' ? { body: {} } : {};
      const answer = await send(url, method, `/_matrix/client${path}`, { token: client.token, ...body });
      expect([path, answer.status, answer.body.errcode]).toEqual([path, 502, 'M_UNKNOWN']);
      expect([path, answer.headers['access-control-allow-origin']]).toEqual([path, '*']);
    }

    await synapse.restart();
    alice.url = synapse.url;
    const after = await alice.sendText(roomId, 'right after the restart');
    for (const peeker of peekers) {
      await peeker.untilEvent(after, RESUMED_MS);
      expect(peeker.ids).toEqual([before, after]);
      expect(peeker.gaps).toBe(0);
    }
    await until('all is well again', async () => (await proxy.health()).status === 'ok', RESUMED_MS);
    expect(await proxy.health()).toMatchObject({ homeserver: { reachable: true } });
    expect(await metric(pair.a, 'homeserver_up')).toBe(1);
    expect((await carol.peek(roomId)).status).toBe(200);
  });
});
