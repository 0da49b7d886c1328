import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enc, type MatrixClient, type SyncAnswer } from '../support/client.ts';
import { furtherDevice, newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { metric } from './metrics.ts';
import { homeserverState, idsOf, roomsNamed, sectionOf, stateAfter, timelineOf } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  // Titles that SyTest has, or names and never wrote, stand as they are there.
  describe.each(['a', 'b'] as const)('from site %s into a room of site a', (where) => {
    const peeker = () => newUser(pair[where], 'bob');
    const via = () => [pair.a.serverName];

    it('Local users can peek into world_readable rooms by room ID', async () => {
      const roomId = await alice.createWorldReadableRoom({ name: 'By ID' });
      const message = await alice.sendText(roomId, 'before the peek');
      const bob = await peeker();
      const before = await bob.sync();

      const peeked = await bob.peek(roomId, via());
      expect(peeked).toMatchObject({ status: 200, body: { room_id: roomId } });
      expect(peeked.body.peek_expiry_ts).toBeGreaterThan(Date.now());

      const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
      const room = sectionOf(sync, 'peek', roomId);
      expect(stateAfter(room)).toEqual(await homeserverState(alice, roomId));
      expect(idsOf(timelineOf(room)).at(-1)).toBe(message);
      expect(room.timeline).toMatchObject({
        limited: expect.any(Boolean),
        prev_batch: expect.stringMatching(/./),
      });
      expect(sync.rooms.join).toEqual({});

      const next = await alice.sendText(roomId, 'after the peek');
      const update = await bob.syncUntil(sync.next_batch, ({ rooms }) => roomId in rooms.peek);
      expect(idsOf(timelineOf(sectionOf(update, 'peek', roomId)))).toEqual([next]);
    });

    it('Local users can peek by room alias', async () => {
      const name = `lobby-${where}-${Date.now()}`;
      const roomId = await alice.createWorldReadableRoom({ room_alias_name: name });
      const bob = await peeker();
      const before = await bob.sync();

      const peeked = await bob.peek(`#${name}:${pair.a.serverName}`);
      expect(peeked).toMatchObject({ status: 200, body: { room_id: roomId } });

      const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
      expect(stateAfter(sectionOf(sync, 'peek', roomId))).toEqual(await homeserverState(alice, roomId));
    });

    it('Peeked rooms only turn up in the sync for the device who peeked them', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const others = [await furtherDevice(bob), await newUser(pair[where], 'carol')];
      const starts = await Promise.all(others.map((other) => other.sync()));

      const { follower, first } = await startFollowing(bob, roomId, via());
      expect(first.rooms.peek).toHaveProperty([roomId]);
      await follower.untilEvent(await alice.sendText(roomId, 'for the device that peeks'));

      for (const [i, other] of others.entries()) {
        const since = starts[i]?.next_batch ?? '';
        expect(roomsNamed(await other.sync({ since }))).toEqual([]);
        expect(roomsNamed(await other.sync())).toEqual([]);
      }
    });

    it('Users can unpeek from rooms', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, via());

      expect(await bob.unpeek(roomId)).toMatchObject({ status: 200, body: {} });
      const told = await follower.step();
      expect(told.rooms.leave).toHaveProperty([roomId]);
      expect(told.rooms.peek).toEqual({});

      await alice.sendText(roomId, 'bob does not read this');
      expect(roomsNamed(await follower.step(0))).toEqual([]);

      const again = await bob.unpeek(roomId);
      expect(again).toMatchObject({ status: 400, body: { errcode: 'M_BAD_STATE' } });
      const unknown = await bob.unpeek(`!nowhere:${pair.a.serverName}`);
      expect(unknown).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
    });

    it('Users can peek, unpeek and peek again', async () => {
      const roomId = await alice.createWorldReadableRoom({ name: 'Twice' });
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, via());
      expect(await bob.unpeek(roomId)).toMatchObject({ status: 200 });
      await follower.untilEnded();
      const between = await alice.sendText(roomId, 'while nobody looked');

      expect(await bob.peek(roomId, via())).toMatchObject({ status: 200 });
      const again = await bob.syncUntil(follower.since, ({ rooms }) => roomId in rooms.peek);
      const room = sectionOf(again, 'peek', roomId);
      expect(stateAfter(room)).toEqual(await homeserverState(alice, roomId));
      expect(idsOf(timelineOf(room)).at(-1)).toBe(between);
      const next = await alice.sendText(roomId, 'and on');
      const update = await bob.syncUntil(again.next_batch, ({ rooms }) => roomId in rooms.peek);
      expect(idsOf(timelineOf(sectionOf(update, 'peek', roomId)))).toEqual([next]);
    });

    it('Peeking with full_state=true does the right thing', async () => {
      const roomId = await alice.createWorldReadableRoom({ name: 'Again' });
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, via());
      await follower.untilEvent(await alice.sendState(roomId, 'm.room.topic', { topic: 'Now' }));

      const plain = await bob.sync({ since: follower.since });
      expect(roomsNamed(plain)).toEqual([]);
      const full = await bob.sync({ since: follower.since, fullState: true });
      expect(stateAfter(sectionOf(full, 'peek', roomId))).toEqual(await homeserverState(alice, roomId));
    });

    it.each([
      'Joining a peeked room moves it atomically from peeked to joined rooms and stops peeking',
      "Parting a room which was joined after being peeked doesn't go back to being peeked",
    ])('%s', async (title) => {
      const parts = title.startsWith('Parting');
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, via());
      await bob.join(roomId);
      const answers: SyncAnswer[] = [];
      const on = async (enough: (answer: SyncAnswer) => boolean): Promise<void> => {
        let since = answers.at(-1)?.next_batch ?? follower.since;
        for (const deadline = Date.now() + 15_000; Date.now() < deadline; ) {
          const answer = await bob.sync({ since, timeout: 1_000 });
          answers.push(answer);
          since = answer.next_batch;
          if (enough(answer)) return;
        }
        throw new Error('what was waited for did not come');
      };
      await on(({ rooms }) => roomId in rooms.join);
      if (parts) {
        await bob.leave(roomId);
        await on(({ rooms }) => roomId in rooms.leave);
      }
      await alice.sendText(roomId, 'afterwards');
      answers.push(
        await bob.sync({ since: answers.at(-1)?.next_batch ?? '', timeout: parts ? 1_000 : 10_000 }),
      );

      const peeked = answers.map(({ rooms }) => roomId in rooms.peek);
      const joined = answers.map(({ rooms }) => roomId in rooms.join);
      expect(answers.filter((_, i) => peeked[i] && joined[i])).toEqual([]);
      expect(peeked.lastIndexOf(true)).toBeLessThan(joined.indexOf(true));
      expect(joined.at(-1)).toBe(!parts);
      const left = answers.filter(({ rooms }) => roomId in rooms.leave);
      expect(left).toHaveLength(parts ? 1 : 0);
      expect(await bob.unpeek(roomId)).toMatchObject({ status: 400, body: { errcode: 'M_BAD_STATE' } });
    });

    for (const visibility of ['shared', 'invited', 'joined']) {
      it(`We can't peek into rooms with ${visibility} history_visibility`, async () => {
        const roomId = await alice.createRoom({
          preset: 'public_chat',
          initial_state: [
            {
              type: 'm.room.history_visibility',
              state_key: '',
              content: { history_visibility: visibility },
            },
          ],
        });
        const bob = await peeker();
        const refused = await bob.peek(roomId, via());
        expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
        expect(roomsNamed(await bob.sync())).toEqual([]);
      });
    }

    it('Peeking into an unknown room returns the right error', async () => {
      const bob = await peeker();
      for (const unknown of [
        `!nowhere:${pair.a.serverName}`,
        `!${'A'.repeat(43)}`,
        `#nowhere:${pair.a.serverName}`,
      ]) {
        const answer = await bob.peek(unknown, via());
        expect([unknown, answer.status, answer.body.errcode]).toEqual([unknown, 404, 'M_NOT_FOUND']);
      }
      const neither = await bob.peek('nowhere', via());
      expect(neither).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
    });

    it('typing, receipts, presence, to-device, account data never in peek section', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const dora = await newUser(pair.a, 'dora');
      await dora.join(roomId);
      const bob = await peeker();
      const { follower, first } = await startFollowing(bob, roomId, via());
      const message = await alice.sendText(roomId, 'read me');
      const [room, note] = [enc(roomId), { note: 'kept' }];
      const { next_batch: doras } = await dora.sync();
      for (const [client, method, path, body] of [
        [alice, 'PUT', `/rooms/${room}/typing/${enc(alice.userId)}`, { typing: true, timeout: 20_000 }],
        [alice, 'POST', `/rooms/${room}/receipt/m.read/${enc(message)}`, {}],
        [dora, 'PUT', `/presence/${enc(dora.userId)}/status`, { presence: 'online', status_msg: 'Here' }],
        [alice, 'PUT', `/user/${enc(alice.userId)}/rooms/${room}/account_data/org.test.note`, note],
        [bob, 'PUT', `/user/${enc(bob.userId)}/rooms/${room}/account_data/org.test.note`, note],
        [bob, 'PUT', `/sendToDevice/org.test.note/1`, { messages: { [bob.userId]: { '*': note } } }],
      ] as const) {
        await client.require(method, `/v3${path}`, body);
      }
      // Who is in the room is told.
      let told = '';
      await dora.syncUntil(doras, ({ answer }) => {
        told += answer.text;
        return told.includes('m.typing') && told.includes('m.receipt');
      });

      const last = await alice.sendText(roomId, 'the last');
      const answers = [first];
      for (const deadline = Date.now() + 20_000; !follower.ids.includes(last) && Date.now() < deadline; ) {
        answers.push(await follower.step(1_000));
      }
      expect(follower.ids).toEqual([message, last]);
      for (const section of answers.flatMap(({ rooms }) => Object.values(rooms.peek))) {
        expect(Object.keys(section).toSorted()).toEqual(['ephemeral', 'state', 'timeline']);
        expect(section).toMatchObject({ ephemeral: { events: [] } });
      }
      // What is told to the user, and not of the room, comes beside it.
      expect(answers.map(({ answer }) => answer.text).join('')).toContain('"to_device"');
    });

    it('A waiting sync is woken by an event in a peeked room', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, via());
      await follower.step(0);

      const series = 'sync_requests_total{kind="peeking"';
      const before = await metric(pair[where], series);
      const waiting = bob.sync({ since: follower.since, timeout: 30_000 });
      waiting.catch(() => {});
      await until('the poll is held', async () => (await metric(pair[where], series)) > before);
      const sent = performance.now();
      const message = await alice.sendText(roomId, 'wake up');
      const answer = await waiting;
      expect(performance.now() - sent).toBeLessThan(5_000);
      expect(idsOf(timelineOf(sectionOf(answer, 'peek', roomId)))).toEqual([message]);
    });

    it.each([
      [
        'Changing history visibility to non-world_readable terminates peeks',
        'm.room.history_visibility',
        { history_visibility: 'joined' },
      ],
      ['Turning encryption on terminates peeks', 'm.room.encryption', { algorithm: 'm.megolm.v1.aes-sha2' }],
    ])('%s, at that event', async (_what, type, content) => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, via());

      const last = await alice.sendText(roomId, 'the last that all may read');
      const closing = await alice.sendState(roomId, type, content);
      await alice.sendText(roomId, 'among ourselves');
      await follower.untilEnded();
      expect(follower.ids).toEqual([last, closing]);

      await alice.sendText(roomId, 'still among ourselves');
      expect(roomsNamed(await follower.step(0))).toEqual([]);
      const refused = await bob.peek(roomId, via());
      expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
    });
  });
});
