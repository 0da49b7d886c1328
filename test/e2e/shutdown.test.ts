import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MatrixClient } from '../support/client.ts';
import { newUser } from './accounts.ts';
import { Follower, startFollowing } from './follower.ts';
import { metric } from './metrics.ts';
import { roomsNamed } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

const EACH = 5;

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  it('SIGTERM answers held polls and exits 0', async () => {
    const site = pair.b;
    const remote = await alice.createWorldReadableRoom();
    const host = await newUser(site, 'host');
    const resident = await host.createWorldReadableRoom();
    const peekers: Follower[] = [];
    const others: Follower[] = [];
    for (let i = 0; i < EACH; i++) {
      const room = i % 2 === 0 ? remote : resident;
      const { follower } = await startFollowing(await newUser(site, 'bob'), room, [pair.a.serverName]);
      await follower.step(0);
      peekers.push(follower);
      const other = await newUser(site, 'carol');
      others.push(new Follower(other, room, (await other.sync()).next_batch));
    }
    const all = [...peekers, ...others];

    const held = () => metric(site, 'sync_requests_total');
    const before = await held();
    const polls = all.map(({ client, since }) => client.sync({ since, timeout: 60_000 }));
    for (const poll of polls) poll.catch(() => {});
    await until('the polls are held', async () => (await held()) >= before + all.length);

    const started = performance.now();
    const stopping = site.proxy.stop();
    const answers = await Promise.all(polls);
    expect(performance.now() - started).toBeLessThan(5_000);
    for (const answer of answers) expect(roomsNamed(answer)).toEqual([]);
    expect(await stopping).toBe(0);
    expect(performance.now() - started).toBeLessThan(5_000);

    // Every client goes on from the token it was given, and has missed nothing.
    const [ofRemote, ofResident] = [await alice.sendText(remote, 'meanwhile'), 'meanwhile'];
    await site.proxy.restart();
    await until('peeking is on', async () => (await site.proxy.health()).status === 'ok');
    const inResident = await host.sendText(resident, ofResident);
    for (const [i, { client, roomId }] of all.entries()) {
      const follower = new Follower(client, roomId, answers[i]?.next_batch ?? '');
      if (i >= EACH) {
        expect(roomsNamed(await follower.step(0))).toEqual([]);
        continue;
      }
      const expected = roomId === remote ? ofRemote : inResident;
      await follower.untilEvent(expected);
      expect(follower.ids).toEqual([expected]);
    }
  });
});
