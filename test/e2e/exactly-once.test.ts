import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MatrixClient, SyncAnswer } from '../support/client.ts';
import { furtherDevice, newGuest, newUser } from './accounts.ts';
import { Follower, startFollowing } from './follower.ts';
import { Retrier } from './retrier.ts';
import { comparable, idsOf, sectionOf, timelineOf } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until, untilListens } from './until.ts';

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
    // What is sent must not depend on the proxies, which are killed here.
    alice.url = pair.a.synapse.url;
  });
  afterAll(() => pair?.stop());

  describe.each(['a', 'b'] as const)('from site %s into a room of site a', (where) => {
    /**
     * A device's first section and its next update, each asked for several times with `between` in between,
     * while the room goes on. `pollMs`, if given: the proxy may not know yet who peeks, and then hands on the
     * homeserver's own answers, which are asked on from; else the first answer has to have the section.
     */
    async function answersTwice(between: () => Promise<void>, pollMs?: number): Promise<void> {
      const roomId = await alice.createWorldReadableRoom();
      for (let i = 1; i <= 25; i++) await alice.sendText(roomId, `before ${i}`);
      // Another device at the same site shows when an event has arrived there.
      const scout = (await startFollowing(await newUser(pair[where], 'scout'), roomId, [pair.a.serverName]))
        .follower;
      const bob = await newUser(pair[where], 'bob');
      const { next_batch: since } = await bob.sync();
      expect(await bob.peek(roomId, [pair.a.serverName])).toMatchObject({ status: 200 });
      const first = await bob.sync({ since, timeout: 10_000 });
      sectionOf(first, 'peek', roomId);

      const sent = await alice.sendText(roomId, 'after the answer');
      await scout.untilEvent(sent);
      await between();
      const ask = async (from: string): Promise<SyncAnswer> => {
        if (pollMs === undefined) return bob.syncUntil(from, ({ rooms }) => roomId in rooms.peek);
        const answer = await bob.sync({ since: from, timeout: pollMs });
        return roomId in answer.rooms.peek ? answer : ask(answer.next_batch);
      };
      const retry = await (pollMs === undefined ? bob.sync({ since, timeout: 10_000 }) : ask(since));
      expect(comparable(retry.rooms.peek[roomId])).toEqual(comparable(first.rooms.peek[roomId]));

      const carries = (answer: SyncAnswer) => idsOf(timelineOf(answer.rooms.peek[roomId]));
      for (const token of [first.next_batch, retry.next_batch, first.next_batch]) {
        expect(carries(await ask(token))).toEqual([sent]);
        await between();
      }
      const update = await ask(retry.next_batch);
      const next = await alice.sendText(roomId, 'the next');
      await scout.untilEvent(next);
      await between();
      expect(carries(await ask(update.next_batch))).toEqual([next]);
      expect(carries(await ask(retry.next_batch))).toEqual([sent, next]);
    }

    it('A retry with the same `since` gives the same events', () => answersTwice(async () => {}));

    it(`SIGKILL and restart: peeks resume or end cleanly: ${where.toUpperCase()}'s proxy between answer and retry changes nothing`, () =>
      answersTwice(async () => {
        await pair[where].proxy.kill();
        await pair[where].proxy.restart();
        await until('peeking is on', async () => (await pair[where].proxy.health()).status === 'ok');
      }));

    it(`SIGKILL of ${where.toUpperCase()}'s proxy, and a retry at the moment it listens again, loses and repeats nothing`, async () => {
      const { proxy } = pair[where];
      let restarted = Promise.resolve();
      await answersTwice(async () => {
        await restarted;
        await proxy.kill();
        restarted = proxy.restart();
        restarted.catch(() => {});
        await untilListens(proxy.url);
      }, 1_000);
      await restarted;
    });
  });

  it("SIGKILL of A's proxy while events are sent loses none of them for B", async () => {
    const roomId = await alice.createWorldReadableRoom();
    const bob = await newUser(pair.b, 'bob');
    const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);

    const sent: string[] = [];
    let stop = false;
    const sending = (async () => {
      while (!stop) sent.push(await alice.sendText(roomId, `message ${sent.length + 1}`));
    })();
    let reading = true;
    const following = (async () => {
      while (reading) await follower.step(1_000);
    })();
    for (let round = 1; round <= 2; round++) {
      const already = sent.length;
      await until('events are being sent', () => sent.length >= already + 10);
      await pair.a.proxy.kill();
      await until('events are being sent', () => sent.length >= already + 20);
      await pair.a.proxy.restart();
    }
    stop = true;
    await sending;
    reading = false;
    await following;
    const last = await alice.sendText(roomId, 'the last');
    await follower.untilEvent(last, 60_000);
    expect(follower.gaps).toBe(0);
    expect(follower.ids).toEqual([...sent, last]);
  });

  it('The same `since` retried a hundred times under SIGKILL of both proxies: two devices of one user, two users and a guest of each site are told each event exactly once, in order', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const retriers: Retrier[] = [];
    for (const site of [pair.a, pair.b]) {
      const bob = await newUser(site, 'bob');
      const devices = [bob, await furtherDevice(bob), await newUser(site, 'carol'), await newGuest(site)];
      for (const client of devices) {
        const { follower, peeked } = await startFollowing(client, roomId, [pair.a.serverName]);
        expect(peeked).toBe(200);
        retriers.push(new Retrier(client, roomId, follower.since));
      }
    }
    const sent: string[] = [];
    const done = () => retriers.every(({ answers }) => answers.length >= 100);
    const sending = (async () => {
      while (!done() && sent.length < 80) {
        sent.push(await alice.sendText(roomId, `message ${sent.length}`));
        await sleep(100);
      }
    })();
    const retrying = retriers.map((retrier) => retrier.retry(100));
    for (const share of [0.2, 0.4, 0.6, 0.8]) {
      await until(
        'all have asked',
        () => retriers.every(({ answers }) => answers.length >= 100 * share),
        60_000,
      );
      await Promise.all([pair.a.proxy.kill(), pair.b.proxy.kill()]);
      await Promise.all([pair.a.proxy.restart(), pair.b.proxy.restart()]);
    }
    await Promise.all(retrying);
    await sending;
    const last = await alice.sendText(roomId, 'the last');
    sent.push(last);

    for (const { client, answers } of retriers) {
      // From the same token each answer tells the events from the same place on, as far as they have come.
      for (const { ids } of answers) expect(ids).toEqual(sent.slice(0, ids.length));
      // Whichever of the answers the client goes on from: it is told the rest, and nothing twice.
      for (const at of [0, 24, 49, 74, 99]) {
        const { ids, next } = answers[at] ?? { ids: [], next: '' };
        const follower = new Follower(client, roomId, next);
        await follower.untilEvent(last, 45_000);
        expect([at, [...ids, ...follower.ids]]).toEqual([at, sent]);
        expect(follower.gaps).toBe(0);
      }
    }
  });
});
