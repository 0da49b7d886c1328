import { afterAll, beforeAll, expect, it } from 'vitest';
import { enc, type MatrixClient } from '../support/client.ts';
import { send } from '../support/http.ts';
import { newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { idsOf, roomsNamed, sectionOf, timelineOf } from './rooms.ts';
import { onStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

/** What a request may take while the store is down: far less than any time-out of a client. */
const PROMPT_MS = 5_000;

onStore('Redis', ({ startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  it('With the store down all goes on but peeking, which is back when the store is', async () => {
    const site = pair.b;
    const redis = pair.redis?.b;
    if (!redis) throw new Error('There is no Redis to kill');
    const remote = await alice.createWorldReadableRoom();
    const host = await newUser(site, 'host');
    const resident = await host.createWorldReadableRoom();
    const joined = await host.createRoom({ preset: 'public_chat' });
    const [bob, carol, dora] = [
      await newUser(site, 'bob'),
      await newUser(site, 'carol'),
      await newUser(site, 'dora'),
    ];
    for (const user of [bob, carol, dora]) await user.join(joined);
    const inRemote = (await startFollowing(bob, remote, [pair.a.serverName])).follower;
    const inResident = (await startFollowing(dora, resident)).follower;
    await inRemote.step(0);
    await inResident.step(0);
    const plain = (await carol.sync()).next_batch;

    await redis.kill();
    await until(
      'the proxy sees it',
      async () => (await send(site.proxy.opsUrl, 'GET', '/health')).status === 503,
    );
    expect(await site.proxy.health()).toMatchObject({ status: 'red', store: { kind: 'redis', up: false } });

    // What also works without the proxy goes on, peeking devices' /sync too.
    expect((await carol.request('GET', '/v3/account/whoami')).status).toBe(200);
    const message = await host.sendText(joined, 'for members');
    for (const [client, since] of [
      [carol, plain],
      [bob, inRemote.since],
      [dora, inResident.since],
    ] as const) {
      const asked = performance.now();
      const answer = await client.syncUntil(since, ({ rooms }) => joined in rooms.join);
      expect(performance.now() - asked).toBeLessThan(PROMPT_MS);
      expect(idsOf(timelineOf(sectionOf(answer, 'join', joined)))).toContain(message);
      expect(answer.rooms.peek).toEqual({});
      if (client === bob) inRemote.since = answer.next_batch;
      if (client === dora) inResident.since = answer.next_batch;
      expect(roomsNamed(await client.sync({ since: answer.next_batch }))).toEqual([]);
    }
    expect((await carol.sync()).answer.ms).toBeLessThan(PROMPT_MS);

    for (const refused of [
      await bob.peek(resident),
      await carol.peek(remote, [pair.a.serverName]),
      await bob.unpeek(remote),
    ]) {
      expect([refused.status, refused.body.errcode]).toEqual([503, 'M_UNKNOWN']);
      expect(refused.body.retry_after_ms).toBeGreaterThan(0);
      expect(refused.ms).toBeLessThan(PROMPT_MS);
    }
    const meanwhile = {
      remote: await alice.sendText(remote, 'meanwhile'),
      resident: await host.sendText(resident, 'meanwhile'),
    };

    await redis.restart();
    await until('all is well again', async () => (await site.proxy.health()).status === 'ok', 30_000);
    await inRemote.untilEvent(meanwhile.remote, 45_000);
    await inResident.untilEvent(meanwhile.resident, 45_000);
    expect(inRemote.ids).toEqual([meanwhile.remote]);
    expect(inResident.ids).toEqual([meanwhile.resident]);
    expect((await carol.peek(remote, [pair.a.serverName])).status).toBe(200);
    expect((await bob.unpeek(remote)).status).toBe(200);
    expect((await bob.request('GET', `/v3/rooms/${enc(joined)}/joined_members`)).status).toBe(200);
  });
});
